{# Hook: tell the planner about a table that was just built afresh, or of which a later run changed as
   much as makes autovacuum look at it: a minute later, while the next models are planned now. Without
   it PostgreSQL guesses, scans what it should look up, and goes through a million rows for each of a
   million where it expected one. A model's meta.statistics_target takes the place of PostgreSQL's 100:
   of keys that occur once or a few times a tenth of the sample tells what plans need. #}
{% macro refresh_statistics() %}
    {% if execute %}
        {{ return(adapter.dispatch('refresh_statistics')()) }}
    {% endif %}
{% endmacro %}

{% macro postgres__refresh_statistics() %}
    {% if is_incremental() and not changed_much() %}{{ return('') }}{% endif %}
    {% set target = config.get('meta', {}).get('statistics_target') %}
    {{ return(
        ('set local default_statistics_target = ' ~ target ~ ';\n' if target else '') ~ 'analyze ' ~ this
    ) }}
{% endmacro %}

{% macro bigquery__refresh_statistics() %}
    {{ return('') }}
{% endmacro %}

{# Whether this transaction changed more than autovacuum's 50 rows and a tenth of the model's table. #}
{% macro changed_much() %}
    {% set changes %}
    select changed.n_tup_ins + changed.n_tup_upd + changed.n_tup_del > 50 + 0.1 * tables.reltuples
    from pg_stat_xact_all_tables as changed
    inner join pg_class as tables on changed.relid = tables.oid
    where tables.oid = '{{ this }}'::regclass
    {% endset %}
    {{ return(run_query(changes).rows[0][0]) }}
{% endmacro %}
