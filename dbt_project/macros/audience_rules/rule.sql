{#
    The audience rule language: a rule (parsed JSON) in, one boolean SQL expression out.
    docs/audiences.md is the language's reference; each row of its tables is run by a test.

    The same files are rendered by dbt for the batch and by cdp/audience_rules.py for previews and
    decisions, so a macro here may use only what both offer: return, tojson, fromjson, modules.re,
    local_md5, adapter.dispatch.

    Nothing raises. A problem is appended to scope.errors as {path, message} and compiles to `false`,
    so one wrong definition never stops the others. SQL has three truth values and every negation is
    written `(...) is not true`, so a null counts as false at each level.

    scope:
        attributes  {name: attribute} that a rule may use here; '*' admits any name (see find_attribute)
        as_of       SQL of the instant that time windows count back from
        depth       how many levels down this rule is
        errors      the list of problems, shared by all levels
    and where whole profiles are tested, not single events or list items:
        measures    {name: SQL of an aggregate over the profile's events}, collected on the way
        sequences   {name: steps of a sequence and the events that they read}, collected on the way
        events_read [{name, within_days (none for all of them)}] of the events that the measures read
        rules       parsed rules by audience key, for $audience
        visiting    keys of the audiences on the way down, to find cycles
        referenced  keys of the audiences that are part of this one, collected on the way
        horizons    where time alone can change an answer, collected on the way (see horizons.sql)
        membership  optional: SQL of an array of audience keys that $audience looks into instead
        profile_id  SQL of the profile's id, for $bucket
#}

{% macro rule_sql(rule, scope, path) %}
    {% if rule is not mapping or not rule %}
        {{ return(rule_error(scope, path, 'expected an object with at least one condition')) }}
    {% elif scope.depth > 20 %}
        {{ return(rule_error(scope, path, 'nested more than 20 levels deep')) }}
    {% endif %}
    {% set clauses = [] %}
    {% for key, value in rule.items() %}
        {% do clauses.append(clause_sql(key, value, deeper(scope), child_path(path, key))) %}
    {% endfor %}
    {{ return(joined(clauses, ' and ')) }}
{% endmacro %}


{% macro clause_sql(key, value, scope, path) %}
    {% if key in ['$and', '$or', '$nor'] %}
        {% if not is_list(value) or not value %}
            {{ return(rule_error(scope, path, 'expected a list with at least one rule')) }}
        {% endif %}
        {% set rules = [] %}
        {% for rule in value %}
            {% do rules.append(rule_sql(rule, scope, path ~ '[' ~ loop.index0 ~ ']')) %}
        {% endfor %}
        {% set combined = joined(rules, ' and ' if key == '$and' else ' or ') %}
        {{ return(negated(combined) if key == '$nor' else combined) }}
    {% elif key == '$not' %}
        {{ return(negated(rule_sql(value, scope, path))) }}
    {% elif key == '$event' and 'measures' in scope %}
        {{ return(event_sql(value, scope, path)) }}
    {% elif key == '$sequence' and 'sequences' in scope %}
        {{ return(sequence_sql(value, scope, path)) }}
    {% elif key == '$audience' and 'rules' in scope %}
        {{ return(audience_sql(value, scope, path)) }}
    {% elif key == '$bucket' and 'profile_id' in scope %}
        {{ return(bucket_sql(value, scope, path)) }}
    {% endif %}

    {% set attribute = find_attribute(key, scope) %}
    {% if attribute %}
        {{ return(attribute_sql(attribute, value, scope, path)) }}
    {% endif %}
    {% set bounded = find_attribute(key[4:], scope) if key[:4] in ['min_', 'max_'] else none %}
    {% if bounded and bounded.kind == 'number' %}
        {% set operator = '$gte' if key[:4] == 'min_' else '$lte' %}
        {{ return(operator_sql(bounded, operator, value, scope, path)) }}
    {% elif key == 'days_since_last_event' and find_attribute('last_event_at', scope) %}
        {% set last_event_at = find_attribute('last_event_at', scope) %}
        {% if not is_day_count(value) %}
            {{ return(rule_error(scope, path, day_count_wanted())) }}
        {% endif %}
        {% do note_horizon(last_event_at, value * 24, false, scope) %}
        {{ return(since_sql(last_event_at, hours_ago(scope.as_of, value * 24))) }}
    {% endif %}
    {{ return(rule_error(scope, path, 'unknown attribute or operator')) }}
{% endmacro %}


{# Another audience by key: its rule, inlined; or where the scope says so, its members. #}
{% macro audience_sql(key, scope, path) %}
    {% if not is_text(key) or key not in scope.rules %}
        {{ return(rule_error(scope, path, 'no audience has this key')) }}
    {% elif 'membership' in scope %}
        {{ return(array_contains(scope.membership, text_literal(key))) }}
    {% elif key in scope.visiting %}
        {{ return(rule_error(scope, path, 'a cycle: ' ~ (scope.visiting + [key]) | join(' -> '))) }}
    {% endif %}
    {% do scope.referenced.append(key) %}
    {% set inner = dict(scope, visiting=scope.visiting + [key]) %}
    {{ return(rule_sql(scope.rules[key], inner, path ~ '(' ~ key ~ ')')) }}
{% endmacro %}


{# $bucket: {split, from, to}: profiles whose stable place from 0 to 100 in this split lies in [from, to). #}
{% macro bucket_sql(value, scope, path) %}
    {% if value is not mapping or value.keys() | sort != ['from', 'split', 'to'] %}
        {{ return(rule_error(scope, path, 'expected exactly the keys split, from and to')) }}
    {% elif not is_text(value['split']) or not value['split'] %}
        {{ return(rule_error(scope, path ~ '.split', 'expected the name of a split')) }}
    {% elif not is_number(value['from']) or not is_number(value['to'])
            or not 0 <= value['from'] < value['to'] <= 100 %}
        {{ return(rule_error(scope, path, 'expected percentages: 0 <= from < to <= 100')) }}
    {% endif %}
    {% set place = bucket_of_10000(value['split'], scope.profile_id) %}
    {{ return('(' ~ place ~ ' >= ' ~ number_literal(value['from']) ~ ' * 100 and '
        ~ place ~ ' < ' ~ number_literal(value['to']) ~ ' * 100)') }}
{% endmacro %}


{% macro deeper(scope) %}{{ return(dict(scope, depth=scope.depth + 1)) }}{% endmacro %}

{% macro child_path(path, key) %}{{ return(path ~ '.' ~ key if path else key) }}{% endmacro %}

{% macro negated(condition) %}{{ return('(' ~ condition ~ ' is not true)') }}{% endmacro %}

{# Clauses arrive in parentheses; one alone needs no more. #}
{% macro joined(clauses, word) %}
    {{ return(clauses[0] if clauses | length == 1 else '(' ~ clauses | join(word) ~ ')') }}
{% endmacro %}

{% macro rule_error(scope, path, message) %}
    {% do scope.errors.append({'path': path[:500], 'message': message}) %}
    {{ return('false') }}
{% endmacro %}
