{# Hook: make the indexes of a model that its standing table does not have yet. dbt makes them with the
   table, and a table that runs only add to is made once in years. #}
{% macro missing_indexes() %}
    {% if execute and is_incremental() %}
        {{ return(adapter.dispatch('missing_indexes')()) }}
    {% endif %}
{% endmacro %}

{% macro postgres__missing_indexes() %}
    {% set standing = run_query(standing_indexes(this)).columns['described'].values() %}
    {% for index in config.get('indexes', []) %}
        {% set described = (index.type or 'btree') ~ ' ' ~ index.columns | join(', ') %}
        {% if (('unique ' if index.unique else '') ~ described) not in standing %}
            {% do run_query(get_create_index_sql(this, index)) %}
        {% endif %}
    {% endfor %}
    {{ return('') }}
{% endmacro %}

{% macro bigquery__missing_indexes() %}
    {{ return('') }}
{% endmacro %}

{# Each index of a table in words: [unique ]btree column, column. #}
{% macro standing_indexes(relation) %}
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
        ) as described
    from pg_index as indexes
    where
        indexes.indrelid = '{{ relation }}'::regclass
        and indexes.indisvalid
        and indexes.indpred is null
{% endmacro %}
