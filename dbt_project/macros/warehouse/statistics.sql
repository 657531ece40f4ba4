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
    {% set target = config.get('meta', {}).get('statistics_target') %}
    {% set analyze = ('set local default_statistics_target = ' ~ target ~ ';\n' if target else '')
        ~ 'analyze ' ~ this %}
    {{ return(if_changed_much(analyze) if is_incremental() else analyze) }}
{% endmacro %}

{% macro bigquery__refresh_statistics() %}
    {{ return('') }}
{% endmacro %}

{# Statements for when this transaction changed more than autovacuum's 50 rows and a tenth of the model's
   table. One block that asks and acts: what dbt fetches costs it more than the question. #}
{% macro if_changed_much(statements) %}
    do $block$
    begin
        if (
            select changed.n_tup_ins + changed.n_tup_upd + changed.n_tup_del > 50 + 0.1 * tables.reltuples
            from pg_stat_xact_all_tables as changed
            inner join pg_class as tables on changed.relid = tables.oid
            where tables.oid = '{{ this }}'::regclass
        ) then
            {{ statements | indent(12) }};
        end if;
    end
    $block$
{% endmacro %}
