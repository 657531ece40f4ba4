-- One row per anchor and trait: the value last written, by the time of the event.
{{ config(
    materialized='incremental',
    meta={'reads': 'what is new'},
    incremental_strategy='delete+insert',
    unique_key=['anchor_id', 'trait_id'],
    indexes=[{'columns': ['anchor_id', 'trait_id'], 'unique': true}],
) }}

with identifies as (
    select
        arrived.anchor_id,
        events.message_id,
        events.occurred_at,
        events.traits,
        {{ json_object_of('events.context', 'traits') }} as context_traits
    from {{ ref('stg_events') }} as events
    inner join {{ ref('int_events__arrived') }} as arrived on events.event_id = arrived.event_id
    where arrived.type = 'identify' and arrived.anchor_id is not null
),

-- Some SDKs state traits in the context only; where both are given, the call's own traits win.
written as (
    select
        identifies.anchor_id,
        identifies.message_id,
        identifies.occurred_at,
        entries.entry_key as trait_key,
        entries.entry_value as trait_value,
        1 as precedence
    from identifies, {{ json_entries('identifies.traits', 'entries') }}
    union all
    select
        identifies.anchor_id,
        identifies.message_id,
        identifies.occurred_at,
        entries.entry_key,
        entries.entry_value,
        2 as precedence
    from identifies, {{ json_entries('identifies.context_traits', 'entries') }}
    {%- if is_incremental() %}
    union all
    select
        known.anchor_id,
        known.message_id,
        known.occurred_at,
        known.trait_key,
        known.trait_value,
        3 as precedence
    from {{ this }} as known
    where known.anchor_id in (select identifies.anchor_id from identifies)
    {%- endif %}
),

ranked as (
    select
        *,
        row_number() over (
            partition by anchor_id, trait_key
            order by occurred_at desc, {{ in_byte_order('message_id') }} desc, precedence
        ) as recency
    from written
    where not {{ is_json_null('trait_value') }}
)

select
    anchor_id,
    -- A name may be longer than an index takes.
    {{ md5_id('trait_key') }} as trait_id,
    trait_key,
    trait_value,
    occurred_at,
    message_id
from ranked
where recency = 1
