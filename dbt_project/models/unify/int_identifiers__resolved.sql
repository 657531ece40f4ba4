-- One row per identifier: the root of its component, and the profile that the root names.
-- The root is the oldest member. One over its limit is its own root; a blocked one has none.
-- moved_in is the run in which the profile last changed, previous_profile_id what was published, or
-- had last been when there was none: one that was blocked meanwhile still leads its old profile on.
{{ config(
    materialized='incremental',
    meta={'statistics_target': 10},
    incremental_strategy='delete+insert',
    unique_key='identifier_key',
    indexes=[
        {'columns': ['identifier_key'], 'unique': true},
        {'columns': ['root_key']},
        {'columns': ['profile_id']},
        {'columns': ['moved_in'], 'where': "moved_in > {{ run_window().run }}"},
    ],
) }}
{%- set window = run_window() %}
{%- set loose_identifiers = ref('int_identifiers__loose') %}
{%- set judged = ref('int_identifiers__judged') %}
{%- set grouped = ref('int_identifiers__grouped') %}
{%- set earlier = as_left_by_earlier_runs('int_identifiers__resolved') %}

with
{%- if is_incremental() %}

components as (
    select
        grouped.identifier_key,
        grouped.group_key,
        coalesce(contracted.component, grouped.group_key) as component
    from {{ grouped }} as grouped
    left join {{ ref('int_identifiers__contracted') }} as contracted
        on grouped.group_key = contracted.node
),

-- Of a component that stands only the root can be the oldest of what it becomes part of.
candidates as (
    select distinct
        component,
        group_key as identifier_key
    from components
),

ranked as (
    select
        candidates.component,
        candidates.identifier_key,
        row_number() over (
            partition by candidates.component
            order by judged.landing, judged.priority, {{ in_byte_order('judged.identifier_value') }}
        ) as age_rank
    from candidates
    inner join {{ judged }} as judged on candidates.identifier_key = judged.identifier_key
),

roots as (
    select
        component,
        identifier_key as root_key
    from ranked
    where age_rank = 1
),

rooted as (
    select
        components.identifier_key,
        roots.root_key
    from components
    inner join {{ loose_identifiers }} as loose
        on components.identifier_key = loose.identifier_key
    inner join roots on components.component = roots.component
    union all
    select
        members.identifier_key,
        losing.root_key
    from (
        select distinct
            components.group_key,
            roots.root_key
        from components
        inner join roots on components.component = roots.component
        left join {{ loose_identifiers }} as loose
            on components.identifier_key = loose.identifier_key
        where loose.identifier_key is null and components.group_key <> roots.root_key
    ) as losing
    inner join {{ this }} as members on losing.group_key = members.root_key
    where
        not exists (
            select 1
            from {{ loose_identifiers }} as loose
            where loose.identifier_key = members.identifier_key
        )
    union all
    select
        identifier_key,
        case when not is_blocked then identifier_key end as root_key
    from {{ judged }}
    where not is_linking and judged_in > {{ window.published_run }}
),

resolved as (
    select
        rooted.identifier_key,
        rooted.root_key,
        case
            when rooted.root_key is not null
                then {{ profile_id_of('roots.identifier_type', 'roots.identifier_value') }}
        end as profile_id
    from rooted
    left join {{ judged }} as roots on rooted.root_key = roots.identifier_key
)
{%- else %}

components as (
    select
        judged.*,
        coalesce(contracted.component, {{ first_group() }}) as component
    from {{ judged }} as judged
    left join {{ ref('int_identifiers__contracted') }} as contracted
        on {{ first_group() }} = contracted.node
    where judged.is_linking
),

rooted as (
    select
        identifier_key,
        first_value(identifier_key) over oldest_first as root_key,
        first_value(identifier_type) over oldest_first as root_type,
        first_value(identifier_value) over oldest_first as root_value
    from components
    window
        oldest_first as (
            partition by component
            order by landing, priority, {{ in_byte_order('identifier_value') }}
        )
    union all
    select
        identifier_key,
        case when not is_blocked then identifier_key end as root_key,
        identifier_type as root_type,
        identifier_value as root_value
    from {{ judged }}
    where not is_linking
),

resolved as (
    select
        identifier_key,
        root_key,
        case
            when root_key is not null then {{ profile_id_of('root_type', 'root_value') }}
        end as profile_id
    from rooted
)
{%- endif %}

{% if earlier %}
select
    resolved.identifier_key,
    resolved.root_key,
    resolved.profile_id,
    case
        when {{ window.published_run }} > 0 and earlier.moved_in > {{ window.published_run }}
            then earlier.previous_profile_id
        else coalesce(earlier.profile_id, earlier.previous_profile_id)
    end as previous_profile_id,
    case
        when
            earlier.identifier_key is not null
            and resolved.profile_id is not distinct from earlier.profile_id
            then earlier.moved_in
        else {{ window.run }}
    end as moved_in
from resolved
left join {{ earlier }} as earlier on resolved.identifier_key = earlier.identifier_key
{%- else %}
select
    resolved.identifier_key,
    resolved.root_key,
    resolved.profile_id,
    cast(null as {{ type_uuid() }}) as previous_profile_id,
    {{ window.run }} as moved_in
from resolved
{%- endif %}
{%- if is_incremental() %}
where
    earlier.identifier_key is null
    or resolved.root_key is distinct from earlier.root_key
{%- endif %}
