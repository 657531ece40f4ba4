-- One row per refund: the order it takes back, and how much of it; no amount means all of it.
{{ config(
    materialized='incremental',
    meta={'reads': 'what is new'},
    incremental_strategy='delete+insert',
    unique_key='message_id',
    indexes=[
        {'columns': ['message_id'], 'unique': true},
        {'columns': ['anchor_id']},
    ],
) }}

select
    arrived.anchor_id,
    valued.order_key,
    valued.message_id,
    valued.amount_usd
from {{ ref('int_events__arrived') }} as arrived
inner join {{ ref('int_events__valued') }} as valued on arrived.event_id = valued.event_id
where
    valued.meaning = 'refund'
    and valued.problem is null
    and arrived.anchor_id is not null
