-- One row per distinct set of identifiers that events new to this run carried together.
{%- set window = run_window() %}

with events as (
    select *
    from {{ ref('stg_events') }}
    where xid >= {{ window.from_xid }}
),

tuples as (
    select
        user_id,
        email,
        phone,
        anonymous_id,
        previous_id,
        min({{ landing_position('xid', 'seq') }}) as landing,
        min(occurred_at) as first_seen_at
    from events
    where coalesce(user_id, email, phone, anonymous_id) is not null
    group by user_id, email, phone, anonymous_id, previous_id
)

select
    {%- for identifier in carried_identifiers() %}
    {{ identifier_key(identifier.type, identifier.column) }} as {{ identifier.type }}_key,
    {%- endfor %}
    {%- for identifier in aliased_identifiers() %}
    {{ identifier_key(identifier.type, identifier.column) }}
        as aliased_{{ identifier.type }}_key,
    {%- endfor %}
    user_id,
    email,
    phone,
    anonymous_id,
    previous_id,
    landing,
    first_seen_at
from tuples
