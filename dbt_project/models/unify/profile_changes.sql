-- One row per run and pair of profiles, the first of which gave identifiers to the second.
-- Kept for ever, full refreshes included: it says what was published and then changed.
{{ config(
    materialized='incremental',
    full_refresh=false,
    incremental_strategy='append',
    pre_hook="{{ forget_unpublished_rows() }}",
    indexes=[
        {'columns': ['run', 'old_profile_id', 'profile_id'], 'unique': true},
        {'columns': ['old_profile_id']},
        {'columns': ['profile_id']},
    ],
) }}
{%- set window = run_window() %}
{%- set judged = ref('int_identifiers__judged') %}
{%- set resolved = ref('int_identifiers__resolved') %}
{%- set owners = ref('int_anchors__resolved') %}

with moved as (
    select
        resolved.*,
        judged.is_linking,
        judged.is_over_limit
    from {{ resolved }} as resolved
    inner join {{ judged }} as judged on resolved.identifier_key = judged.identifier_key
    where resolved.moved_in > {{ window.published_run }}
),

moves as (
    select distinct
        previous_profile_id as old_profile_id,
        profile_id
    from moved
    where
        previous_profile_id is not null
        and profile_id is not null
        and previous_profile_id <> profile_id
),

-- Where the identifiers of those profiles were before and are now, whether they moved or stayed.
-- As in unify.identifiers, one over its limit is in a profile only when events are left for it.
whereabouts as (
    select
        moved.previous_profile_id as old_profile_id,
        case
            when
                exists (
                    select 1
                    from {{ owners }} as owners
                    where owners.profile_id = moved.profile_id
                )
                then moved.profile_id
        end as profile_id
    from moved
    where moved.previous_profile_id is not null
    union distinct
    select
        stayed.profile_id as old_profile_id,
        stayed.profile_id
    from {{ resolved }} as stayed
    where
        stayed.moved_in <= {{ window.published_run }}
        and stayed.profile_id in (
            select moves.old_profile_id from moves
            union all
            select moves.profile_id from moves
        )
        and exists (
            select 1
            from {{ owners }} as owners
            where owners.profile_id = stayed.profile_id
        )
),

old_profiles as (
    select
        old_profile_id,
        count(profile_id) as successor_count
    from whereabouts
    group by old_profile_id
),

changes as (
    select
        moves.old_profile_id,
        moves.profile_id,
        case
            when old_profiles.successor_count > 1 then 'split'
            when known.old_profile_id is not null then 'merge'
            else 'rename'
        end as kind
    from moves
    inner join old_profiles on moves.old_profile_id = old_profiles.old_profile_id
    left join old_profiles as known on moves.profile_id = known.old_profile_id
    where
        exists (
            select 1
            from {{ owners }} as owners
            where owners.profile_id = moves.profile_id
        )
        -- The only trace of what is left may become part of another profile yet.
        or old_profiles.successor_count = 0
),

-- What joined two profiles: the first link that leads from the old one to somebody else.
links_of_moved as (
    {%- for near_side, far_side in [('node_a', 'node_b'), ('node_b', 'node_a')] %}
    select
        near.previous_profile_id as old_profile_id,
        near.profile_id,
        links.{{ far_side }} as far_key,
        links.landing
    from moved as near
    inner join changes
        on
            near.previous_profile_id = changes.old_profile_id
            and near.profile_id = changes.profile_id
    inner join {{ ref('int_identifiers__linked') }} as links
        on near.identifier_key = links.{{ near_side }}
    where changes.kind = 'merge' and near.is_linking
    {{ "union all" if not loop.last }}
    {%- endfor %}
),

joining as (
    select
        links_of_moved.old_profile_id,
        links_of_moved.profile_id,
        min(links_of_moved.landing) as landing
    from links_of_moved
    inner join {{ judged }} as far_judged on links_of_moved.far_key = far_judged.identifier_key
    inner join {{ resolved }} as far on links_of_moved.far_key = far.identifier_key
    where
        far_judged.is_linking
        and case
            when far.moved_in > {{ window.published_run }} then far.previous_profile_id
            else far.profile_id
        end is distinct from links_of_moved.old_profile_id
    group by links_of_moved.old_profile_id, links_of_moved.profile_id
),

-- What parted them: the last user seen with an identifier that is now over its limit.
newly_over_limit as (
    select
        judged.identifier_key,
        case
            when resolved.moved_in > {{ window.published_run }} then resolved.previous_profile_id
            else resolved.profile_id
        end as old_profile_id
    from {{ judged }} as judged
    inner join {{ resolved }} as resolved on judged.identifier_key = resolved.identifier_key
    where judged.judged_in > {{ window.published_run }} and judged.is_over_limit
),

parting as (
    select
        old_profile_id,
        max(landing) as landing
    from (
        {%- for side in ['node_a', 'node_b'] %}
        select
            newly_over_limit.old_profile_id,
            links.landing
        from newly_over_limit
        inner join {{ ref('int_identifiers__linked') }} as links
            on newly_over_limit.identifier_key = links.{{ side }}
        where links.kind = 'carried'
        {{ "union all" if not loop.last }}
        {%- endfor %}
    ) as shared_links
    group by old_profile_id
)

select
    runs.run,
    changes.old_profile_id,
    changes.profile_id,
    changes.kind,
    events.event_id as evidence,
    runs.as_of as changed_at
from changes
cross join {{ ref('refresh_window') }} as runs
left join joining
    on
        changes.old_profile_id = joining.old_profile_id
        and changes.profile_id = joining.profile_id
left join parting
    on changes.old_profile_id = parting.old_profile_id and changes.kind <> 'merge'
left join {{ ref('stg_events') }} as events
    on
        {{ xid_of_position('coalesce(joining.landing, parting.landing)') }} = events.xid
        and {{ seq_of_position('coalesce(joining.landing, parting.landing)') }} = events.seq
