{# Digests of what the results depend on beside the events, so that a change is noticed. #}

{# Rules that reach every event or profile: what an event means, what money is worth, which user_ids
   are none, which identifier comes first, and the settings. #}
{% macro rules_digest() %}
    {% set settings = [
        var('session_timeout_minutes'), var('rolling_window_days'), var('currency'),
    ] | join(',') %}
    {{ return(digest_of([
        "'" ~ settings ~ "'",
        seed_as_text(ref('event_semantics'), [
            'event_type', 'meaning', 'amount_properties', 'order_id_properties',
        ]),
        seed_as_text(ref('exchange_rates'), ['currency', 'valid_from', 'rate']),
        seed_as_text(ref('identifier_types'), ['identifier_type', 'priority']),
        seed_as_text(
            ref('blocked_identifiers'), ['identifier_type', 'pattern'],
            "identifier_type in ('user_id', '*')"
        ),
    ])) }}
{% endmacro %}

{# Rules that only reach the identifiers they name. #}
{% macro identity_rules_digest() %}
    {{ return(digest_of([
        seed_as_text(ref('identifier_types'), ['identifier_type', 'max_user_ids']),
        seed_as_text(ref('blocked_identifiers'), ['identifier_type', 'pattern']),
    ])) }}
{% endmacro %}

{% macro seed_as_text(seed, columns, condition='true') %}
    {% set cells = [] %}
    {% for column in columns %}
        {% do cells.append("coalesce(cast(" ~ column ~ " as " ~ dbt.type_string() ~ "), '-')") %}
    {% endfor %}
    {% set line = cells | join(" || ',' || ") %}
    {{ return(
        "coalesce((select string_agg(" ~ line ~ ", ';' order by " ~ in_byte_order('(' ~ line ~ ')')
        ~ ') from ' ~ seed ~ ' where ' ~ condition ~ "), '')"
    ) }}
{% endmacro %}

{% macro digest_of(texts) %}
    {{ return('cast(' ~ md5_id(texts | join(" || '|' || ")) ~ ' as ' ~ dbt.type_string() ~ ')') }}
{% endmacro %}
