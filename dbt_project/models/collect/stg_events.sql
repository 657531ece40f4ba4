-- One row per accepted event: the first to land of each message_id.
{{ config(
    materialized='incremental',
    meta={'reads': 'what is new'},
    incremental_strategy='append',
    indexes=[
        {'columns': ['event_id'], 'unique': true},
        {'columns': ['xid', 'seq'], 'unique': true},
        {'columns': ['received_at']},
    ],
) }}
{%- set window = run_window() %}

with landed as (
    select
        {{ md5_id('message_id') }} as event_id,
        message_id,
        {{ landing_number('xid') }} as xid,
        seq,
        source,
        type,
        event,
        nullif(trim(user_id), '') as user_id,
        nullif(trim(email), '') as email,
        nullif(trim(phone), '') as phone,
        nullif(trim(anonymous_id), '') as anonymous_id,
        nullif(trim(previous_id), '') as previous_id,
        payload,
        occurred_at,
        received_at
    from {{ source('raw', 'events') }}
    where {{ landed_in(window) }}
),

numbered as (
    select
        *,
        row_number() over (partition by event_id order by xid, seq) as copy_number
    from landed
)

select
    event_id,
    message_id,
    xid,
    seq,
    source,
    type,
    coalesce(event, type) as event_type,
    user_id,
    email,
    phone,
    anonymous_id,
    case when type = 'alias' and user_id is not null then previous_id end as previous_id,
    {{ json_object_of('payload', 'properties') }} as properties,
    {{ json_object_of('payload', 'context') }} as context,
    {{ json_object_of('payload', 'traits') }} as traits,
    occurred_at,
    received_at
from numbered
where
    copy_number = 1
{%- if is_incremental() %}
    and not exists (select 1 from {{ this }} as known where known.event_id = numbered.event_id)
{%- endif %}
-- depends_on: {{ ref('refresh_window') }}
