{# A query without rows exactly when `columns` are a primary key of `model`. #}

{# A unique index does the work at every write; what is left is that it exists, and no nulls. #}
{% macro postgres__primary_key_violations(model, columns) %}
    select 'no unique index on ({{ columns | join(", ") }})' as problem
    where
        not exists (
            select 1
            from pg_index
            where
                pg_index.indrelid = '{{ model }}'::regclass
                and pg_index.indisunique
                and pg_index.indpred is null
                and (
                    select array_agg(pg_attribute.attname::text order by pg_attribute.attname)
                    from pg_attribute
                    where
                        pg_attribute.attrelid = pg_index.indrelid
                        and pg_attribute.attnum = any(pg_index.indkey)
                ) = array['{{ columns | sort | join("', '") }}']
        )
    {%- for column in columns %}
    union all
    select '{{ column }} is null' as problem
    where exists (select 1 from {{ model }} where {{ column }} is null)
    {%- endfor %}
{% endmacro %}

{% macro bigquery__primary_key_violations(model, columns) %}
    select {{ columns | join(', ') }}, count(*) as row_count
    from {{ model }}
    group by {{ columns | join(', ') }}
    having count(*) > 1
    {%- for column in columns %} or {{ column }} is null{% endfor %}
{% endmacro %}
