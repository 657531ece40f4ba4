{# Keys: numbers that the identity graph is computed with, and ids that other programs see. #}

{# A 64-bit key of an identifier. Internal: its values may differ between warehouses and versions.
   Two identifiers with one key would become one person, so a test on the identifiers forbids it. #}
{% macro identifier_key(identifier_type, value) %}
    {{ return(adapter.dispatch('identifier_key')(identifier_type, value)) }}
{% endmacro %}

{% macro postgres__identifier_key(identifier_type, value) %}
    {% set seeds = {'user_id': 1, 'email': 2, 'phone': 3, 'anonymous_id': 4} %}
    {{ return('hashtextextended(' ~ value ~ ', ' ~ seeds[identifier_type] ~ ')') }}
{% endmacro %}

{% macro bigquery__identifier_key(identifier_type, value) %}
    {{ return("farm_fingerprint(concat('" ~ identifier_type ~ ":', " ~ value ~ '))') }}
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
