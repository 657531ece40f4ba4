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
    post_hook="{{ refresh_statistics() }}",
) }}
{%- set window = run_window() %}
{#- What the last complete run left is right: only what changed since then is looked at, and what
    this run wrote, should both be dated alike. #}
{%- set since = window.published_as_of
    if is_incremental() and window.from_xid > 0 and window.published_as_of
    and window.as_of >= window.published_as_of %}
with
{%- if since %} moved as (
    select distinct
        audience_id,
        profile_id
    from {{ ref('audience_changes') }}
    where
        changed_at > {{ timestamp_literal(since.isoformat()) }}
        or changed_at = {{ timestamp_literal(window.as_of.isoformat()) }}
),
{% endif %}
last_changes as (
    select
        changes.audience_id,
        changes.profile_id,
        case when changes.change = 'entered' then changes.added_at end as added_at,
        row_number() over (
            partition by changes.audience_id, changes.profile_id
            order by changes.change_number desc
        ) as recency
    from {{ ref('audience_changes') }} as changes
    {%- if since %}
    inner join moved
        on changes.audience_id = moved.audience_id and changes.profile_id = moved.profile_id
    {%- endif %}
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
