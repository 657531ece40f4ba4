-- One row per currency that orders or refunds used without a rate for their day. A finding: it should be empty.
select
    currency,
    count(*) as event_count,
    min({{ day_of('occurred_at') }}) as first_on,
    max({{ day_of('occurred_at') }}) as last_on
from {{ ref('int_events__valued') }}
where problem = 'has no exchange rate'
group by currency
