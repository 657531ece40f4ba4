{# A stage's name is its schema, whatever the target; only the prefix differs. #}
{% macro generate_schema_name(custom_schema_name, node) %}
    {{ return(schema_prefix() ~ (custom_schema_name or target.schema) | trim) }}
{% endmacro %}
