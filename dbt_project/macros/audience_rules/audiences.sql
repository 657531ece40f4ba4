{# From definitions to the ids of the audiences that each profile belongs to. #}

{# One definition. rules: every audience's rule by key, for $audience. Returns
   {predicate, measures, sequences, events_read, horizons, referenced, errors: [{path, message}]}. #}
{% macro compile_audience(audience_key, rules, as_of) %}
    {% set scope = {
        'attributes': profile_attributes(), 'as_of': as_of, 'depth': 0, 'errors': [],
        'measures': {}, 'sequences': {}, 'events_read': [],
        'rules': rules, 'visiting': [audience_key], 'profile_id': 'profiles.profile_id',
        'horizons': [], 'referenced': [],
    } %}
    {% set rule = rules[audience_key] %}
    {% set predicate = rule_sql(rule, scope, '') if rule is not none
        else rule_error(scope, '', not_a_rule()) %}
    {{ return({
        'predicate': 'false' if scope.errors else predicate, 'errors': scope.errors,
        'measures': scope.measures, 'sequences': scope.sequences, 'events_read': scope.events_read,
        'horizons': scope.horizons, 'referenced': scope.referenced,
    }) }}
{% endmacro %}

{% macro not_a_rule() %}
    {{ return('expected one JSON object in which no key is given twice and at most 500 brackets open') }}
{% endmacro %}


{# rows: [{audience_key, definition (JSON text)}]. Returns {audience_key: compiled}. #}
{% macro compile_audiences(rows, as_of) %}
    {% set rules = {} %}
    {% for row in rows %}{% do rules.update({row.audience_key: parse_rule(row.definition)}) %}{% endfor %}
    {% set compiled = {} %}
    {% for key in rules %}{% do compiled.update({key: compile_audience(key, rules, as_of)}) %}{% endfor %}
    {{ return(compiled) }}
{% endmacro %}


{# One row per profile of the relation `profiles`: the ids of the audiences that it belongs to.
   audiences: [{audience_id, predicate, measures, sequences, events_read}]. The batch passes whole tables, a
   preview one audience, a live answer one profile's row and that profile's events. #}
{% macro matching_audiences_sql(audiences, profiles, events, as_of) %}
{%- set needed = {'measures': {}, 'sequences': {}, 'events_read': []} %}
{%- set cases = [] %}
{%- for audience in audiences %}
    {%- do needed.measures.update(audience.measures) %}
    {%- do needed.sequences.update(audience.sequences) %}
    {%- do needed.events_read.extend(audience.events_read) %}
    {%- do cases.append('case when ' ~ audience.predicate ~ ' then ' ~ audience.audience_id ~ ' end') %}
{%- endfor -%}
with {{- behaviour_ctes(needed, events, as_of) }}
matching as (
    select
        profiles.profile_id,
        {{ matching_ids(cases or ['null']) }} as audience_ids
    from {{ profiles }} as profiles
    {{- behaviour_joins(needed) }}
)

select profile_id, audience_ids from matching
{%- endmacro %}


{# One audience: the ids of its members. The same predicate as in the batch, as a condition. #}
{% macro audience_members_sql(audience, profiles, events, as_of) -%}
with {{- behaviour_ctes(audience, events, as_of) }}
members as (
    select profiles.profile_id
    from {{ profiles }} as profiles
    {{- behaviour_joins(audience) }}
    where {{ audience.predicate }}
)

select profile_id from members
{%- endmacro %}
