-- One row per audience and profile that its definition matches now: of audiences that are evaluated
-- whole every such profile, of the others those that are reconsidered. One scan for each of the two.
{{ config(materialized='ephemeral') }}
{%- set as_of = '(select as_of from ' ~ ref('refresh_window') ~ ')' %}
{%- set planned, compiled = ref('int_audiences__planned'), ref('int_audiences__compiled') %}
{%- set reconsidered = ref('int_profiles__reconsidered') %}
{%- set scans = [
    (true, ref('profiles'), ref('events')),
    (false, only_of(ref('profiles'), reconsidered), only_of(ref('events'), reconsidered)),
] %}
with matched as (
{%- for is_whole, profiles, events in scans %}
select
    profile_id,
    audience_ids
from (
{{ matching_audiences_sql(
    planned_audiences(planned, compiled, is_whole=is_whole), profiles, events, as_of
) }}
) as {{ 'of_everybody' if is_whole else 'of_reconsidered' }}
{{ 'union all' if not loop.last }}
{%- endfor %}
)

select
    audience_id,
    profile_id
from matched
cross join unnest(audience_ids) as audience_id
