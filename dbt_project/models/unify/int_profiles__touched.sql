-- One row per profile that this run has to look at again: something happened, it gained or lost
-- identifiers or anchors, or time moved its orders or visits into or out of the rolling window.
-- What an unfinished run looked at stays listed: those ids may be gone from everywhere else.
-- Its sessions may change from visits_change_from on, where one of them begins: year 1 for all of
-- them, 9999 for none. An anchor that moved takes its visits along, to one and from another; the
-- first began when it was first seen. An identifier has no visits but those of its anchors.
{{ config(indexes=[{'columns': ['profile_id'], 'unique': true}]) }}
{%- set window = run_window() %}
{%- set owners = ref('int_anchors__resolved') %}
{%- set judged = ref('int_identifiers__judged') %}
{%- set resolved = ref('int_identifiers__resolved') %}
{%- set earlier = as_left_by_earlier_runs('int_profiles__touched') %}
{%- set joined_visits = as_left_by_earlier_runs('int_visits__joined') if window.from_xid > 0 %}
{%- set time_of_facts = [
    (ref('int_orders__by_anchor'), 'ordered_at'),
    (ref('int_visits__by_anchor'), 'started_at'),
] %}
{%- set all_visits = timestamp_literal('0001-01-01T00:00:00Z') %}
{%- set no_visits = timestamp_literal('9999-12-31T00:00:00Z') %}

with reasons as (
    select
        owners.profile_id,
        touched.visits_change_from
    from {{ owners }} as owners
    inner join {{ ref('int_anchors__touched') }} as touched on owners.anchor_id = touched.anchor_id
    {%- for profile_id in ['profile_id', 'previous_profile_id'] %}
    union all
    select
        moved.{{ profile_id }},
        seen.first_seen_at as visits_change_from
    from {{ owners }} as moved
    inner join {{ ref('int_anchors__seen') }} as seen on moved.anchor_id = seen.anchor_id
    where moved.moved_in > {{ window.published_run }}
    union all
    select
        {{ profile_id }},
        {{ no_visits }} as visits_change_from
    from {{ resolved }}
    where moved_in > {{ window.published_run }}
    {%- endfor %}
    union all
    select
        resolved.profile_id,
        {{ no_visits }} as visits_change_from
    from {{ judged }} as judged
    inner join {{ resolved }} as resolved on judged.identifier_key = resolved.identifier_key
    where judged.changed_in > {{ window.published_run }}
    {%- if window.published_on and window.published_on != window.as_of_on %}
    {%- for facts, instant in time_of_facts %}
    {%- for days in days_that_change_sides(window.published_on, window.as_of_on) %}
    union all
    select
        owners.profile_id,
        {{ no_visits }} as visits_change_from
    from {{ facts }} as facts
    inner join {{ owners }} as owners on facts.anchor_id = owners.anchor_id
    where
        facts.{{ instant }} >= {{ timestamp_literal(days.first ~ 'T00:00:00Z') }}
        and facts.{{ instant }} < {{ timestamp_literal(days.end ~ 'T00:00:00Z') }}
    {%- endfor %}
    {%- endfor %}
    {%- endif %}
    {%- if earlier %}
    union all
    select
        profile_id,
        {{ all_visits }} as visits_change_from
    from {{ earlier }}
    where touched_in > {{ window.published_run }}
    {%- endif %}
),

touched as (
    select
        profile_id,
        min(visits_change_from) as visits_change_from
    from reasons
    where profile_id is not null
    group by profile_id
)

select
    touched.profile_id,
    {%- if joined_visits %}
    coalesce(latest.started_at, touched.visits_change_from) as visits_change_from,
    {%- else %}
    touched.visits_change_from,
    {%- endif %}
    {{ window.run }} as touched_in
from touched
{%- if joined_visits %}
{{ join_latest(
    joined_visits, 'profile_id', 'started_at', 'touched', 'visits_change_from',
    'earlier.visit_message_id = earlier.session_message_id and touched.visits_change_from < ' ~ no_visits
) }}
{%- endif %}
