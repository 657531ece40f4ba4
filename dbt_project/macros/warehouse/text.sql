{# Whether the whole text matches a regular expression, upper and lower case alike. #}
{% macro matches_whole(text, pattern) %}
    {{ return(adapter.dispatch('matches_whole')(text, pattern)) }}
{% endmacro %}

{% macro postgres__matches_whole(text, pattern) %}
    {{ return('lower(' ~ text ~ ") ~ ('^(' || " ~ pattern ~ " || ')$')") }}
{% endmacro %}

{% macro bigquery__matches_whole(text, pattern) %}
    {{ return('regexp_contains(lower(' ~ text ~ "), concat('^(', " ~ pattern ~ ", ')$'))") }}
{% endmacro %}

{# Several texts in one, in a fixed order. #}
{% macro joined_text(column, separator) %}
    {{ return(
        'string_agg(' ~ column ~ ", '" ~ separator ~ "' order by " ~ in_byte_order(column) ~ ')'
    ) }}
{% endmacro %}

{# Text that is a plain decimal number, as money; null when it is anything else. Kept to a millionth:
   a browser writes 1.1 * 3 as 3.3000000000000003. #}
{% macro money_of(text) %}
    {{ return(adapter.dispatch('money_of')(text)) }}
{% endmacro %}

{% macro postgres__money_of(text) %}
    {{ return(
        'case when ' ~ text ~ " ~ '^-?[0-9]{1,15}([.][0-9]+)?$' then trim_scale(round("
        ~ text ~ '::numeric, 6)) end'
    ) }}
{% endmacro %}

{% macro bigquery__money_of(text) %}
    {{ return(
        'if(regexp_contains(' ~ text ~ ", r'^-?[0-9]{1,15}([.][0-9]+)?$'), cast(round(cast(" ~ text
        ~ ' as bignumeric), 6) as numeric), null)'
    ) }}
{% endmacro %}
