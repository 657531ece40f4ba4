{# Conditions on what a profile did. They become columns of CTEs that read the events once for all
   audiences; equal ones share a column, because its name is derived from its SQL. #}

{# $event: {name, where, within_days, count | sum | min | max}. No event counts as 0 and sums to 0;
   the least and greatest of nothing are missing. Without a comparison: at least one event. #}
{% macro event_sql(value, scope, path) %}
    {% set happened = happened_sql(value, ['count', 'sum', 'min', 'max'], scope, path) %}
    {% if happened is none %}{{ return('false') }}{% endif %}
    {% set clauses = [] %}
    {% if 'count' in value or not ('sum' in value or 'min' in value or 'max' in value) %}
        {% set counted = 'coalesce(' ~ measure('count(case when ' ~ happened ~ ' then 1 end)', scope) ~ ', 0)' %}
        {% set comparison = value.get('count', {'$gte': 1}) %}
        {% set here = path ~ '.count' %}
        {% do clauses.append(attribute_sql({'kind': 'number', 'sql': counted}, comparison, scope, here)) %}
    {% endif %}
    {% for aggregate in ['sum', 'min', 'max'] if aggregate in value %}
        {% set here = path ~ '.' ~ aggregate %}
        {% set compared = value[aggregate] %}
        {% if compared is not mapping or not compared %}
            {% do rule_error(scope, here, 'expected {"properties.<name>": comparison}') %}
        {% else %}
            {% for name, comparison in compared.items() %}
                {% do clauses.append(aggregate_sql(
                    aggregate, name, comparison, happened, scope, here ~ '.' ~ name
                )) %}
            {% endfor %}
        {% endif %}
    {% endfor %}
    {{ return(joined(clauses, ' and ') if clauses else 'false') }}
{% endmacro %}


{% macro aggregate_sql(aggregate, name, comparison, happened, scope, path) %}
    {% set property = find_attribute(name, {'attributes': event_attributes()}) %}
    {% if not property or property.kind != 'json' or not property['keys'] %}
        {{ return(rule_error(scope, path, 'expected properties.<name> or context.<name>')) }}
    {% endif %}
    {% set total = measure(
        aggregate ~ '(case when ' ~ happened ~ ' then ' ~ json_number(property) ~ ' end)', scope
    ) %}
    {% set total = 'coalesce(' ~ total ~ ', 0)' if aggregate == 'sum' else total %}
    {{ return(attribute_sql({'kind': 'number', 'sql': total}, comparison, scope, path)) }}
{% endmacro %}


{# $sequence: {steps: [{name, where}, ...], span_days, within_days}. Each step strictly after the one
   before it, the last at most span_days x 24 hours after the first; within_days bounds every step. #}
{% macro sequence_sql(value, scope, path) %}
    {% if value is not mapping or not is_list(value.get('steps')) or not 2 <= value.steps | length <= 10 %}
        {{ return(rule_error(scope, path, 'expected an object with 2 to 10 steps')) }}
    {% endif %}
    {% for key in value if key not in ['steps', 'span_days', 'within_days'] %}
        {% do rule_error(scope, child_path(path, key), 'unknown key') %}
    {% endfor %}
    {% if 'span_days' in value and not is_day_count(value.span_days) %}
        {% do rule_error(scope, path ~ '.span_days', day_count_wanted()) %}
    {% endif %}
    {% set steps = [] %}
    {% set inner = dict(scope, events_read=[]) %}
    {% for step in value.steps %}
        {% set windowed = dict(step, within_days=value.within_days)
            if step is mapping and 'within_days' in value and 'within_days' not in step else step %}
        {% do steps.append(happened_sql(windowed, [], inner, path ~ '.steps[' ~ loop.index0 ~ ']')) %}
    {% endfor %}
    {% if scope.errors %}{{ return('false') }}{% endif %}
    {% set sequence = {
        'steps': steps, 'span_days': value.get('span_days'), 'events_read': inner.events_read,
    } %}
    {% set name = 'sequence_' ~ local_md5(tojson(sequence))[:12] %}
    {% do scope.sequences.update({name: sequence}) %}
    {{ return('(' ~ name ~ '.profile_id is not null)') }}
{% endmacro %}


{# The condition that an event is the one meant, or none where it is wrong. #}
{% macro happened_sql(value, more_keys, scope, path) %}
    {% if value is not mapping or not is_text(value.get('name')) or not value['name'] %}
        {% do rule_error(scope, path, 'expected an object with the name of an event') %}
        {{ return(none) }}
    {% endif %}
    {% for key in value if key not in ['name', 'where', 'within_days'] + more_keys %}
        {% do rule_error(scope, child_path(path, key), 'unknown key') %}
    {% endfor %}
    {% set attributes = event_attributes() %}
    {% set inner = {
        'attributes': attributes, 'as_of': scope.as_of, 'depth': scope.depth, 'errors': scope.errors,
        'horizons': scope.get('horizons', []), 'event_name': value['name'],
    } %}
    {# Events after as_of do not count yet. #}
    {% do note_horizon(attributes.occurred_at, 0, false, inner) %}
    {% set conditions = ['events.event_type = ' ~ text_literal(value['name'])] %}
    {% if 'within_days' in value %}
        {% do conditions.append(operator_sql(
            attributes.occurred_at, '$within_days', value.within_days, inner, path ~ '.within_days'
        )) %}
    {% endif %}
    {% if 'where' in value %}
        {% do conditions.append(rule_sql(value['where'], inner, path ~ '.where')) %}
    {% endif %}
    {% do scope.events_read.append({
        'name': value['name'],
        'within_days': value.within_days if is_day_count(value.get('within_days')) else none,
    }) %}
    {{ return(conditions | join(' and ')) }}
{% endmacro %}


{% macro measure(aggregate, scope) %}
    {% set name = 'measure_' ~ local_md5(aggregate)[:12] %}
    {% do scope.measures.update({name: aggregate}) %}
    {{ return('behaviour.' ~ name) }}
{% endmacro %}


{# The CTEs that a compiled rule's predicates read, each followed by a comma: `behaviour` with one column
   per measure, and one CTE per sequence with the profiles that went through it. Events after as_of do
   not count. #}
{% macro behaviour_ctes(compiled, events, as_of) %}
{%- if compiled.measures %}
behaviour as (
    select
        events.profile_id
        {%- for name, aggregate in compiled.measures.items() %},
        {{ aggregate }} as {{ name }}
        {%- endfor %}
    from {{ events }} as events
    where
        events.occurred_at <= {{ as_of }}
        and {{ events_read_sql(compiled.events_read, as_of) }}
    group by events.profile_id
),
{% endif %}
{%- for name, sequence in compiled.sequences.items() %}
{{ name }} as (
{{ sequence_profiles(sequence, events, as_of) }}
),
{% endfor %}
{%- endmacro %}


{# One row per profile that went through the steps. Walking the events in time order, each step keeps the
   latest start of a chain that has come this far, so one pass decides however many chains there are. #}
{% macro sequence_profiles(sequence, events, as_of) %}
{%- set last = sequence.steps | length %}
select distinct chain_{{ last }}.profile_id
from
{%- for step in range(last, 1, -1) %}
(
    select
        chain_{{ step - 1 }}.profile_id,
        chain_{{ step - 1 }}.occurred_at,
        {%- for later in range(step + 1, last + 1) %}
        chain_{{ step - 1 }}.is_step_{{ later }},
        {%- endfor %}
        case
            when chain_{{ step - 1 }}.is_step_{{ step }}
                then max(chain_{{ step - 1 }}.started_at) over (
                    partition by chain_{{ step - 1 }}.profile_id
                    order by {{ strictly_earlier('chain_' ~ (step - 1) ~ '.occurred_at') }}
                )
        end as started_at
    from
{%- endfor %}
(
    select
        events.profile_id,
        events.occurred_at,
        {%- for step in range(2, last + 1) %}
        {{ sequence.steps[step - 1] }} as is_step_{{ step }},
        {%- endfor %}
        case when {{ sequence.steps[0] }} then events.occurred_at end as started_at
    from {{ events }} as events
    where
        events.occurred_at <= {{ as_of }}
        and {{ events_read_sql(sequence.events_read, as_of) }}
) as chain_1
{%- for step in range(2, last + 1) %}
) as chain_{{ step }}
{%- endfor %}
where chain_{{ last }}.started_at is not null
{%- if sequence.span_days %}
    and chain_{{ last }}.started_at >= {{ hours_ago('chain_' ~ last ~ '.occurred_at', sequence.span_days * 24) }}
{%- endif %}
{%- endmacro %}


{# What an event must be for anything to read it: of one of the names, and within the widest window on it. #}
{% macro events_read_sql(events_read, as_of) %}
    {% set widest = {} %}
    {% for read in events_read %}
        {% set days = [read.within_days, widest.get(read.name, read.within_days)] %}
        {% do widest.update({read.name: none if none in days else days | max}) %}
    {% endfor %}
    {% set names_within = {} %}
    {% for name, days in widest.items() %}
        {% do names_within.setdefault(days, []).append(name) %}
    {% endfor %}
    {% set conditions = [] %}
    {% for days, names in names_within.items() %}
        {% set named = 'events.event_type in (' ~ text_literals(names) ~ ')' %}
        {% do conditions.append(
            named if days is none
            else '(' ~ named ~ ' and events.occurred_at >= ' ~ whole_days_ago(as_of, days - 1) ~ ')'
        ) %}
    {% endfor %}
    {{ return(conditions[0] if conditions | length == 1 else '(' ~ conditions | join(' or ') ~ ')') }}
{% endmacro %}


{% macro text_literals(texts) %}
    {% set literals = [] %}
    {% for text in texts | unique(case_sensitive=true) | sort(case_sensitive=true) %}
        {% do literals.append(text_literal(text)) %}
    {% endfor %}
    {{ return(literals | join(', ')) }}
{% endmacro %}


{# What follows `from profiles` for the predicates to find those columns. #}
{% macro behaviour_joins(compiled) %}
{%- if compiled.measures %}
left join behaviour on behaviour.profile_id = profiles.profile_id
{%- endif %}
{%- for name in compiled.sequences %}
left join {{ name }} on {{ name }}.profile_id = profiles.profile_id
{%- endfor %}
{%- endmacro %}
