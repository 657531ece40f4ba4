-- One row per day of receipt and source: what arrived, and what became of it.
with landings as (
    select
        received_on,
        source,
        sum(received_count) as received_count,
        sum(accepted_count) as accepted_count,
        sum(rejected_count) as rejected_count
    from {{ source('raw', 'landings') }}
    where xid < {{ landing_xid('(select to_xid from ' ~ ref('refresh_window') ~ ')') }}
    group by received_on, source
),

landed as (
    select
        {{ day_of('received_at') }} as received_on,
        source,
        count(*) as landed_count
    from {{ source('raw', 'events') }}
    where xid < {{ landing_xid('(select to_xid from ' ~ ref('refresh_window') ~ ')') }}
    group by {{ day_of('received_at') }}, source
),

kept as (
    select
        {{ day_of('received_at') }} as received_on,
        source,
        count(*) as kept_count
    from {{ ref('stg_events') }}
    group by {{ day_of('received_at') }}, source
),

days as (
    select
        received_on,
        source
    from landings
    union distinct
    select
        received_on,
        source
    from landed
)

select
    days.received_on,
    days.source,
    coalesce(landings.received_count, 0) as received_count,
    coalesce(landings.accepted_count, 0) as accepted_count,
    coalesce(landings.rejected_count, 0) as rejected_count,
    coalesce(kept.kept_count, 0) as kept_count,
    coalesce(landed.landed_count, 0) - coalesce(kept.kept_count, 0) as duplicate_count
from days
left join landings on days.received_on = landings.received_on and days.source = landings.source
left join landed on days.received_on = landed.received_on and days.source = landed.source
left join kept on days.received_on = kept.received_on and days.source = kept.source
