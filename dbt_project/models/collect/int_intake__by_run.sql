-- One row per run, day of receipt and source: what the run found to have arrived.
{{ config(
    materialized='incremental',
    meta={'reads': 'what is new'},
    incremental_strategy='append',
    on_schema_change='append_new_columns',
    pre_hook="{{ forget_unpublished_rows() }}",
    indexes=[{'columns': ['run', 'received_on', 'source'], 'unique': true}],
) }}
{%- set window = run_window() %}

with counted as (
    select
        received_on,
        source,
        received_count,
        accepted_count,
        rejected_count,
        suppressed_count,
        erased_count,
        0 as landed_count,
        0 as kept_count
    from {{ source('raw', 'landings') }}
    where {{ landed_in(window, 'received_on') }}
    union all
    select
        {{ day_of('received_at') }} as received_on,
        source,
        0 as received_count,
        0 as accepted_count,
        0 as rejected_count,
        0 as suppressed_count,
        0 as erased_count,
        1 as landed_count,
        0 as kept_count
    from {{ source('raw', 'events') }}
    where {{ landed_in(window) }}
    union all
    select
        {{ day_of('received_at') }} as received_on,
        source,
        0 as received_count,
        0 as accepted_count,
        0 as rejected_count,
        0 as suppressed_count,
        0 as erased_count,
        0 as landed_count,
        1 as kept_count
    from {{ ref('stg_events') }}
    where xid >= {{ window.from_xid }}
)

select
    {{ window.run }} as run,
    received_on,
    source,
    sum(received_count) as received_count,
    sum(accepted_count) as accepted_count,
    sum(rejected_count) as rejected_count,
    sum(landed_count) as landed_count,
    sum(kept_count) as kept_count,
    sum(suppressed_count) as suppressed_count,
    sum(erased_count) as erased_count
from counted
group by received_on, source
