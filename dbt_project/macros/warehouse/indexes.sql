{# dbt's own index configuration knows columns, unique and type. Here it has a `where` beside them: SQL,
   rendered when the index is made, of which rows the index is. Queries find it by the same condition,
   or by one from which that follows. #}
{% macro postgres__get_create_index_sql(relation, index_dict) %}
    {% set whole = dict(index_dict) %}
    {% set condition = whole.pop('where', none) %}
    {% set statement = dbt.postgres__get_create_index_sql(relation, whole) %}
    {{ return(statement ~ ' where ' ~ render(condition) if condition else statement) }}
{% endmacro %}

{# Hook: make the indexes of a model that its standing table does not have yet. dbt makes them with the
   table, and a table that runs only add to is made once in years. #}
{% macro missing_indexes() %}
    {% if execute and is_incremental() %}
        {{ return(adapter.dispatch('missing_indexes')()) }}
    {% endif %}
{% endmacro %}

{% macro postgres__missing_indexes() %}
    {% set standing = indexes_before_this_run().get(this.schema ~ '.' ~ this.identifier, []) %}
    {% for index in config.get('indexes', []) %}
        {% set kind = ('unique ' if index.unique else '') ~ (index.type or 'btree') %}
        {% set described = kind ~ ' ' ~ index.columns | join(', ') %}
        {# An index of all rows, as an earlier version made it, serves as one of some of them. #}
        {% if described not in standing and not (index.where and described ~ ' of some' in standing) %}
            {% do run_query(get_create_index_sql(this, index)) %}
        {% endif %}
    {% endfor %}
    {{ return('') }}
{% endmacro %}

{% macro bigquery__missing_indexes() %}
    {{ return('') }}
{% endmacro %}

{# The indexes of the tables that models had left when a first of them was built, in words, by schema.table. #}
{% macro indexes_before_this_run() %}
    {% set answers = answers_of_this_run() %}
    {% if 'standing_indexes' not in answers %}
        {% set schemas = graph.nodes.values() | map(attribute='schema') | unique | join("', '") %}
        {% set described %}
        select
            schemas.nspname || '.' || tables.relname as name,
            standing.described
        from pg_namespace as schemas
        inner join pg_class as tables on schemas.oid = tables.relnamespace
        cross join lateral ({{ standing_indexes('tables.oid') }}) as standing
        where schemas.nspname in ('{{ schemas }}')
        {% endset %}
        {% set by_table = {} %}
        {% for index in run_query(described) %}
            {% do by_table.setdefault(index.name, []).append(index.described) %}
        {% endfor %}
        {% do answers.update({'standing_indexes': by_table}) %}
    {% endif %}
    {{ return(answers.standing_indexes) }}
{% endmacro %}

{# Each index of the table with this oid, in words: [unique ]btree column, column[ of some]. #}
{% macro standing_indexes(oid) %}
    select
        case when indexes.indisunique then 'unique ' else '' end
        || (
            select methods.amname
            from pg_class as names
            inner join pg_am as methods on names.relam = methods.oid
            where names.oid = indexes.indexrelid
        )
        || ' '
        || (
            select string_agg(columns.attname::text, ', ' order by keys.place)
            from unnest(indexes.indkey::int2[]) with ordinality as keys (attribute, place)
            inner join pg_attribute as columns
                on columns.attrelid = indexes.indrelid and columns.attnum = keys.attribute
        )
        || case when indexes.indpred is not null then ' of some' else '' end as described
    from pg_index as indexes
    where
        indexes.indrelid = {{ oid }}
        and indexes.indisvalid
{% endmacro %}
