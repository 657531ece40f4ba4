-- One row per day of receipt and source: what arrived, and what became of it.
with intake as (select * from {{ ref('int_intake__by_run') }}),

days as (
    select
        received_on,
        source,
        sum(received_count) as received_count,
        sum(accepted_count) as accepted_count,
        sum(rejected_count) as rejected_count,
        sum(landed_count) as landed_count,
        sum(kept_count) as kept_count,
        -- Runs of an earlier version did not count these.
        coalesce(sum(suppressed_count), 0) as suppressed_count,
        coalesce(sum(erased_count), 0) as erased_count
    from intake
    group by received_on, source
)

select
    received_on,
    source,
    cast(received_count as {{ dbt.type_bigint() }}) as received_count,
    cast(accepted_count as {{ dbt.type_bigint() }}) as accepted_count,
    cast(rejected_count as {{ dbt.type_bigint() }}) as rejected_count,
    cast(kept_count as {{ dbt.type_bigint() }}) as kept_count,
    cast(landed_count - kept_count as {{ dbt.type_bigint() }}) as duplicate_count,
    cast(suppressed_count as {{ dbt.type_bigint() }}) as suppressed_count,
    cast(erased_count as {{ dbt.type_bigint() }}) as erased_count
from days
