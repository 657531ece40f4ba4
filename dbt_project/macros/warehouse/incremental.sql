{#
    dbt's materialization of this name for a run that adds to a table of PostgreSQL; where there is none yet,
    or it is built afresh, dbt's own does the work. That one asks up to four times which columns the two
    tables have, in a way that costs more than writing a few rows; here one look at the catalog sees whether
    they are the same, and only otherwise dbt is asked what to do. It widens no column: none has a length.
#}
{% materialization incremental, adapter='postgres' %}
    {%- set standing = load_cached_relation(this) -%}
    {%- if standing is none or standing.is_view or should_full_refresh() -%}
        {{ return(materialization_incremental_default()) }}
    {%- endif -%}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set selected = make_temp_relation(target_relation) -%}

    {# A full build that was killed at its very end has left the table that it replaced. #}
    {% do drop_relation_if_exists(load_cached_relation(make_backup_relation(target_relation, 'table'))) %}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {% do run_query(get_create_table_as_sql(True, selected, sql)) %}
    {%- set on_schema_change = incremental_validate_on_schema_change(config.get('on_schema_change')) -%}
    {%- set columns = columns_of_both(standing, selected)
        or process_schema_changes(on_schema_change, selected, standing)
        or adapter.get_columns_in_relation(standing) -%}
    {%- set strategy_sql = adapter.get_incremental_strategy_macro(
        context, config.get('incremental_strategy') or 'default'
    ) -%}
    {% call statement('main') -%}
        {{ strategy_sql({
            'target_relation': target_relation,
            'temp_relation': selected,
            'unique_key': config.get('unique_key'),
            'dest_columns': columns,
            'incremental_predicates': config.get('predicates') or config.get('incremental_predicates'),
        }) }}
    {%- endcall %}

    {% do apply_grants(target_relation, config.get('grants'), should_revoke(standing, False)) %}
    {% do persist_docs(target_relation, model) %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do adapter.commit() %}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}

{# The columns of two tables whose columns are called the same and have the same types; of others none. #}
{% macro columns_of_both(relation, other_relation) %}
    {% set columns %}
    select
        name,
        type,
        count(*) as table_count
    from (
        select * from ({{ described_columns(relation) }}) as of_one
        union all
        select * from ({{ described_columns(other_relation) }}) as of_the_other
    ) as columns
    group by name, type
    {% endset %}
    {% set both = [] %}
    {% for column in run_query(columns) %}
        {% if column.table_count != 2 %}{{ return([]) }}{% endif %}
        {% do both.append(api.Column.create(column.name, column.type)) %}
    {% endfor %}
    {{ return(both) }}
{% endmacro %}

{# A table of PostgreSQL, a temporary one too: its columns and their types, in their order. #}
{% macro described_columns(relation) %}
    select
        attname::text as name,
        format_type(atttypid, atttypmod) as type
    from pg_attribute
    where attrelid = '{{ relation }}'::regclass and attnum > 0 and not attisdropped
    order by attnum
{% endmacro %}

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
