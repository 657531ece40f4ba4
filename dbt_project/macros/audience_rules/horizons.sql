{#
    Where time alone can change who belongs.

    A rule asks the clock in one form only: whether an instant lies before or after a horizon that
    moves with as_of (the start of a window, or as_of itself for events that are still to come). So
    between two runs the answer about a profile can only change when one of its own instants, or an
    event of its, lies between a horizon's two places. Whatever is wrapped around the condition
    (negations, counts, sequences) changes nothing about that.

    A horizon is {column, event_name (none for a profile's own instants), hours, is_whole_days}.
#}

{% macro note_horizon(attribute, hours, is_whole_days, scope) %}
    {% set horizon = {
        'column': attribute.sql, 'event_name': scope.get('event_name'),
        'hours': hours, 'is_whole_days': is_whole_days,
    } %}
    {% if horizon not in scope.get('horizons', []) %}
        {% do scope.get('horizons', []).append(horizon) %}
    {% endif %}
{% endmacro %}


{# A query: every profile about which time can have changed an answer from the instant `earlier` to
   the instant `later`, and perhaps some more. earlier, later: SQL. #}
{% macro profiles_moved_by_time(horizons, profiles, events, earlier, later) -%}
{%- set moved = {profiles ~ ' as profiles': [], events ~ ' as events': []} %}
{%- for horizon in horizons %}
    {%- set crossed = horizon.column ~ ' between ' ~ horizon_at(horizon, earlier)
        ~ ' and ' ~ horizon_at(horizon, later) %}
    {%- if horizon.event_name is none %}
        {%- do moved[profiles ~ ' as profiles'].append(crossed) %}
    {%- else %}
        {%- do moved[events ~ ' as events'].append(
            '(events.event_type = ' ~ text_literal(horizon.event_name) ~ ' and ' ~ crossed ~ ')'
        ) %}
    {%- endif %}
{%- endfor %}
{%- for relation, conditions in moved.items() %}
select profile_id
from {{ relation }}
where {{ conditions | unique | join('\n    or ') or 'false' }}
{{- '\nunion distinct\n' if not loop.last }}
{%- endfor %}
{%- endmacro %}


{% macro horizon_at(horizon, as_of) %}
    {{ return(whole_days_ago(as_of, horizon.hours // 24) if horizon.is_whole_days
        else hours_ago(as_of, horizon.hours)) }}
{% endmacro %}
