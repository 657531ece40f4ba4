-- One row per identifier ever seen.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='identifier_key',
    indexes=[
        {'columns': ['identifier_key'], 'unique': true},
        {'columns': ['profile_id']},
        {'columns': ['identifier_value'], 'type': 'hash'},
    ],
) }}
{%- set window = run_window() %}
{%- set judged = ref('int_identifiers__judged') %}
{%- set resolved = ref('int_identifiers__resolved') %}
{%- set owners = ref('int_anchors__resolved') %}
{%- set touched = ref('int_profiles__touched') %}

with restated as (
    {%- if is_incremental() %}
    select identifier_key
    from {{ judged }}
    where changed_in > {{ window.published_run }}
    union distinct
    select identifier_key
    from {{ resolved }}
    where moved_in > {{ window.published_run }}
    -- One over its limit leads nowhere once its last own event has found a better owner.
    union distinct
    select resolved.identifier_key
    from {{ touched }} as touched
    inner join {{ resolved }} as resolved on touched.profile_id = resolved.profile_id
    inner join {{ judged }} as judged on resolved.identifier_key = judged.identifier_key
    where judged.is_over_limit
    {%- else %}
    select identifier_key
    from {{ judged }}
    {%- endif %}
)

select
    judged.identifier_key,
    judged.identifier_type,
    judged.identifier_value,
    -- One over its limit names a profile only when events are left that carry nothing better. So
    -- does one that was only named, by an alias call of nobody.
    case
        when
            (judged.is_linking and judged.is_carried)
            or exists (
                select 1
                from {{ owners }} as owners
                where owners.profile_id = resolved.profile_id
            )
            then resolved.profile_id
    end as profile_id,
    judged.first_seen_at,
    not judged.is_linking as is_blocked,
    judged.user_count
from restated
inner join {{ judged }} as judged on restated.identifier_key = judged.identifier_key
inner join {{ resolved }} as resolved on restated.identifier_key = resolved.identifier_key
