{# Tables that live no longer than the model that makes them. #}

{% macro create_scratch_table(name, select_sql) %}
    {{ return(adapter.dispatch('create_scratch_table')(name, select_sql)) }}
{% endmacro %}

{% macro postgres__create_scratch_table(name, select_sql) %}
    {% do run_query('create temporary table ' ~ name ~ ' on commit drop as ' ~ select_sql) %}
    {% do run_query('analyze ' ~ name) %}
    {{ return(name) }}
{% endmacro %}

{% macro bigquery__create_scratch_table(name, select_sql) %}
    {% set table = this.incorporate(path={'identifier': name}) %}
    {% do run_query(
        'create or replace table ' ~ table ~ ' options ('
        ~ 'expiration_timestamp = timestamp_add(current_timestamp(), interval 12 hour)) as ' ~ select_sql
    ) %}
    {{ return(table) }}
{% endmacro %}

{% macro drop_scratch_table(table) %}
    {% do run_query('drop table ' ~ table) %}
{% endmacro %}
