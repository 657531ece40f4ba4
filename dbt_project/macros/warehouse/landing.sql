{# How a run knows what had landed when it began, and in which order things landed. #}

{# Every transaction below this had ended when the statement ran, so its rows are all visible. #}
{% macro landing_horizon() %}
    {{ return(adapter.dispatch('landing_horizon')()) }}
{% endmacro %}

{% macro postgres__landing_horizon() %}
    {{ return('pg_snapshot_xmin(pg_current_snapshot())::text::bigint') }}
{% endmacro %}

{# BigQuery receives raw events in load jobs that keep the transaction id of where they came from. #}
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

{# The transaction id of a raw row as a plain number. #}
{% macro landing_number(column) %}
    {{ return(adapter.dispatch('landing_number')(column)) }}
{% endmacro %}

{% macro postgres__landing_number(column) %}
    {{ return(column ~ '::text::bigint') }}
{% endmacro %}

{% macro bigquery__landing_number(column) %}
    {{ return(column) }}
{% endmacro %}

{# The reverse: a plain number that raw.events.xid compares with, so that its index serves. #}
{% macro landing_xid(number) %}
    {{ return(adapter.dispatch('landing_xid')(number)) }}
{% endmacro %}

{% macro postgres__landing_xid(number) %}
    {{ return(number ~ '::text::xid8') }}
{% endmacro %}

{% macro bigquery__landing_xid(number) %}
    {{ return(number) }}
{% endmacro %}

{# The place of an event in the order of landing, as one number: min() finds the first. #}
{% macro landing_position(xid, seq) %}
    {{ return(adapter.dispatch('landing_position')(xid, seq)) }}
{% endmacro %}

{% macro postgres__landing_position(xid, seq) %}
    {{ return('(' ~ xid ~ '::numeric * 10000000000000000000 + ' ~ seq ~ ')') }}
{% endmacro %}

{# Two numbers of nineteen digits in a row: BigQuery has no whole number that holds both. #}
{% macro bigquery__landing_position(xid, seq) %}
    {{ return(
        'concat(lpad(cast(' ~ xid ~ " as string), 19, '0'), lpad(cast(" ~ seq ~ " as string), 19, '0'))"
    ) }}
{% endmacro %}

{# The parts of a place in the order of landing. #}
{% macro xid_of_position(position) %}
    {{ return(adapter.dispatch('xid_of_position')(position)) }}
{% endmacro %}

{% macro postgres__xid_of_position(position) %}
    {{ return('div(' ~ position ~ ', 10000000000000000000)::bigint') }}
{% endmacro %}

{% macro bigquery__xid_of_position(position) %}
    {{ return('cast(substr(' ~ position ~ ', 1, 19) as int64)') }}
{% endmacro %}

{% macro seq_of_position(position) %}
    {{ return(adapter.dispatch('seq_of_position')(position)) }}
{% endmacro %}

{% macro postgres__seq_of_position(position) %}
    {{ return('mod(' ~ position ~ ', 10000000000000000000)::bigint') }}
{% endmacro %}

{% macro bigquery__seq_of_position(position) %}
    {{ return('cast(substr(' ~ position ~ ', 20) as int64)') }}
{% endmacro %}
