-- No source that sent something every day has sent nothing yesterday and today.
{{ config(severity='warn') }}
with days as (
    select
        source,
        received_on,
        {{ dbt.datediff('received_on', day_of(as_of()), 'day') }} as days_ago
    from {{ ref('daily_intake') }}
    where received_count > 0
)

select
    source,
    max(received_on) as last_received_on
from days
group by source
having
    min(days_ago) > 1
    and sum(case when days_ago between 2 and {{ var('steady_source_days') + 1 }} then 1 else 0 end)
    = {{ var('steady_source_days') }}
