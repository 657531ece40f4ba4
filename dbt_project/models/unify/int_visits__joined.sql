-- One row per anchor's visit: the session of the profile that it is part of.
-- Runs of several anchors (devices, say) that overlap or follow closely are one session.
{{ config(indexes=[{'columns': ['anchor_id', 'visit_message_id'], 'unique': true}]) }}

with visits as (
    select
        visits.*,
        owners.profile_id
    from {{ ref('int_visits__by_anchor') }} as visits
    inner join {{ ref('int_anchors__resolved') }} as owners on visits.anchor_id = owners.anchor_id
),

separated as (
    select
        *,
        coalesce(
            started_at >= {{ minutes_after(
                'max(ended_at) over (partition by profile_id order by started_at, '
                ~ in_byte_order('visit_message_id') ~ ' rows between unbounded preceding and 1 preceding)',
                var('session_timeout_minutes')
            ) }},
            true
        ) as starts_session
    from visits
),

numbered as (
    select
        *,
        sum(case when starts_session then 1 else 0 end) over (
            partition by profile_id
            order by started_at, {{ in_byte_order('visit_message_id') }}
            rows between unbounded preceding and current row
        ) as session_number
    from separated
)

select
    anchor_id,
    visit_message_id,
    profile_id,
    started_at,
    ended_at,
    event_count,
    visit_signal_count,
    min(case when starts_session then visit_message_id end)
        over (partition by profile_id, session_number) as session_message_id
from numbered
