-- One row per identifier ever seen, blocked ones included: its first landing, and if it may link.
-- is_carried: an event was sent under it; else an alias call named it, without saying of what type.
-- user_count and least_user_key are of the users that events carried it together with.
-- judged_in is the run in which it appeared or the judgement last changed; changed_in any change.
-- The unique key names the identifier, not only its 64-bit key: should two ever have the same key,
-- the second finds the place taken and stops the run, and never takes over the first one's links.
{{ config(
    materialized='incremental',
    meta={'reads': 'what is new', 'statistics_target': 10},
    incremental_strategy='delete+insert',
    unique_key=['identifier_key', 'identifier_type', 'identifier_value'],
    indexes=[
        {'columns': ['identifier_key'], 'unique': true},
        {'columns': ['judged_in'], 'where': "judged_in > {{ run_window().run }}"},
        {'columns': ['changed_in'], 'where': "changed_in > {{ run_window().run }}"},
        {'columns': ['identifier_type'], 'where': 'is_blocked'},
        {'columns': ['user_count'], 'where': 'user_count > 1'},
    ],
) }}
{%- set window = run_window() %}
{#- Named in each branch: what is read more than once under a name, PostgreSQL copies first. #}
{%- set tuples = ref('int_identifiers__carried_together') %}
{%- set linked = ref('int_identifiers__linked') %}
{%- set types = carried_identifiers() | map(attribute='type') | list %}
{%- set identifiers = identifiers_of_tuples() %}

with
{%- if is_incremental() %}

known as (
    select known.*
    from {{ this }} as known
    {%- if not window.has_new_identity_rules %}
    where
        known.identifier_key in (
            {%- for identifier in identifiers %}
            select {{ identifier.key }}
            from {{ tuples }}
            where {{ identifier.column }} is not null
            {{ "union all" if not loop.last }}
            {%- endfor %}
        )
    {%- endif %}
),
{%- endif %}

{%- for type in types %}

{{ type }}_seen as (
    {%- for identifier in identifiers if identifier.type == type %}
    select
        {{ identifier.key }} as identifier_key,
        {{ identifier.column }} as identifier_value,
        {{ identifier.is_carried }} as is_carried,
        landing,
        first_seen_at
    from {{ tuples }}
    where {{ identifier.column }} is not null
    {{ "union all" if not loop.last or is_incremental() }}
    {%- endfor %}
    {%- if is_incremental() %}
    select
        identifier_key,
        identifier_value,
        is_carried,
        landing,
        first_seen_at
    from known
    where identifier_type = '{{ type }}'
    {%- endif %}
),
{%- endfor %}

blocked_judged as (
    {%- for type in types %}
    select
        identifier_key,
        '{{ type }}' as identifier_type,
        identifier_value,
        max(case when is_carried then 1 else 0 end) = 1 as is_carried,
        min(landing) as landing,
        min(first_seen_at) as first_seen_at,
        coalesce({{ matches_whole('identifier_value', blocked_pattern(type)) }}, false)
            as is_blocked
    from {{ type }}_seen
    group by identifier_key, identifier_value
    {{ "union all" if not loop.last }}
    {%- endfor %}
),

-- An alias is a statement that two ids are one person; it says nothing about sharing. What a link
-- new to this run joined to a user is counted anew; the rest has the users that it had.
seen_with_user as (
    {%- if is_incremental() %}
    {%- for side in ['node_a', 'node_b'] %}
    select
        links.{{ side }} as identifier_key,
        links.user_key
    from (
        select distinct case when node_a = user_key then node_b else node_a end as identifier_key
        from {{ linked }}
        where user_key is not null and landing >= {{ landing_position(window.from_xid, 0) }}
    ) as joined_to_user
    inner join {{ linked }} as links on joined_to_user.identifier_key = links.{{ side }}
    where links.{{ side }} <> links.user_key
    {{ "union all" if not loop.last }}
    {%- endfor %}
    {%- else %}
    select
        case when node_a = user_key then node_b else node_a end as identifier_key,
        user_key
    from {{ linked }}
    where user_key is not null
    {%- endif %}
),

{%- if is_incremental() %}

blocked_users as (
    select identifier_key
    from blocked_judged
    where identifier_type = 'user_id' and is_blocked
    union all
    select known_users.identifier_key
    from {{ this }} as known_users
    where
        known_users.identifier_type = 'user_id'
        and known_users.is_blocked
        and not exists (
            select 1
            from blocked_judged
            where blocked_judged.identifier_key = known_users.identifier_key
        )
),
{%- else %}

-- Not read from blocked_judged: what is read twice is copied, and computed by one process.
blocked_users as {{ computed_once() }} (
    select distinct user_id_key as identifier_key
    from {{ tuples }}
    where {{ matches_whole('user_id', blocked_pattern('user_id')) }}
),
{%- endif %}

user_counts as (
    select
        seen_with_user.identifier_key,
        count(*) as user_count,
        min(seen_with_user.user_key) as least_user_key
    from seen_with_user
    left join blocked_users on seen_with_user.user_key = blocked_users.identifier_key
    where blocked_users.identifier_key is null
    group by seen_with_user.identifier_key
),

counted as (
    select
        blocked_judged.*,
        limits.priority,
        limits.max_user_ids,
        {%- if is_incremental() %}
        coalesce(user_counts.user_count, known.user_count, 0) as user_count,
        coalesce(user_counts.least_user_key, known.least_user_key) as least_user_key
        {%- else %}
        coalesce(user_counts.user_count, 0) as user_count,
        user_counts.least_user_key
        {%- endif %}
    from blocked_judged
    inner join {{ ref('identifier_types') }} as limits
        on blocked_judged.identifier_type = limits.identifier_type
    left join user_counts on blocked_judged.identifier_key = user_counts.identifier_key
    {%- if is_incremental() %}
    left join known
        on
            blocked_judged.identifier_key = known.identifier_key
            and blocked_judged.identifier_type = known.identifier_type
            and blocked_judged.identifier_value = known.identifier_value
    {%- endif %}
),

judged as (
    select
        identifier_key,
        identifier_type,
        identifier_value,
        priority,
        is_carried,
        landing,
        first_seen_at,
        is_blocked,
        user_count,
        least_user_key,
        coalesce(user_count > max_user_ids, false) as is_over_limit,
        not is_blocked and coalesce(user_count <= max_user_ids, true) as is_linking
    from counted
)

{% if is_incremental() %}
select
    judged.*,
    case
        when
            known.is_blocked = judged.is_blocked and known.is_over_limit = judged.is_over_limit
            then known.judged_in
        else {{ window.run }}
    end as judged_in,
    {{ window.run }} as changed_in
from judged
left join known
    on
        judged.identifier_key = known.identifier_key
        and judged.identifier_type = known.identifier_type
        and judged.identifier_value = known.identifier_value
where
    known.identifier_key is null
    or known.first_seen_at <> judged.first_seen_at
    or known.is_carried <> judged.is_carried
    or known.user_count <> judged.user_count
    or known.is_blocked <> judged.is_blocked
    or known.is_over_limit <> judged.is_over_limit
{%- else %}
select
    judged.*,
    {{ window.run }} as judged_in,
    {{ window.run }} as changed_in
from judged
{%- endif %}
