-- One row per anchor with events that are new to this run, and when the earliest of them happened.
{{ config(indexes=[{'columns': ['anchor_id'], 'unique': true}]) }}

select
    anchor_id,
    min(occurred_at) as touched_from
from {{ ref('int_events__arrived') }}
where anchor_id is not null
group by anchor_id
