-- One row per order or refund whose amount could not be used. A finding: it should be empty.
select
    event_id,
    message_id,
    event_type,
    occurred_at,
    amount_stated,
    currency,
    problem
from {{ ref('int_events__valued') }}
where problem is not null and problem <> 'has no exchange rate'
