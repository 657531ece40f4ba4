{# The identifiers that an event carries, and the links between them. #}

{# Where identifiers stand: column of the event, and the type that its value is an identifier of.
   An alias call names another id without saying of which kind, so it is taken as both kinds. #}
{% macro carried_identifiers() %}
    {{ return([
        {'column': 'user_id', 'type': 'user_id'},
        {'column': 'email', 'type': 'email'},
        {'column': 'phone', 'type': 'phone'},
        {'column': 'anonymous_id', 'type': 'anonymous_id'},
    ]) }}
{% endmacro %}

{% macro aliased_identifiers() %}
    {{ return([
        {'column': 'previous_id', 'type': 'user_id'},
        {'column': 'previous_id', 'type': 'anonymous_id'},
    ]) }}
{% endmacro %}

{# All of them as columns of int_identifiers__carried_together: type, key, column of the value, and
   whether an event was sent under it. #}
{% macro identifiers_of_tuples() %}
    {% set identifiers = [] %}
    {% for identifier in carried_identifiers() %}
        {% do identifiers.append(dict(identifier, key=identifier.type ~ '_key', is_carried='true')) %}
    {% endfor %}
    {% for identifier in aliased_identifiers() %}
        {% do identifiers.append(
            dict(identifier, key='aliased_' ~ identifier.type ~ '_key', is_carried='false')
        ) %}
    {% endfor %}
    {{ return(identifiers) }}
{% endmacro %}

{# The values of a type that identify nobody, as one pattern; null when there are none. #}
{% macro blocked_pattern(identifier_type) %}
    {{ return(
        "(select " ~ any_of_patterns('pattern') ~ " from " ~ ref('blocked_identifiers')
        ~ " where identifier_type in ('" ~ identifier_type ~ "', '*'))"
    ) }}
{% endmacro %}

{# An aggregate: the patterns of a column as one that matches what any of them does. #}
{% macro any_of_patterns(column) %}
    {{ return("'(' || " ~ joined_text(column, ')|(') ~ " || ')'") }}
{% endmacro %}

{# The profile that an identifier names when it is the oldest of its component. #}
{% macro profile_id_of(identifier_type, value) %}
    {{ return(md5_id(identifier_type ~ " || ':' || " ~ value)) }}
{% endmacro %}

{# The anchor of an event: what it hangs on and what no merge, split or limit ever changes. Its
   user_id, else everything else that it carries. Lengths keep neighbouring values apart. #}
{% macro anchor_id_of(user_id, email, phone, anonymous_id) %}
    {% set parts = [] %}
    {% for value in [email, phone, anonymous_id] %}
        {% do parts.append(
            "coalesce(cast(length(" ~ value ~ ") as " ~ dbt.type_string() ~ ") || ':' || " ~ value ~ ", '-')"
        ) %}
    {% endfor %}
    {{ return(
        'case when ' ~ user_id ~ ' is not null then ' ~ md5_id("'user_id:' || " ~ user_id)
        ~ ' when coalesce(' ~ email ~ ', ' ~ phone ~ ', ' ~ anonymous_id ~ ') is not null then '
        ~ md5_id("'anchor:' || " ~ parts | join(" || ',' || ")) ~ ' end'
    ) }}
{% endmacro %}
