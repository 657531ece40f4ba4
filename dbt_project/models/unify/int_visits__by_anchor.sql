-- One row per anchor and run of its events without a long pause.
{{ config(indexes=[{'columns': ['anchor_id', 'visit_message_id'], 'unique': true}]) }}

select
    anchor_id,
    visit_message_id,
    min(occurred_at) as started_at,
    max(occurred_at) as ended_at,
    count(*) as event_count,
    sum(case when is_visit_signal then 1 else 0 end) as visit_signal_count
from {{ ref('int_events__anchored') }}
where anchor_id is not null
group by anchor_id, visit_message_id
