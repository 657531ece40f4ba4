-- One row per identifier that may own something: the profile it belongs to.
-- The oldest of a component names the profile. One over its limit is a profile of its own.
{{ config(indexes=[
    {'columns': ['identifier_key'], 'unique': true},
    {'columns': ['profile_id']},
]) }}

with identifiers as (
    select *
    from {{ ref('int_identifiers__judged') }}
    where not is_blocked
),

grouped as (
    select
        identifiers.*,
        coalesce(components.component, user_groups.group_key, identifiers.identifier_key)
            as component
    from identifiers
    left join {{ ref('int_identifiers__grouped_by_user') }} as user_groups
        on identifiers.identifier_key = user_groups.identifier_key
    left join {{ ref('int_identifiers__contracted') }} as components
        on user_groups.group_key = components.node
),

ranked as (
    select
        component,
        identifier_type,
        identifier_value,
        row_number() over (
            partition by component
            order by landing, priority, {{ in_byte_order('identifier_value') }}
        ) as age_rank
    from grouped
)

select
    grouped.identifier_key,
    {{ profile_id_of('oldest.identifier_type', 'oldest.identifier_value') }} as profile_id
from grouped
inner join ranked as oldest on grouped.component = oldest.component and oldest.age_rank = 1
