{# BigQuery's adapter knows no incremental strategies but its own three. Here it learns the project's:
   each is a script over the table that stands and a table of what the model selected, in one
   transaction, so that nobody sees the half of it. #}

{% macro dbt_bigquery_validate_get_incremental_strategy(config) %}
    {{ return(config.get('incremental_strategy') or 'merge') }}
{% endmacro %}

{% macro bq_generate_incremental_build_sql(
    strategy, tmp_relation, target_relation, sql, unique_key, partition_by, partitions, dest_columns,
    tmp_relation_exists, copy_partitions, incremental_predicates
) %}
    {% if not tmp_relation_exists %}
        {% do run_query(bq_create_table_as(partition_by, True, tmp_relation, sql, 'sql')) %}
    {% endif %}
    {% set macro_of = {
        'append': bigquery_append_sql,
        'delete+insert': bigquery_delete_insert_sql,
        'merge': bigquery_delete_insert_sql,
        'replace_touched': get_incremental_replace_touched_sql,
    } %}
    {% set statements = macro_of[strategy]({
        'target_relation': target_relation,
        'temp_relation': tmp_relation,
        'unique_key': [unique_key] if unique_key is string else unique_key,
        'dest_columns': dest_columns,
    }) %}
    {{ return(
        'begin transaction;\n' ~ statements ~ ';\ncommit transaction;\ndrop table ' ~ tmp_relation
    ) }}
{% endmacro %}

{% macro bigquery_append_sql(arg_dict) %}
    {% set columns = arg_dict['dest_columns'] | map(attribute='name') | join(', ') %}
    insert into {{ arg_dict['target_relation'] }} ({{ columns }})
    select {{ columns }}
    from {{ arg_dict['temp_relation'] }}
{% endmacro %}

{% macro bigquery_delete_insert_sql(arg_dict) %}
    {% set same_row = [] %}
    {% for column in arg_dict['unique_key'] %}
        {% do same_row.append('selected.' ~ column ~ ' = standing.' ~ column) %}
    {% endfor %}
    delete from {{ arg_dict['target_relation'] }} as standing
    where
        exists (
            select 1
            from {{ arg_dict['temp_relation'] }} as selected
            where {{ same_row | join(' and ') }}
        );

    {{ bigquery_append_sql(arg_dict) }}
{% endmacro %}

{# The beginning of a DELETE of rows of a table, `standing`, whose key is in the table `touched`, once each;
   touched_from as in the strategy replace_touched. Further conditions follow. #}
{% macro delete_touched(relation, touched, key, touched_from={}) %}
    {%- set conditions = ['touched.' ~ key ~ ' = standing.' ~ key] -%}
    {%- for instant, bound in touched_from.items() -%}
        {%- do conditions.append('standing.' ~ instant ~ ' >= touched.' ~ bound) -%}
    {%- endfor -%}
    {{ return(adapter.dispatch('delete_touched')(relation, touched, conditions | join(' and '))) }}
{% endmacro %}

{# A join, which finds the rows by an index however the touched ones are bounded. #}
{% macro postgres__delete_touched(relation, touched, condition) %}
    {{ return('delete from ' ~ relation ~ ' as standing using ' ~ touched ~ ' as touched where ' ~ condition) }}
{% endmacro %}

{% macro bigquery__delete_touched(relation, touched, condition) %}
    {{ return(
        'delete from ' ~ relation ~ ' as standing where exists (select 1 from ' ~ touched
        ~ ' as touched where ' ~ condition ~ ')'
    ) }}
{% endmacro %}
