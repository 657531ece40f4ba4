-- One row per distinct set of identifiers that events new to this run carried together.
{{ config(meta={'statistics_target': 10}, post_hook="{{ scan_in_one_process() }}") }}
{%- set window = run_window() %}
{#- A full run groups events of users and of others apart: PostgreSQL does both at the same time. #}
{%- set parts = [
    'user_id is not null',
    'user_id is null and coalesce(email, phone, anonymous_id) is not null',
] if window.from_xid == 0 else ['coalesce(user_id, email, phone, anonymous_id) is not null'] %}

with tuples as (
    {%- for part in parts %}
    select
        user_id,
        email,
        phone,
        anonymous_id,
        previous_id,
        min({{ landing_position('xid', 'seq') }}) as landing,
        min(occurred_at) as first_seen_at
    from {{ ref('stg_events') }}
    where xid >= {{ window.from_xid }} and {{ part }}
    group by user_id, email, phone, anonymous_id, previous_id
    {{ "union all" if not loop.last }}
    {%- endfor %}
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
