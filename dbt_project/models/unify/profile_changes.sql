-- One row per run and pair of profiles, the first of which gave identifiers to the second.
-- Kept for ever, full refreshes included: it compares what was published with what is new.
{{ config(
    materialized='incremental',
    full_refresh=false,
    incremental_strategy='append',
    indexes=[
        {'columns': ['run', 'old_profile_id', 'profile_id'], 'unique': true},
        {'columns': ['old_profile_id']},
        {'columns': ['profile_id']},
    ],
) }}
{%- set published = load_relation(this.incorporate(path={'identifier': 'identifiers'})) %}

with published as (
    {%- if published %}
    select
        identifier_type,
        identifier_value,
        profile_id
    from {{ published }}
    where profile_id is not null
    {%- else %}
    select
        identifier_type,
        identifier_value,
        {{ md5_id('identifier_value') }} as profile_id
    from {{ ref('int_identifiers__judged') }}
    where false
    {%- endif %}
),

members as (
    select
        identifiers.identifier_key,
        identifiers.is_linking,
        identifiers.is_over_limit,
        published.profile_id as old_profile_id,
        resolved.profile_id
    from {{ ref('int_identifiers__judged') }} as identifiers
    left join {{ ref('int_identifiers__resolved') }} as resolved
        on identifiers.identifier_key = resolved.identifier_key
    left join published
        on
            identifiers.identifier_type = published.identifier_type
            and identifiers.identifier_value = published.identifier_value
),

moves as (
    select distinct
        old_profile_id,
        profile_id
    from members
    where old_profile_id is not null and profile_id is not null
),

old_profiles as (
    select
        old_profile_id,
        count(*) as successor_count
    from moves
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
    where moves.old_profile_id <> moves.profile_id
),

directed_links as (
    select
        node_a as from_node,
        node_b as to_node,
        kind,
        landing
    from {{ ref('int_identifiers__linked') }}
    union all
    select
        node_b,
        node_a,
        kind,
        landing
    from {{ ref('int_identifiers__linked') }}
),

-- What joined two profiles: the first link that leads out of the old one.
joining as (
    select
        near.old_profile_id,
        near.profile_id,
        min(links.landing) as landing
    from members as near
    inner join changes
        on near.old_profile_id = changes.old_profile_id and near.profile_id = changes.profile_id
    inner join directed_links as links on near.identifier_key = links.from_node
    inner join members as far on links.to_node = far.identifier_key
    where
        changes.kind = 'merge'
        and near.is_linking
        and far.is_linking
        and (far.old_profile_id is null or far.old_profile_id <> near.old_profile_id)
    group by near.old_profile_id, near.profile_id
),

-- What parted them: the last user seen with an identifier that is now over its limit.
parting as (
    select
        near.old_profile_id,
        max(links.landing) as landing
    from members as near
    inner join changes on near.old_profile_id = changes.old_profile_id
    inner join directed_links as links on near.identifier_key = links.from_node
    where changes.kind <> 'merge' and near.is_over_limit and links.kind = 'carried'
    group by near.old_profile_id
)

select
    runs.to_xid as run,
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
left join parting on changes.old_profile_id = parting.old_profile_id
left join {{ ref('stg_events') }} as events
    on
        coalesce(joining.landing, parting.landing)
        = {{ landing_position('events.xid', 'events.seq') }}
{%- if is_incremental() %}
-- A run that ended between this table and the published identifiers has left its changes here.
left join {{ this }} as recorded
    on
        changes.old_profile_id = recorded.old_profile_id
        and changes.profile_id = recorded.profile_id
        and recorded.run > runs.from_xid
where recorded.run is null
{%- endif %}
