{# Tables that live no longer than the model that makes them. #}

{# Where the scratch table of this name is found. #}
{% macro scratch_table(name) %}{{ return(adapter.dispatch('scratch_table')(name)) }}{% endmacro %}
{% macro postgres__scratch_table(name) %}{{ return(name) }}{% endmacro %}
{% macro bigquery__scratch_table(name) %}
    {{ return(this.incorporate(path={'identifier': name})) }}
{% endmacro %}

{# The statements that make a scratch table of what a SELECT finds. #}
{% macro making_scratch_table(table, select_sql) %}
    {{ return(adapter.dispatch('making_scratch_table')(table, select_sql)) }}
{% endmacro %}

{% macro postgres__making_scratch_table(table, select_sql) %}
    {{ return([
        'create temporary table ' ~ table ~ ' on commit drop as ' ~ select_sql,
        'analyze ' ~ table,
    ]) }}
{% endmacro %}

{% macro bigquery__making_scratch_table(table, select_sql) %}
    {{ return([
        'create or replace table ' ~ table ~ ' options ('
        ~ 'expiration_timestamp = timestamp_add(current_timestamp(), interval 12 hour)) as ' ~ select_sql
    ]) }}
{% endmacro %}

{% macro create_scratch_table(name, select_sql) %}
    {% set table = scratch_table(name) %}
    {% do run_in_turn(making_scratch_table(table, select_sql)) %}
    {{ return(table) }}
{% endmacro %}

{% macro drop_scratch_table(table) %}
    {% do run_query('drop table ' ~ table) %}
{% endmacro %}

{# What the last of several statements finds. On PostgreSQL they are sent as one: what dbt does around a
   statement costs more than many of them. #}
{% macro run_in_turn(statements) %}
    {{ return(adapter.dispatch('run_in_turn')(statements)) }}
{% endmacro %}

{% macro postgres__run_in_turn(statements) %}
    {{ return(run_query(statements | join(';\n'))) }}
{% endmacro %}

{% macro bigquery__run_in_turn(statements) %}
    {% set found = [] %}
    {% for statement in statements %}
        {% do found.append(run_query(statement)) %}
    {% endfor %}
    {{ return(found | last) }}
{% endmacro %}
