{# Reading JSON columns. A key is a plain name: no path, no expression. #}

{# The JSON value under a key; SQL null when the key is absent. #}
{% macro json_value_of(column, key) %}
    {{ return(adapter.dispatch('json_value_of')(column, key)) }}
{% endmacro %}

{% macro postgres__json_value_of(column, key) %}
    {{ return(column ~ " -> '" ~ key ~ "'") }}
{% endmacro %}

{% macro bigquery__json_value_of(column, key) %}
    {{ return(column ~ "['" ~ key ~ "']") }}
{% endmacro %}

{# The value under a key as text; null when absent, null, or not a scalar. #}
{% macro json_text_of(column, key) %}
    {{ return(adapter.dispatch('json_text_of')(column, key)) }}
{% endmacro %}

{% macro postgres__json_text_of(column, key) %}
    {{ return(column ~ " ->> '" ~ key ~ "'") }}
{% endmacro %}

{% macro bigquery__json_text_of(column, key) %}
    {{ return('json_value(' ~ column ~ ', \'$."' ~ key ~ '"\')') }}
{% endmacro %}

{# The value under a key if it is an object, else an empty object. #}
{% macro json_object_of(column, key) %}
    {{ return(adapter.dispatch('json_object_of')(column, key)) }}
{% endmacro %}

{% macro postgres__json_object_of(column, key) %}
    {%- set value = postgres__json_value_of(column, key) -%}
    {{ return('case jsonb_typeof(' ~ value ~ ") when 'object' then " ~ value ~ " else '{}'::jsonb end") }}
{% endmacro %}

{% macro bigquery__json_object_of(column, key) %}
    {%- set value = bigquery__json_value_of(column, key) -%}
    {{ return('if(json_type(' ~ value ~ ") = 'object', " ~ value ~ ", json '{}')") }}
{% endmacro %}
