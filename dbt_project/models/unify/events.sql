-- One row per accepted, deduplicated event.
with events as (select * from {{ ref('stg_events') }}),

anchored as (select * from {{ ref('int_events__anchored') }}),

owners as (select * from {{ ref('int_anchors__resolved') }}),

visits as (select * from {{ ref('int_visits__joined') }}),

sessions as (select * from {{ ref('sessions') }})

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
    sessions.session_id,
    events.type,
    events.source
from events
inner join anchored on events.event_id = anchored.event_id
left join owners on anchored.anchor_id = owners.anchor_id
left join visits
    on
        anchored.anchor_id = visits.anchor_id
        and anchored.visit_message_id = visits.visit_message_id
left join sessions on {{ md5_id('visits.session_message_id') }} = sessions.session_id
