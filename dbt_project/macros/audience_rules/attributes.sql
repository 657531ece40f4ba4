{# What a rule may talk about, and nothing else. A test holds the profile's attributes equal to the
   contract of unify.profiles. #}

{# Name and kind of each column of unify.profiles except profile_id, which is a key and no attribute. #}
{% macro profile_attribute_kinds() %}
    {{ return({
        'primary_identifier': 'text',
        'email': 'text',
        'user_id': 'text',
        'anonymous_id': 'text',
        'phone': 'text',
        'traits': 'json',
        'first_seen_at': 'timestamp',
        'last_seen_at': 'timestamp',
        'last_event_at': 'timestamp',
        'total_orders': 'number',
        'total_spend': 'number',
        'orders_30d': 'number',
        'spend_30d': 'number',
        'visit_count': 'number',
        'visits_30d': 'number',
        'average_order_value': 'number',
        'first_order_at': 'timestamp',
        'last_order_at': 'timestamp',
    }) }}
{% endmacro %}


{% macro profile_attributes() %}
    {% set attributes = {} %}
    {% for name, kind in profile_attribute_kinds().items() %}
        {% set column = 'profiles.' ~ name %}
        {% do attributes.update({
            name: {'kind': 'json', 'base': column} if kind == 'json' else {'kind': kind, 'sql': column},
        }) %}
    {% endfor %}
    {{ return(attributes) }}
{% endmacro %}


{# What `where` of $event and $sequence may talk about. #}
{% macro event_attributes() %}
    {{ return({
        'occurred_at': {'kind': 'timestamp', 'sql': 'events.occurred_at'},
        'properties': {'kind': 'json', 'base': 'events.properties', 'keys': []},
        'context': {'kind': 'json', 'base': 'events.context', 'keys': []},
    }) }}
{% endmacro %}
