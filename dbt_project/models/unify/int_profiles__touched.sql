-- One row per profile that this run has to look at again: something happened, it gained or lost
-- identifiers or anchors, or time moved its orders or visits into or out of the rolling window.
-- What an unfinished run looked at stays listed: those ids may be gone from everywhere else.
{{ config(indexes=[{'columns': ['profile_id'], 'unique': true}]) }}
{%- set window = run_window() %}
{%- set owners = ref('int_anchors__resolved') %}
{%- set judged = ref('int_identifiers__judged') %}
{%- set resolved = ref('int_identifiers__resolved') %}
{%- set earlier = as_left_by_earlier_runs('int_profiles__touched') %}
{%- set time_of_facts = [
    (ref('int_orders__by_anchor'), 'ordered_at'),
    (ref('int_visits__by_anchor'), 'started_at'),
] %}

with touched as (
    select owners.profile_id
    from {{ owners }} as owners
    inner join {{ ref('int_anchors__touched') }} as touched on owners.anchor_id = touched.anchor_id
    {%- for moved in [owners, resolved] %}
    union distinct
    select profile_id
    from {{ moved }}
    where moved_in > {{ window.published_xid }}
    union distinct
    select previous_profile_id
    from {{ moved }}
    where moved_in > {{ window.published_xid }}
    {%- endfor %}
    union distinct
    select resolved.profile_id
    from {{ judged }} as judged
    inner join {{ resolved }} as resolved on judged.identifier_key = resolved.identifier_key
    where judged.changed_in > {{ window.published_xid }}
    {%- if window.published_on and window.published_on != window.as_of_on %}
    {%- for facts, instant in time_of_facts %}
    {%- for days in days_that_change_sides(window.published_on, window.as_of_on) %}
    union distinct
    select owners.profile_id
    from {{ facts }} as facts
    inner join {{ owners }} as owners on facts.anchor_id = owners.anchor_id
    where
        facts.{{ instant }} >= {{ timestamp_literal(days.first ~ 'T00:00:00Z') }}
        and facts.{{ instant }} < {{ timestamp_literal(days.end ~ 'T00:00:00Z') }}
    {%- endfor %}
    {%- endfor %}
    {%- endif %}
)

{% if earlier -%}
, unfinished as (
    select profile_id
    from {{ earlier }}
    where touched_in > {{ window.published_xid }}
)

{% endif -%}
select
    profile_id,
    {{ window.to_xid }} as touched_in
from touched
where profile_id is not null
{%- if earlier %}
union distinct
select
    profile_id,
    {{ window.to_xid }} as touched_in
from unfinished
{%- endif %}
