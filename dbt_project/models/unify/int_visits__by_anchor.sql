-- One row per anchor and run of its events without a long pause.
{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched',
    unique_key=['anchor_id', 'visit_message_id'],
    meta={
        'touched': 'int_anchors__touched',
        'touched_key': 'anchor_id',
        'touched_from': {'started_at': 'visits_change_from'},
    },
    indexes=[
        {'columns': ['anchor_id', 'visit_message_id'], 'unique': true},
        {'columns': ['anchor_id', 'started_at']},
        {'columns': ['started_at']},
    ],
) }}
{%- set touched = ref('int_anchors__touched') %}

with anchored as (
    select *
    from {{ ref('int_events__anchored') }}
    where anchor_id is not null
),

changing_events as (
    select anchored.*
    from anchored
    {%- if is_incremental() %}
    inner join {{ touched }} as touched
        on
            anchored.anchor_id = touched.anchor_id
            and anchored.occurred_at >= touched.visits_change_from
    {%- endif %}
),

visits as (
    select
        anchor_id,
        visit_message_id,
        min(occurred_at) as started_at,
        max(occurred_at) as ended_at,
        count(*) as event_count,
        sum(case when is_visit_signal then 1 else 0 end) as visit_signal_count
    from changing_events
    group by anchor_id, visit_message_id
)

select * from visits
