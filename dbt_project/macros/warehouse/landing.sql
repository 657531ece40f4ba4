{# How a run knows what had landed when it began. See docs: the watermark is a transaction id. #}

{# Every transaction below this had ended when the statement ran, so its rows are all visible. #}
{% macro landing_horizon() %}
    {{ return(adapter.dispatch('landing_horizon')()) }}
{% endmacro %}

{% macro postgres__landing_horizon() %}
    {{ return('pg_snapshot_xmin(pg_current_snapshot())::text::bigint') }}
{% endmacro %}

{# BigQuery receives raw events in load jobs that carry the transaction id of where they came from. #}
{% macro bigquery__landing_horizon() %}
    {{ return('(select coalesce(max(xid), 0) + 1 from ' ~ source('raw', 'events') ~ ')') }}
{% endmacro %}

{# Which cluster the transaction ids belong to: they start again in another one. #}
{% macro landing_system() %}
    {{ return(adapter.dispatch('landing_system')()) }}
{% endmacro %}

{% macro postgres__landing_system() %}
    {{ return('(select system_identifier from pg_control_system())') }}
{% endmacro %}

{% macro bigquery__landing_system() %}
    {{ return('cast(0 as int64)') }}
{% endmacro %}

{# The landing transaction as a number that other columns compare with. #}
{% macro landing_number(column) %}
    {{ return(adapter.dispatch('landing_number')(column)) }}
{% endmacro %}

{% macro postgres__landing_number(column) %}
    {{ return(column ~ '::text::bigint') }}
{% endmacro %}

{% macro bigquery__landing_number(column) %}
    {{ return(column) }}
{% endmacro %}

{# True for rows that landed before transaction number `bound`; written so that an index can serve it. #}
{% macro landed_before(column, bound) %}
    {{ return(adapter.dispatch('landed_before')(column, bound)) }}
{% endmacro %}

{% macro postgres__landed_before(column, bound) %}
    {{ return(column ~ ' < ' ~ bound ~ '::text::xid8') }}
{% endmacro %}

{% macro bigquery__landed_before(column, bound) %}
    {{ return(column ~ ' < ' ~ bound) }}
{% endmacro %}
