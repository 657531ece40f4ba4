{# A query with one row per order or refund among events: the order it speaks of and its amount,
   converted. Both the batch and the answer for one person now are made of it.

   events: event_id, message_id, event_type, properties, occurred_at. meanings: seeds/event_semantics.csv.
   rates: currency, valid_from, valid_until (null in the last), rate. #}
{% macro valued_events(events, meanings, rates) -%}
with stated as (
    select
        events.event_id,
        events.message_id,
        events.event_type,
        meanings.meaning,
        events.occurred_at,
        nullif(
            {{ first_json_text_of('events.properties', 'meanings.order_id_properties') }}, ''
        ) as order_id,
        trim({{ first_json_text_of('events.properties', 'meanings.amount_properties') }})
            as amount_stated,
        -- No currency is so long, and an index takes only so much.
        coalesce(
            nullif(
                substr(upper(trim({{ json_text_of('events.properties', 'currency') }})), 1, 20), ''
            ),
            '{{ var("currency") }}'
        ) as currency
    from {{ events }} as events
    inner join {{ meanings }} as meanings on events.event_type = meanings.event_type
    where meanings.meaning in ('order', 'refund')
),

read as (
    select
        *,
        {{ money_of('amount_stated') }} as amount
    from stated
),

converted as (
    select
        read.*,
        case
            when read.amount < 0 then null
            when read.currency = '{{ var("currency") }}' then read.amount
            else round(read.amount * rates.rate, 2)
        end as amount_usd
    from read
    left join {{ rates }} as rates
        on
            read.currency = rates.currency
            and {{ day_of('read.occurred_at') }} >= rates.valid_from
            and ({{ day_of('read.occurred_at') }} < rates.valid_until or rates.valid_until is null)
)

select
    event_id,
    message_id,
    event_type,
    meaning,
    occurred_at,
    order_id,
    -- Without an order_id each message is an order of its own.
    case
        when length(order_id) <= 200 then 'order:' || order_id
        -- An index takes only so much.
        when order_id is not null
            then 'digest:' || cast({{ md5_id('order_id') }} as {{ dbt.type_string() }})
        when meaning = 'order' then 'message:' || message_id
    end as order_key,
    amount_stated,
    currency,
    amount_usd,
    case
        when meaning = 'refund' and order_id is null then 'names no order'
        when amount_stated is null and meaning = 'order' then 'is missing'
        when amount_stated is not null and amount is null then 'is not a number'
        when amount < 0 then 'is negative'
        when amount is not null and amount_usd is null then 'has no exchange rate'
    end as problem
from converted
{%- endmacro %}
