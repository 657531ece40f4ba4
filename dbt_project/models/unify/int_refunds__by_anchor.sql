-- One row per refund: the order it takes back, and how much of it; no amount means all of it.
{{ config(indexes=[
    {'columns': ['message_id'], 'unique': true},
    {'columns': ['anchor_id']},
]) }}

select
    anchored.anchor_id,
    valued.order_key,
    valued.message_id,
    valued.amount_usd
from {{ ref('int_events__valued') }} as valued
inner join {{ ref('int_events__anchored') }} as anchored on valued.event_id = anchored.event_id
where
    valued.meaning = 'refund'
    and valued.problem is null
    and anchored.anchor_id is not null
