{# Conditions on one attribute. An attribute is {kind, sql}, or {kind: 'json', base, keys} for what lies
   under a JSON column; its kind is number, text, boolean, timestamp or json. #}

{# The attribute behind a name, or none. `traits.plan.tier` reaches into the column traits. #}
{% macro find_attribute(name, scope) %}
    {% set keys = name.split('.') %}
    {% set column = scope.attributes.get(keys[0]) %}
    {% if not is_text(name) or '' in keys %}
        {{ return(none) }}
    {% elif column and column.kind == 'json' %}
        {{ return(dict(column, keys=keys[1:])) }}
    {% elif column and keys | length == 1 %}
        {{ return(column) }}
    {% elif '*' in scope.attributes %}
        {{ return(dict(scope.attributes['*'], keys=keys)) }}
    {% endif %}
    {{ return(none) }}
{% endmacro %}


{# value: {operator: operand, ...}, or a plain value that the attribute must equal. #}
{% macro attribute_sql(attribute, value, scope, path) %}
    {% if not is_operators(value) %}
        {{ return(operator_sql(attribute, '$eq', value, scope, path)) }}
    {% elif scope.depth > 20 %}
        {{ return(rule_error(scope, path, 'nested more than 20 levels deep')) }}
    {% elif '$options' in value and '$regex' not in value %}
        {{ return(rule_error(scope, path ~ '.$options', '$options goes with $regex')) }}
    {% endif %}
    {% set clauses = [] %}
    {% for operator, operand in value.items() if operator != '$options' %}
        {% set here = path ~ '.' ~ operator %}
        {% if operator == '$regex' %}
            {% do clauses.append(regex_sql(attribute, operand, value.get('$options', ''), scope, here)) %}
        {% else %}
            {% do clauses.append(operator_sql(attribute, operator, operand, deeper(scope), here)) %}
        {% endif %}
    {% endfor %}
    {{ return(joined(clauses, ' and ')) }}
{% endmacro %}


{% macro operator_sql(attribute, operator, operand, scope, path) %}
    {% set is_json = attribute.kind == 'json' %}
    {% set opposite = {'$ne': '$eq', '$nin': '$in', '$not_within_days': '$within_days'}.get(operator) %}
    {% if opposite %}
        {{ return(negated(operator_sql(attribute, opposite, operand, scope, path))) }}
    {% elif operator == '$not' %}
        {{ return(negated(attribute_sql(attribute, operand, scope, path)) if is_operators(operand)
            else rule_error(scope, path, 'expected an object of operators')) }}
    {% elif operator in ['$in', '$all'] %}
        {{ return(list_sql(attribute, operator, operand, scope, path)) }}
    {% elif operator == '$exists' %}
        {% set present = json_exists(attribute) if is_json else attribute.sql ~ ' is not null' %}
        {{ return('((' ~ present ~ ') is ' ~ ('true' if operand else 'not true') ~ ')' if operand is boolean
            else rule_error(scope, path, 'expected true or false')) }}
    {% elif operator == '$eq' and operand is none %}
        {{ return('(' ~ (json_is_null(attribute) if is_json else attribute.sql ~ ' is null') ~ ')') }}
    {% elif operator == '$within_days' and attribute.kind == 'timestamp' %}
        {% if not is_day_count(operand) %}
            {{ return(rule_error(scope, path, day_count_wanted())) }}
        {% endif %}
        {% do note_horizon(attribute, (operand - 1) * 24, true, scope) %}
        {{ return(since_sql(attribute, whole_days_ago(scope.as_of, operand - 1))) }}
    {% elif operator == '$size' and is_json %}
        {{ return(attribute_sql({'kind': 'number', 'sql': json_size(attribute)}, operand, scope, path)) }}
    {% elif operator == '$elemMatch' and is_json %}
        {{ return(item_sql(attribute, operand, scope, path)) }}
    {% endif %}

    {% set problem = operand_problem(attribute.kind, operator, operand) %}
    {% if problem %}
        {{ return(rule_error(scope, path, problem)) }}
    {% endif %}
    {{ return('(' ~ (json_compare(attribute, operator, operand) if is_json
        else scalar_compare(attribute, operator, operand)) ~ ')') }}
{% endmacro %}


{% macro list_sql(attribute, operator, items, scope, path) %}
    {% if not is_list(items) or not items %}
        {{ return(rule_error(scope, path, 'expected a list with at least one value')) }}
    {% elif operator == '$all' and attribute.kind != 'json' %}
        {{ return(rule_error(scope, path, '$all is for lists, and a ' ~ attribute.kind ~ ' is not one')) }}
    {% endif %}
    {% set clauses = [] %}
    {% for item in items %}
        {% do clauses.append(operator_sql(attribute, '$eq', item, scope, path ~ '[' ~ loop.index0 ~ ']')) %}
    {% endfor %}
    {{ return(joined(clauses, ' or ' if operator == '$in' else ' and ')) }}
{% endmacro %}


{# $elemMatch: one item of the list satisfies everything: operators for plain items, a rule for objects. #}
{% macro item_sql(attribute, operand, scope, path) %}
    {% if operand is not mapping or not operand %}
        {{ return(rule_error(scope, path, 'expected an object with at least one condition')) }}
    {% endif %}
    {% set alias = 'item_' ~ scope.depth %}
    {% set item = {'kind': 'json', 'base': json_item(alias), 'keys': []} %}
    {% set inner = {
        'attributes': {'*': item}, 'as_of': scope.as_of, 'depth': scope.depth + 1, 'errors': scope.errors,
    } %}
    {% set is_rule = (operand | first) in ['$and', '$or', '$nor'] or not is_operators(operand) %}
    {% set condition = rule_sql(operand, inner, path) if is_rule
        else attribute_sql(item, operand, inner, path) %}
    {{ return('(exists (select 1 from ' ~ json_items(attribute, alias) ~ ' where ' ~ condition ~ '))') }}
{% endmacro %}


{# $options 'i' ignores case, as in MongoDB. #}
{% macro regex_sql(attribute, pattern, options, scope, path) %}
    {% set problem = regex_problem(pattern) %}
    {% if attribute.kind not in ['text', 'json'] %}
        {{ return(rule_error(scope, path, '$regex is not for a ' ~ attribute.kind)) }}
    {% elif problem %}
        {{ return(rule_error(scope, path, problem)) }}
    {% elif options not in ['', 'i'] %}
        {{ return(rule_error(scope, path, '$options can only be "i" (ignore case)')) }}
    {% endif %}
    {{ return('(' ~ (json_matches(attribute, pattern, options) if attribute.kind == 'json'
        else text_matches(attribute.sql, pattern, options)) ~ ')') }}
{% endmacro %}


{% macro since_sql(attribute, start) %}{{ return('(' ~ attribute.sql ~ ' >= ' ~ start ~ ')') }}{% endmacro %}


{# What is wrong with comparing this kind of attribute to this operand; '' when nothing is. #}
{% macro operand_problem(kind, operator, operand) %}
    {% set ordered = ['$eq', '$gt', '$gte', '$lt', '$lte'] %}
    {% set textual = ['$contains', '$starts_with', '$ends_with'] %}
    {% set allowed = {
        'number': ordered,
        'text': ordered + textual,
        'boolean': ['$eq'],
        'timestamp': ordered + ['$before', '$after'],
        'json': ordered + textual,
    }[kind] %}
    {% if operator not in allowed %}
        {% set known = ordered + textual + ['$before', '$after', '$within_days', '$size', '$elemMatch'] %}
        {{ return(operator ~ ' is not for a ' ~ kind if operator in known else 'unknown operator') }}
    {% elif kind == 'json' %}
        {{ return(json_operand_problem(operator, operand)) }}
    {% elif kind == 'number' and not is_number(operand) %}{{ return('expected a number') }}
    {% elif kind == 'text' and not is_text(operand) %}{{ return('expected a text') }}
    {% elif kind == 'boolean' and operand is not boolean %}{{ return('expected true or false') }}
    {% elif kind == 'timestamp' and not is_instant(operand) %}
        {{ return('expected a date such as 2026-01-31 or 2026-01-31T12:00:00Z') }}
    {% endif %}
    {{ return('') }}
{% endmacro %}


{% macro json_operand_problem(operator, operand) %}
    {% if operator in ['$contains', '$starts_with', '$ends_with'] and not is_text(operand) %}
        {{ return('expected a text') }}
    {% elif operator == '$eq' and (operand is mapping or is_list(operand)) %}
        {{ return('' if is_plain_json(operand, 20)
            else 'expected plain values inside, without operators, at most 20 levels deep') }}
    {% elif not (is_text(operand) or is_number(operand) or operand is boolean) %}
        {{ return('expected a text, a number or a boolean') }}
    {% elif operand is boolean and operator != '$eq' %}
        {{ return('a boolean has no order') }}
    {% endif %}
    {{ return('') }}
{% endmacro %}


{% macro scalar_compare(attribute, operator, operand) %}
    {% set literal = typed_literal(attribute.kind, operand) %}
    {% set symbol = {
        '$eq': '=', '$gt': '>', '$gte': '>=', '$lt': '<', '$lte': '<=', '$before': '<', '$after': '>',
    }.get(operator) %}
    {% if operator == '$contains' %}
        {{ return('strpos(' ~ attribute.sql ~ ', ' ~ literal ~ ') > 0') }}
    {% elif operator == '$starts_with' %}
        {{ return('starts_with(' ~ attribute.sql ~ ', ' ~ literal ~ ')') }}
    {% elif operator == '$ends_with' %}
        {{ return('right(' ~ attribute.sql ~ ', ' ~ operand | length ~ ') = ' ~ literal) }}
    {% endif %}
    {% set is_text_order = attribute.kind == 'text' and operator != '$eq' %}
    {{ return((binary_order(attribute.sql) if is_text_order else attribute.sql) ~ ' ' ~ symbol ~ ' ' ~ literal) }}
{% endmacro %}


{% macro typed_literal(kind, value) %}
    {% if kind == 'number' %}{{ return(number_literal(value)) }}
    {% elif kind == 'boolean' %}{{ return('true' if value else 'false') }}
    {% elif kind == 'timestamp' %}{{ return(instant_literal(value)) }}
    {% endif %}
    {{ return(text_literal(value)) }}
{% endmacro %}
