-- One row per currency without a rate for a day of use. A finding: it should be empty.
select
    currency,
    count(*) as event_count,
    min({{ day_of('occurred_at') }}) as first_on,
    max({{ day_of('occurred_at') }}) as last_on
from {{ ref('int_events__valued') }}
where problem = 'has no exchange rate'
group by currency
