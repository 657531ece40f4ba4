{#
    A join that finds, for each row of `rows`, the latest `instant` at or before its `bound` among the
    rows of a relation with the same key: latest.<instant>, null where there is none. `rows` has one
    row per key; `condition` is about `earlier`, a row of the relation.
#}
{% macro join_latest(relation, key, instant, rows, bound, condition='true') %}
    {{ return(adapter.dispatch('join_latest')(relation, key, instant, rows, bound, condition)) }}
{% endmacro %}

{# Backwards through an index on (key, instant), from the bound to the first row that will do. #}
{% macro postgres__join_latest(relation, key, instant, rows, bound, condition) -%}
left join lateral (
    select earlier.{{ instant }}
    from {{ relation }} as earlier
    where
        earlier.{{ key }} = {{ rows }}.{{ key }}
        and earlier.{{ instant }} <= {{ rows }}.{{ bound }}
        and {{ condition }}
    order by earlier.{{ instant }} desc
    limit 1
) as latest on true
{%- endmacro %}

{# BigQuery knows no lateral join. #}
{% macro bigquery__join_latest(relation, key, instant, rows, bound, condition) -%}
left join (
    select
        {{ rows }}.{{ key }},
        max(earlier.{{ instant }}) as {{ instant }}
    from {{ rows }}
    inner join {{ relation }} as earlier
        on
            {{ rows }}.{{ key }} = earlier.{{ key }}
            and {{ rows }}.{{ bound }} >= earlier.{{ instant }}
    where {{ condition }}
    group by {{ rows }}.{{ key }}
) as latest on {{ rows }}.{{ key }} = latest.{{ key }}
{%- endmacro %}
