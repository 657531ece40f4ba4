-- One row per profile and order: once, however often it was sent, less what was refunded.
{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched',
    unique_key=['profile_id', 'order_key'],
    meta={'touched': 'int_profiles__touched', 'touched_key': 'profile_id'},
    indexes=[
        {'columns': ['profile_id', 'order_key'], 'unique': true},
    ],
) }}
{%- set touched = ref('int_profiles__touched') %}

with owners as (
    select *
    from {{ ref('int_anchors__resolved') }}
    where
        profile_id is not null
    {%- if is_incremental() %}
        and profile_id in (select touched.profile_id from {{ touched }} as touched)
    {%- endif %}
),

copies as (
    select
        owners.profile_id,
        orders.*,
        row_number() over (
            partition by owners.profile_id, orders.order_key
            order by
                case when orders.amount_usd is null then 1 else 0 end,
                orders.ordered_at,
                {{ in_byte_order('orders.message_id') }}
        ) as copy_number
    from {{ ref('int_orders__by_anchor') }} as orders
    inner join owners on orders.anchor_id = owners.anchor_id
),

orders as (
    select *
    from copies
    where copy_number = 1
),

refunded as (
    select
        orders.profile_id,
        orders.order_key,
        sum(coalesce(refunds.amount_usd, orders.amount_usd)) as amount_usd
    from {{ ref('int_refunds__by_anchor') }} as refunds
    inner join owners on refunds.anchor_id = owners.anchor_id
    inner join orders
        on owners.profile_id = orders.profile_id and refunds.order_key = orders.order_key
    group by orders.profile_id, orders.order_key
)

select
    orders.profile_id,
    orders.order_key,
    orders.ordered_at,
    orders.amount_usd,
    coalesce(refunded.amount_usd, 0) as refunded_usd,
    -- A refund never takes back more than the order brought.
    orders.amount_usd - least(orders.amount_usd, coalesce(refunded.amount_usd, 0)) as net_amount_usd
from orders
left join refunded
    on orders.profile_id = refunded.profile_id and orders.order_key = refunded.order_key
