-- One row per event: the anchor it hangs on, and the anchor's visit that it is part of.
-- A visit is named by the message that began it. Inactivity as long as the timeout ends it.
-- visited_in is the run in which the event came to be part of that visit.
{{ config(
    materialized='incremental',
    meta={'reads': 'what is new'},
    incremental_strategy='delete+insert',
    unique_key='event_id',
    indexes=[
        {'columns': ['event_id'], 'unique': true},
        {'columns': ['anchor_id', 'occurred_at']},
        {'columns': ['visited_in'], 'where': "visited_in > {{ run_window().run }}"},
    ],
) }}
{%- set window = run_window() %}
{%- set touched = ref('int_anchors__touched') %}

with arrived as (select * from {{ ref('int_events__arrived') }}),

{%- if is_incremental() %}

anchored as (
    select
        arrived.*,
        cast(null as {{ dbt.type_string() }}) as known_visit_message_id
    from arrived
    union all
    select
        known.event_id,
        known.message_id,
        known.xid,
        known.type,
        known.event_type,
        known.anchor_id,
        known.user_id,
        known.email,
        known.phone,
        known.anonymous_id,
        known.is_visit_signal,
        known.occurred_at,
        known.visit_message_id as known_visit_message_id
    from {{ touched }} as touched
    inner join {{ this }} as known
        on
            touched.anchor_id = known.anchor_id
            and touched.visits_change_from <= known.occurred_at
    where not exists (select 1 from arrived where arrived.event_id = known.event_id)
),
{%- else %}

anchored as (
    select
        *,
        cast(null as {{ dbt.type_string() }}) as known_visit_message_id
    from arrived
),
{%- endif %}

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
),

visited as (
    select
        *,
        case
            when anchor_id is not null
                then min(case when starts_visit then message_id end)
                    over (partition by anchor_id, visit_number)
        end as visit_message_id
    from numbered
)

select
    event_id,
    message_id,
    xid,
    type,
    event_type,
    anchor_id,
    user_id,
    email,
    phone,
    anonymous_id,
    is_visit_signal,
    occurred_at,
    visit_message_id,
    {{ window.run }} as visited_in
from visited
where known_visit_message_id is null or known_visit_message_id <> visit_message_id
