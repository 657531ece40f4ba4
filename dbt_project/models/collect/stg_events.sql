-- One row per accepted event: the first to land of each message_id.
with landed as (
    select
        *,
        {{ landing_number('xid') }} as landed_xid
    from {{ source('raw', 'events') }}
    where {{ landed_before('xid', '(select to_xid from ' ~ ref('refresh_window') ~ ')') }}
),

first_landed as (
    select
        *,
        row_number() over (partition by message_id order by landed_xid, seq) as copy_number
    from landed
)

select
    message_id,
    landed_xid as xid,
    seq,
    source,
    type,
    event,
    user_id,
    email,
    phone,
    anonymous_id,
    previous_id,
    {{ json_object_of('payload', 'properties') }} as properties,
    {{ json_object_of('payload', 'traits') }} as traits,
    {{ json_object_of('payload', 'context') }} as context,
    occurred_at,
    received_at
from first_landed
where copy_number = 1
