-- One row per anchor with events that are new to this run, and when the earliest of them happened.
-- Its visits may change from visits_change_from on: the start of the last one before that event.
{{ config(indexes=[{'columns': ['anchor_id'], 'unique': true}]) }}
{%- set window = run_window() %}
{%- set visits = as_left_by_earlier_runs('int_visits__by_anchor') if window.from_xid > 0 %}

with touched as (
    select
        anchor_id,
        min(occurred_at) as touched_from
    from {{ ref('int_events__arrived') }}
    where anchor_id is not null
    group by anchor_id
)

select
    touched.anchor_id,
    touched.touched_from,
    {%- if visits %}
    coalesce(latest.started_at, touched.touched_from) as visits_change_from
    {%- else %}
    touched.touched_from as visits_change_from
    {%- endif %}
from touched
{%- if visits %}
{{ join_latest(visits, 'anchor_id', 'started_at', 'touched', 'touched_from') }}
{%- endif %}
