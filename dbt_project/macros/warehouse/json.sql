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

{# One row per entry of a JSON object, as columns of `alias`: entry_key (text) and entry_value (JSON).
   Used after a comma in `from`. #}
{% macro json_entries(column, alias) %}
    {{ return(adapter.dispatch('json_entries')(column, alias)) }}
{% endmacro %}

{% macro postgres__json_entries(column, alias) %}
    {{ return('jsonb_each(' ~ column ~ ') as ' ~ alias ~ ' (entry_key, entry_value)') }}
{% endmacro %}

{% macro bigquery__json_entries(column, alias) %}
    {{ return(
        'unnest(array(select as struct entry_key, ' ~ column ~ '[entry_key] as entry_value'
        ~ ' from unnest(json_keys(' ~ column ~ ', 1)) as entry_key)) as ' ~ alias
    ) }}
{% endmacro %}

{# One JSON object from rows of keys and values. #}
{% macro json_object_from(key, value) %}
    {{ return(adapter.dispatch('json_object_from')(key, value)) }}
{% endmacro %}

{% macro postgres__json_object_from(key, value) %}
    {{ return('jsonb_object_agg(' ~ key ~ ', ' ~ value ~ ')') }}
{% endmacro %}

{% macro bigquery__json_object_from(key, value) %}
    {% set entry = 'concat(to_json_string(' ~ key ~ "), ':', to_json_string(" ~ value ~ '))' %}
    {{ return("parse_json(concat('{', string_agg(" ~ entry ~ ", ',' order by " ~ key ~ "), '}'))") }}
{% endmacro %}

{% macro empty_json_object() %}
    {{ return(adapter.dispatch('empty_json_object')()) }}
{% endmacro %}

{% macro postgres__empty_json_object() %}
    {{ return("'{}'::jsonb") }}
{% endmacro %}

{% macro bigquery__empty_json_object() %}
    {{ return("json '{}'") }}
{% endmacro %}

{# Whether a JSON value is JSON's own null. #}
{% macro is_json_null(value) %}
    {{ return(adapter.dispatch('is_json_null')(value)) }}
{% endmacro %}

{% macro postgres__is_json_null(value) %}
    {{ return('jsonb_typeof(' ~ value ~ ") = 'null'") }}
{% endmacro %}

{% macro bigquery__is_json_null(value) %}
    {{ return('json_type(' ~ value ~ ") = 'null'") }}
{% endmacro %}

{# Of the keys named in a text column, parted by blanks, the value of the first that is there. #}
{% macro first_json_text_of(column, names) %}
    {{ return(adapter.dispatch('first_json_text_of')(column, names)) }}
{% endmacro %}

{% macro postgres__first_json_text_of(column, names) %}
    {{ return(
        '(select ' ~ column ~ ' ->> named.name'
        ~ ' from unnest(string_to_array(' ~ names ~ ", ' ')) with ordinality as named (name, place)"
        ~ ' where ' ~ column ~ ' ->> named.name is not null order by named.place limit 1)'
    ) }}
{% endmacro %}

{% macro bigquery__first_json_text_of(column, names) %}
    {{ return(
        '(select json_value(' ~ column ~ '[named])'
        ~ ' from unnest(split(' ~ names ~ ", ' ')) as named with offset as place"
        ~ ' where json_value(' ~ column ~ '[named]) is not null order by place limit 1)'
    ) }}
{% endmacro %}

{# Whether a column, as dbt describes it, has the same value in two relations; null equals null. #}
{% macro is_same_value(column, left, right) %}
    {{ return(adapter.dispatch('is_same_value')(column, left, right)) }}
{% endmacro %}

{% macro postgres__is_same_value(column, left, right) %}
    {{ return(left ~ '.' ~ column.name ~ ' is not distinct from ' ~ right ~ '.' ~ column.name) }}
{% endmacro %}

{# JSON has no equality there. #}
{% macro bigquery__is_same_value(column, left, right) %}
    {% set values = [left ~ '.' ~ column.name, right ~ '.' ~ column.name] %}
    {% if column.dtype | upper == 'JSON' %}
        {% set values = ['to_json_string(' ~ values[0] ~ ')', 'to_json_string(' ~ values[1] ~ ')'] %}
    {% endif %}
    {{ return(values | join(' is not distinct from ')) }}
{% endmacro %}
