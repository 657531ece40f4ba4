-- One row per anchor and order: the copy that counts, which is the first with a usable amount.
{{ config(indexes=[{'columns': ['anchor_id', 'order_key'], 'unique': true}]) }}

with copies as (
    select
        anchored.anchor_id,
        valued.order_key,
        valued.message_id,
        valued.occurred_at as ordered_at,
        valued.amount_usd,
        row_number() over (
            partition by anchored.anchor_id, valued.order_key
            order by
                case when valued.amount_usd is null then 1 else 0 end,
                valued.occurred_at,
                {{ in_byte_order('valued.message_id') }}
        ) as copy_number
    from {{ ref('int_events__valued') }} as valued
    inner join {{ ref('int_events__anchored') }} as anchored on valued.event_id = anchored.event_id
    where valued.meaning = 'order' and anchored.anchor_id is not null
)

select
    anchor_id,
    order_key,
    message_id,
    ordered_at,
    amount_usd
from copies
where copy_number = 1
