{# Decision rules: conditions in the language of the audiences, over one profile and the request's context. #}

{# What a condition may talk about: the profile's attributes, and `context.<anything>` of the request. #}
{% macro decision_attributes() %}
    {{ return(dict(profile_attributes(), context={'kind': 'json', 'base': 'request.context'})) }}
{% endmacro %}


{# One decision rule. audience_keys: the keys that $audience may name; it asks whether the profile is a
   member now, so that the rule and the answer's list of audiences never disagree. A rule without a
   condition always holds. Returns {predicate, signals, measures, sequences, events_read, errors}. #}
{% macro compile_decision_rule(condition, audience_keys, as_of) %}
    {% set rules = {} %}
    {% for key in audience_keys %}{% do rules.update({key: none}) %}{% endfor %}
    {% set scope = {
        'attributes': decision_attributes(), 'as_of': as_of, 'depth': 0, 'errors': [],
        'measures': {}, 'sequences': {}, 'events_read': [],
        'rules': rules, 'membership': 'membership.audience_keys', 'profile_id': 'profiles.profile_id',
    } %}
    {% set rule = parse_rule(condition) if condition else none %}
    {% set predicate = 'true' if not condition
        else rule_sql(rule, scope, '') if rule is not none
        else rule_error(scope, '', not_a_rule()) %}
    {% set signals = decision_signals(rule, scope) if rule and not scope.errors else [] %}
    {{ return({
        'predicate': 'false' if scope.errors else predicate, 'errors': scope.errors, 'signals': signals,
        'measures': scope.measures, 'sequences': scope.sequences, 'events_read': scope.events_read,
    }) }}
{% endmacro %}


{# The conditions that a rule joins with `and`, one by one, so that an answer can say which of them held:
   {side, attribute, operator, threshold, predicate, value}, value being SQL of what was compared. #}
{% macro decision_signals(rule, scope) %}
    {% set signals = [] %}
    {% for key, value in rule.items() %}
        {% set attribute = find_attribute(key, scope) %}
        {% if key == '$and' %}
            {% for part in value %}{% do signals.extend(decision_signals(part, scope)) %}{% endfor %}
        {% elif attribute and is_operators(value) and '$regex' not in value %}
            {% for operator, operand in value.items() %}
                {% do signals.append(decision_signal(key, {operator: operand}, attribute, scope)) %}
            {% endfor %}
        {% else %}
            {% do signals.append(decision_signal(key, value, attribute, scope)) %}
        {% endif %}
    {% endfor %}
    {{ return(signals) }}
{% endmacro %}


{% macro decision_signal(key, value, attribute, scope) %}
    {% set operator = value | first if is_operators(value) else none %}
    {{ return({
        'side': 'session' if key.split('.')[0] == 'context' else 'warehouse',
        'attribute': key,
        'operator': operator or '$eq',
        'threshold': value[operator] if operator else value,
        'predicate': rule_sql({key: value}, scope, ''),
        'value': attribute_json(attribute) if attribute else 'null',
    }) }}
{% endmacro %}
