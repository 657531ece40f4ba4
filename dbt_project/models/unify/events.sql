-- One row per accepted, deduplicated event.
-- A later run writes what is new and the events whose profile or visit changed, and no others.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='event_id',
    indexes=[
        {'columns': ['event_id'], 'unique': true},
        {'columns': ['profile_id', 'occurred_at', 'event_type']},
        {'columns': ['event_type', 'occurred_at']},
    ],
) }}
{%- set window = run_window() %}
{%- set anchored_events = ref('int_events__anchored') %}
{%- set owners = ref('int_anchors__resolved') %}
{%- set visits = ref('int_visits__joined') %}

with restated as (
    {%- if is_incremental() %}
    select event_id
    from {{ anchored_events }}
    where visited_in > {{ window.published_run }}
    union distinct
    select anchored.event_id
    from {{ owners }} as owners
    inner join {{ anchored_events }} as anchored on owners.anchor_id = anchored.anchor_id
    where owners.moved_in > {{ window.published_run }}
    union distinct
    select anchored.event_id
    from {{ visits }} as visits
    inner join {{ anchored_events }} as anchored
        on
            visits.anchor_id = anchored.anchor_id
            and anchored.occurred_at between visits.started_at and visits.ended_at
    where visits.changed_in > {{ window.published_run }}
    {%- else %}
    select event_id
    from {{ anchored_events }}
    {%- endif %}
)

select
    events.event_id,
    events.message_id,
    owners.profile_id,
    events.user_id,
    events.anonymous_id,
    events.email,
    events.event_type,
    events.properties,
    events.context,
    events.occurred_at,
    events.received_at,
    case when visits.is_session then {{ md5_id('visits.session_message_id') }} end as session_id,
    events.type,
    events.source
from restated
inner join {{ ref('stg_events') }} as events on restated.event_id = events.event_id
inner join {{ anchored_events }} as anchored on restated.event_id = anchored.event_id
left join {{ owners }} as owners on anchored.anchor_id = owners.anchor_id
left join {{ visits }} as visits
    on
        anchored.anchor_id = visits.anchor_id
        and anchored.visit_message_id = visits.visit_message_id
