{# How a run knows what had landed when it began, and in which order things landed. #}

{# Every transaction below this had ended when the statement ran, so its rows are all visible. #}
{% macro landing_horizon() %}
    {{ return(adapter.dispatch('landing_horizon')()) }}
{% endmacro %}

{# structure_only: every table over no events, to be filled with what BigQuery computed. #}
{% macro postgres__landing_horizon() %}
    {{ return(
        '0::bigint' if var('structure_only', false)
        else 'pg_snapshot_xmin(pg_current_snapshot())::text::bigint'
    ) }}
{% endmacro %}

{# BigQuery receives raw events by range of transaction, with the ids of where they came from; the
   ledger of these loads says up to where all of it is there. #}
{% macro bigquery__landing_horizon() %}
    {{ return(
        '(select coalesce(max(to_xid), 0) from ' ~ bigquery_loads() ~ ' where loaded_at is not null)'
    ) }}
{% endmacro %}

{% macro bigquery_loads() %}
    {{ return(source('raw', 'events').incorporate(path={'identifier': 'loads'})) }}
{% endmacro %}

{# Which cluster the transaction ids belong to: they start again in another one. #}
{% macro landing_system() %}
    {{ return(adapter.dispatch('landing_system')()) }}
{% endmacro %}

{% macro postgres__landing_system() %}
    {{ return('(select system_identifier from pg_control_system())') }}
{% endmacro %}

{% macro bigquery__landing_system() %}
    {{ return('(select coalesce(max(system_identifier), 0) from ' ~ bigquery_loads() ~ ')') }}
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

{# Whether a raw row landed in the window of this run. `received` is its time or day of receipt. #}
{% macro landed_in(window, received='received_at') %}
    {{ return(adapter.dispatch('landed_in')(window, received)) }}
{% endmacro %}

{% macro postgres__landed_in(window, received) %}
    {{ return(
        'xid >= ' ~ landing_xid(window.from_xid) ~ ' and xid < ' ~ landing_xid(window.to_xid)
    ) }}
{% endmacro %}

{# There the tables are partitioned by receipt: the ledger knows the first day of what is new, so that
   only partitions are read that hold some of it. #}
{% macro bigquery__landed_in(window, received) %}
    {% set first_day = '0001-01-01' %}
    {% if execute %}
        {% set first_days = run_query(
            'select cast(date(min(first_received_at)) as string) as first_day from '
            ~ bigquery_loads() ~ ' where to_xid > ' ~ window.from_xid
        ).columns[0].values() %}
        {# Nothing is new: no partition at all. #}
        {% set first_day = first_days[0] or '9999-12-31' %}
    {% endif %}
    {% set literal = timestamp_literal(first_day ~ 'T00:00:00Z')
        if received == 'received_at' else "date '" ~ first_day ~ "'" %}
    {{ return(
        received ~ ' >= ' ~ literal
        ~ ' and xid >= ' ~ window.from_xid ~ ' and xid < ' ~ window.to_xid
    ) }}
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
