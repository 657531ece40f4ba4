-- One row per order or refund event: the order it speaks of and its amount, converted.
{{ config(
    materialized='incremental',
    meta={'reads': 'what is new'},
    incremental_strategy='delete+insert',
    unique_key='event_id',
    indexes=[{'columns': ['event_id'], 'unique': true}, {'columns': ['problem']}],
) }}
{%- set window = run_window() %}

with landed as (
    select *
    from {{ ref('stg_events') }}
    where xid >= {{ window.from_xid }}
),

rates as (
    select
        currency,
        valid_from,
        lead(valid_from) over (partition by currency order by valid_from) as valid_until,
        rate
    from {{ ref('exchange_rates') }}
),

valued as (
    {{ valued_events('landed', ref('event_semantics'), 'rates') | indent(4) }}
)

select *
from valued
