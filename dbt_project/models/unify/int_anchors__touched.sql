-- One row per anchor with events that are new to this run, and when the earliest of them happened.
{{ config(indexes=[{'columns': ['anchor_id'], 'unique': true}]) }}
{%- set window = run_window() %}

select
    anchor_id,
    min(occurred_at) as touched_from
from {{ ref('int_events__anchored') }}
where xid >= {{ window.from_xid }} and anchor_id is not null
group by anchor_id
