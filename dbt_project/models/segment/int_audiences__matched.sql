-- One row per audience and profile that its definition matches now: of an audience that is
-- evaluated whole each such profile, of any other those that are reconsidered. One scan for each.
{{ config(materialized='ephemeral') }}
{%- set as_of = '(select as_of from ' ~ ref('refresh_window') ~ ')' %}
{%- set planned, compiled = ref('int_audiences__planned'), ref('int_audiences__compiled') %}
{%- set reconsidered = ref('int_profiles__reconsidered') %}
{%- set whole = planned_audiences(planned, compiled, is_whole=true) %}
{#- Not even looked through when no audience asks for it, as in most runs. #}
{%- set nobody = '(select * from ' ~ ref('profiles') ~ ' where false)' %}
with everybody as (
{{ matching_audiences_sql(
    whole, ref('profiles') if whole else nobody, ref('events'), as_of
) }}
),

few as (
{{ matching_audiences_sql(
    planned_audiences(planned, compiled, is_whole=false),
    only_of(ref('profiles'), reconsidered),
    only_of(ref('events'), reconsidered),
    as_of,
) }}
),

matched as (
    select
        profile_id,
        audience_ids
    from everybody
    union all
    select
        profile_id,
        audience_ids
    from few
)

select
    audience_id,
    profile_id
from matched
cross join unnest(audience_ids) as audience_id
