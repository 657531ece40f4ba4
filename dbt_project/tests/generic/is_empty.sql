{# A finding: each of its rows is something that somebody should look at. #}
{% test is_empty(model) %}
    select *
    from {{ model }}
{% endtest %}
