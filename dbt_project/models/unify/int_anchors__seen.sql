-- One row per anchor: the identifiers it consists of and when it was seen.
{{ config(indexes=[{'columns': ['anchor_id'], 'unique': true}]) }}

select
    anchor_id,
    {%- for identifier in carried_identifiers() %}
    {{ identifier_key(identifier.type, 'min(' ~ identifier.column ~ ')') }}
        as {{ identifier.type }}_key,
    {%- endfor %}
    min(occurred_at) as first_seen_at,
    max(occurred_at) as last_seen_at,
    max(case when type in ('track', 'page', 'screen') then occurred_at end) as last_event_at
from {{ ref('int_events__anchored') }}
where anchor_id is not null
group by anchor_id
