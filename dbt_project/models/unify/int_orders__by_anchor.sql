-- One row per anchor and order: the copy that counts, which is the first with a usable amount.
{{ config(
    materialized='incremental',
    meta={'reads': 'what is new'},
    incremental_strategy='delete+insert',
    unique_key=['anchor_id', 'order_key'],
    indexes=[
        {'columns': ['anchor_id', 'order_key'], 'unique': true},
        {'columns': ['ordered_at']},
    ],
) }}

with arrived as (
    select
        arrived.anchor_id,
        valued.order_key,
        valued.message_id,
        valued.occurred_at as ordered_at,
        valued.amount_usd
    from {{ ref('int_events__arrived') }} as arrived
    inner join {{ ref('int_events__valued') }} as valued on arrived.event_id = valued.event_id
    where arrived.anchor_id is not null and valued.meaning = 'order'
),

known_and_arrived as (
    select * from arrived
    {%- if is_incremental() %}
    union all
    select
        known.anchor_id,
        known.order_key,
        known.message_id,
        known.ordered_at,
        known.amount_usd
    from {{ this }} as known
    where
        exists (
            select 1
            from arrived
            where known.anchor_id = arrived.anchor_id and known.order_key = arrived.order_key
        )
        and not exists (select 1 from arrived where known.message_id = arrived.message_id)
    {%- endif %}
),

copies as (
    select
        *,
        row_number() over (
            partition by anchor_id, order_key
            order by
                case when amount_usd is null then 1 else 0 end,
                ordered_at,
                {{ in_byte_order('message_id') }}
        ) as copy_number
    from known_and_arrived
)

select
    anchor_id,
    order_key,
    message_id,
    ordered_at,
    amount_usd
from copies
where copy_number = 1
