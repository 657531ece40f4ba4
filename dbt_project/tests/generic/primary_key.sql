{# The columns are never null together with others alike, so they name a row. Where the warehouse
   enforces it, seeing to it that it does costs nothing, however large the table. #}
{% test primary_key(model, columns) %}
    {{ adapter.dispatch('primary_key_violations')(model, columns) }}
{% endtest %}
