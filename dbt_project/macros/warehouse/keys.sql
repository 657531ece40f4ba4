{# Keys: numbers that the identity graph is computed with, and ids that other programs see. #}

{# A 64-bit key of an identifier, the same on every warehouse: what BigQuery computes is published to
   PostgreSQL, where other programs look keys up. Two identifiers with one key would become one person,
   so a test on the identifiers forbids it. #}
{% macro identifier_key(identifier_type, value) %}
    {{ return(adapter.dispatch('identifier_key')(identifier_type, value)) }}
{% endmacro %}

{% macro postgres__identifier_key(identifier_type, value) %}
    {% set digest = "md5('" ~ identifier_type ~ ":' || " ~ value ~ ')' %}
    {{ return("('x' || left(" ~ digest ~ ', 16))::bit(64)::bigint') }}
{% endmacro %}

{# Two halves, the upper one signed: as one number it would not be a literal that fits. #}
{% macro bigquery__identifier_key(identifier_type, value) %}
    {% set digest = "to_hex(md5(concat('" ~ identifier_type ~ ":', " ~ value ~ ')))' %}
    {% set upper = "cast(concat('0x', substr(" ~ digest ~ ', 1, 8)) as int64)' %}
    {% set lower = "cast(concat('0x', substr(" ~ digest ~ ', 9, 8)) as int64)' %}
    {{ return(
        '((' ~ upper ~ ' - if(' ~ upper ~ ' >= 2147483648, 4294967296, 0)) * 4294967296 + ' ~ lower ~ ')'
    ) }}
{% endmacro %}

{# A public id made of text: the same on every warehouse, for ever. #}
{% macro md5_id(text) %}
    {{ return(adapter.dispatch('md5_id')(text)) }}
{% endmacro %}

{% macro postgres__md5_id(text) %}
    {{ return('md5(' ~ text ~ ')::uuid') }}
{% endmacro %}

{% macro bigquery__md5_id(text) %}
    {{ return(
        "regexp_replace(to_hex(md5(" ~ text ~ ")), '^(.{8})(.{4})(.{4})(.{4})(.{12})$', '\\\\1-\\\\2-\\\\3-\\\\4-\\\\5')"
    ) }}
{% endmacro %}

{# Bitwise exclusive or of two 64-bit numbers. #}
{% macro bitwise_xor(left, right) %}
    {{ return(adapter.dispatch('bitwise_xor')(left, right)) }}
{% endmacro %}

{% macro postgres__bitwise_xor(left, right) %}
    {{ return('(' ~ left ~ ' # ' ~ right ~ ')') }}
{% endmacro %}

{% macro bigquery__bitwise_xor(left, right) %}
    {{ return('(' ~ left ~ ' ^ ' ~ right ~ ')') }}
{% endmacro %}

{# Text ordered by its bytes, whatever the database's language. #}
{% macro in_byte_order(text) %}
    {{ return(adapter.dispatch('in_byte_order')(text)) }}
{% endmacro %}

{% macro postgres__in_byte_order(text) %}
    {{ return(text ~ ' collate "C"') }}
{% endmacro %}

{% macro bigquery__in_byte_order(text) %}
    {{ return(text) }}
{% endmacro %}

{# The type of a public id. #}
{% macro type_uuid() %}
    {{ return(adapter.dispatch('type_uuid')()) }}
{% endmacro %}

{% macro postgres__type_uuid() %}
    {{ return('uuid') }}
{% endmacro %}

{% macro bigquery__type_uuid() %}
    {{ return('string') }}
{% endmacro %}
