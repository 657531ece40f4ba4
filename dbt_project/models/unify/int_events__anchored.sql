-- One row per event: the anchor it hangs on, and the anchor's visit that it is part of.
{{ config(indexes=[
    {'columns': ['event_id'], 'unique': true},
    {'columns': ['anchor_id', 'occurred_at']},
]) }}

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
),

anchored as (
    select
        *,
        {{ anchor_id_of('user_id', 'email', 'phone', 'anonymous_id') }} as anchor_id
    from identified
),

-- Inactivity as long as the timeout ends a visit.
separated as (
    select
        *,
        coalesce(
            occurred_at >= {{ minutes_after(
                'lag(occurred_at) over (partition by anchor_id order by occurred_at, '
                ~ in_byte_order('message_id') ~ ')', var('session_timeout_minutes')
            ) }},
            true
        ) as starts_visit
    from anchored
),

numbered as (
    select
        *,
        sum(case when starts_visit then 1 else 0 end) over (
            partition by anchor_id
            order by occurred_at, {{ in_byte_order('message_id') }}
            rows between unbounded preceding and current row
        ) as visit_number
    from separated
)

select
    event_id,
    message_id,
    type,
    event_type,
    anchor_id,
    user_id,
    case when user_id is null then email end as email,
    case when user_id is null then phone end as phone,
    case when user_id is null then anonymous_id end as anonymous_id,
    is_visit_signal,
    occurred_at,
    -- Named by the message that began it.
    case
        when anchor_id is not null
            then min(case when starts_visit then message_id end)
                over (partition by anchor_id, visit_number)
    end as visit_message_id
from numbered
