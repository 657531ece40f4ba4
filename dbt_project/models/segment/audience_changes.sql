-- One row per entry or exit; change_number counts them per audience and profile: entries are odd.
-- Kept for ever, full refreshes included: members are derived from it, the past is nowhere else.
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    full_refresh=false,
    on_schema_change='fail',
    indexes=[
        {'columns': ['audience_id', 'profile_id', 'change_number'], 'unique': true},
        {'columns': ['audience_id', 'changed_at', 'profile_id']},
        {'columns': ['profile_id']},
        {'columns': ['changed_at']},
    ],
    post_hook="{{ refresh_statistics() }}",
) }}
with matched as (select * from {{ ref('int_audiences__matched') }}),

planned as (select * from {{ ref('int_audiences__planned') }}),

-- What this run decides about: the whole history of an audience, or that of some profiles.
known_changes as (
    {%- if is_incremental() %}
    select
        changes.audience_id,
        changes.profile_id,
        changes.change_number,
        changes.added_at
    from planned
    inner join {{ this }} as changes on planned.audience_id = changes.audience_id
    where planned.is_whole
    union all
    select
        changes.audience_id,
        changes.profile_id,
        changes.change_number,
        changes.added_at
    from {{ ref('int_profiles__reconsidered') }} as reconsidered
    inner join {{ this }} as changes on reconsidered.profile_id = changes.profile_id
    inner join planned on changes.audience_id = planned.audience_id
    where not planned.is_whole
    {%- else %}
    select
        audience_id,
        profile_id,
        0 as change_number,
        {{ as_of() }} as added_at
    from matched
    where false
    {%- endif %}
),

last_changes as (
    select
        audience_id,
        profile_id,
        change_number,
        added_at
    from (
        select
            *,
            row_number() over (
                partition by audience_id, profile_id order by change_number desc
            ) as recency
        from known_changes
    ) as numbered
    where recency = 1
),

differences as (
    select
        coalesce(matched.audience_id, last_changes.audience_id) as audience_id,
        coalesce(matched.profile_id, last_changes.profile_id) as profile_id,
        coalesce(last_changes.change_number, 0) + 1 as change_number,
        last_changes.added_at,
        matched.profile_id is not null as is_entry
    from matched
    full outer join last_changes
        on
            matched.audience_id = last_changes.audience_id
            and matched.profile_id = last_changes.profile_id
    where (matched.profile_id is not null) <> (mod(coalesce(last_changes.change_number, 0), 2) = 1)
),

runs as (select * from {{ ref('refresh_window') }}),

active_profiles as (
    select distinct owners.profile_id
    from {{ ref('int_events__arrived') }} as arrived
    inner join {{ ref('int_anchors__resolved') }} as owners on arrived.anchor_id = owners.anchor_id
    inner join runs on arrived.xid >= runs.published_xid
),

regroupings as (
    select
        changes.old_profile_id,
        changes.profile_id
    from {{ ref('profile_changes') }} as changes
    inner join runs on changes.run > runs.published_run
),

regrouped_profiles as (
    select old_profile_id as profile_id
    from regroupings
    union distinct
    select profile_id
    from regroupings
),

-- A profile that took the place of a member has belonged for as long as that one.
inherited as (
    select
        differences.audience_id,
        regroupings.profile_id,
        min(differences.added_at) as added_at
    from differences
    inner join regroupings on differences.profile_id = regroupings.old_profile_id
    where not differences.is_entry
    group by differences.audience_id, regroupings.profile_id
)

select
    differences.audience_id,
    differences.profile_id,
    differences.change_number,
    case when differences.is_entry then 'entered' else 'exited' end as change,
    {{ as_of() }} as changed_at,
    case
        when differences.is_entry then coalesce(inherited.added_at, {{ as_of() }})
        else differences.added_at
    end as added_at,
    planned.definition_version,
    case
        when planned.is_redefined then 'definition'
        when regrouped_profiles.profile_id is not null then 'identity'
        when profiles.profile_id is null then 'erasure'
        when active_profiles.profile_id is not null then 'events'
        else 'time'
    end as reason
from differences
inner join planned on differences.audience_id = planned.audience_id
left join inherited
    on
        differences.audience_id = inherited.audience_id
        and differences.profile_id = inherited.profile_id
left join regrouped_profiles on differences.profile_id = regrouped_profiles.profile_id
left join {{ ref('profiles') }} as profiles on differences.profile_id = profiles.profile_id
left join active_profiles on differences.profile_id = active_profiles.profile_id
-- depends_on: {{ ref('int_profiles__reconsidered') }}
