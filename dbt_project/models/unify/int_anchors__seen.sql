-- One row per anchor: the identifiers it consists of and when it was seen.
-- No index names what a later run changes, so rows are changed where they stand.
{{ config(
    materialized='incremental',
    meta={'reads': 'what is new'},
    incremental_strategy='merge',
    unique_key='anchor_id',
    indexes=[
        {'columns': ['anchor_id'], 'unique': true},
        {'columns': ['user_id_key']},
        {'columns': ['email_key']},
        {'columns': ['phone_key']},
        {'columns': ['anonymous_id_key']},
    ],
) }}

with arrived as (
    select
        anchor_id,
        {%- for identifier in carried_identifiers() %}
        {{ identifier_key(identifier.type, 'min(' ~ identifier.column ~ ')') }}
            as {{ identifier.type }}_key,
        {%- endfor %}
        min(occurred_at) as first_seen_at,
        max(occurred_at) as last_seen_at,
        max(case when type in ('track', 'page', 'screen') then occurred_at end) as last_event_at
    from {{ ref('int_events__arrived') }}
    where anchor_id is not null
    group by anchor_id
)

{% if is_incremental() %}
select
    arrived.anchor_id,
    {%- for identifier in carried_identifiers() %}
    arrived.{{ identifier.type }}_key,
    {%- endfor %}
    least(arrived.first_seen_at, coalesce(known.first_seen_at, arrived.first_seen_at))
        as first_seen_at,
    greatest(arrived.last_seen_at, coalesce(known.last_seen_at, arrived.last_seen_at))
        as last_seen_at,
    greatest(
        coalesce(arrived.last_event_at, known.last_event_at),
        coalesce(known.last_event_at, arrived.last_event_at)
    ) as last_event_at
from arrived
left join {{ this }} as known on arrived.anchor_id = known.anchor_id
{%- else %}
select *
from arrived
{%- endif %}
