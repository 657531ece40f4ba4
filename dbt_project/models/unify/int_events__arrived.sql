-- One row per event that is new to this run: the anchor it hangs on.
-- A table of its own, so that the planner knows how little it is.
{{ config(indexes=[{'columns': ['event_id'], 'unique': true}]) }}
{%- set window = run_window() %}

with blocked_users as (
    select identifier_value
    from {{ ref('int_identifiers__judged') }}
    where identifier_type = 'user_id' and is_blocked
),

visit_signals as (
    select event_type
    from {{ ref('event_semantics') }}
    where meaning = 'visit'
),

identified as (
    select
        events.event_id,
        events.message_id,
        events.xid,
        events.type,
        events.event_type,
        case when blocked_users.identifier_value is null then events.user_id end as user_id,
        events.email,
        events.phone,
        events.anonymous_id,
        visit_signals.event_type is not null as is_visit_signal,
        events.occurred_at
    from {{ ref('stg_events') }} as events
    left join blocked_users on events.user_id = blocked_users.identifier_value
    left join visit_signals on events.event_type = visit_signals.event_type
    where events.xid >= {{ window.from_xid }}
)

select
    event_id,
    message_id,
    xid,
    type,
    event_type,
    {{ anchor_id_of('user_id', 'email', 'phone', 'anonymous_id') }} as anchor_id,
    user_id,
    case when user_id is null then email end as email,
    case when user_id is null then phone end as phone,
    case when user_id is null then anonymous_id end as anonymous_id,
    is_visit_signal,
    occurred_at
from identified
