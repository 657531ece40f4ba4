-- One row per anchor and run of its events without a long pause.
{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched',
    unique_key=['anchor_id', 'visit_message_id'],
    meta={'touched': 'int_anchors__touched', 'touched_key': 'anchor_id'},
    indexes=[
        {'columns': ['anchor_id', 'visit_message_id'], 'unique': true},
        {'columns': ['started_at']},
    ],
) }}
{%- set touched = ref('int_anchors__touched') %}

with anchored as (
    select *
    from {{ ref('int_events__anchored') }}
    where anchor_id is not null
),

{%- if is_incremental() %}

known as (
    select
        visits.*,
        {{ minutes_after('visits.ended_at', var('session_timeout_minutes')) }} <= touched.touched_from
            as stands
    from {{ this }} as visits
    inner join {{ touched }} as touched on visits.anchor_id = touched.anchor_id
),

changing as (
    select
        touched.anchor_id,
        least(touched.touched_from, coalesce(min(known.started_at), touched.touched_from))
            as changes_from
    from {{ touched }} as touched
    left join known on touched.anchor_id = known.anchor_id and not known.stands
    group by touched.anchor_id, touched.touched_from
),

changing_events as (
    select anchored.*
    from changing
    inner join anchored
        on
            changing.anchor_id = anchored.anchor_id
            and changing.changes_from <= anchored.occurred_at
),
{%- else %}

changing_events as (select * from anchored),
{%- endif %}

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
{%- if is_incremental() %}
union all
select
    anchor_id,
    visit_message_id,
    started_at,
    ended_at,
    event_count,
    visit_signal_count
from known
where stands
{%- endif %}
