-- One row per audience and profile that belongs to it now: the history, played to its end.
-- Only what differs is written. A row without added_at tells the strategy to delete the member.
{{ config(
    materialized=members_materialization(),
    incremental_strategy='apply_members',
    unique_key=['audience_id', 'profile_id'],
    on_schema_change='fail',
    indexes=[
        {'columns': ['audience_id', 'profile_id'], 'unique': true},
        {'columns': ['profile_id']},
    ],
) }}
with last_changes as (
    select
        audience_id,
        profile_id,
        case when change = 'entered' then added_at end as added_at,
        row_number() over (
            partition by audience_id, profile_id order by change_number desc
        ) as recency
    from {{ ref('audience_changes') }}
)

select
    last_changes.audience_id,
    last_changes.profile_id,
    last_changes.added_at
from last_changes
{%- if is_incremental() %}
left join {{ this }} as members
    on
        last_changes.audience_id = members.audience_id
        and last_changes.profile_id = members.profile_id
where
    last_changes.recency = 1
    and last_changes.added_at is distinct from members.added_at
{%- else %}
where last_changes.recency = 1 and last_changes.added_at is not null
{%- endif %}
