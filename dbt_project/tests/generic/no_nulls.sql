{# Each row has a value in all of these columns: one look at a table where not_null is one for each. #}
{% test no_nulls(model, columns) %}
    select *
    from {{ model }}
    where {{ columns | join(' is null or ') }} is null
{% endtest %}
