-- One row per identifier ever seen, blocked ones included: its first landing, and if it may link.
{{ config(indexes=[{'columns': ['identifier_key'], 'unique': true}]) }}

with tuples as (select * from {{ ref('int_identifiers__carried_together') }}),

types as (select * from {{ ref('identifier_types') }}),

blocked_patterns as (
    select
        types.identifier_type,
        '(' || {{ joined_text('blocked.pattern', ')|(') }} || ')' as pattern
    from types
    inner join {{ ref('blocked_identifiers') }} as blocked
        on blocked.identifier_type in (types.identifier_type, '*')
    group by types.identifier_type
),

seen as (
    {%- for identifier in carried_identifiers() %}
    select
        {{ identifier.type }}_key as identifier_key,
        '{{ identifier.type }}' as identifier_type,
        {{ identifier.column }} as identifier_value,
        landing,
        first_seen_at
    from tuples
    where {{ identifier.column }} is not null
    union all
    {%- endfor %}
    {%- for identifier in aliased_identifiers() %}
    select
        aliased_{{ identifier.type }}_key,
        '{{ identifier.type }}',
        {{ identifier.column }},
        landing,
        first_seen_at
    from tuples
    where {{ identifier.column }} is not null
    {{ "union all" if not loop.last }}
    {%- endfor %}
),

identifiers as (
    select
        identifier_key,
        identifier_type,
        identifier_value,
        min(landing) as landing,
        min(first_seen_at) as first_seen_at
    from seen
    group by identifier_key, identifier_type, identifier_value
),

judged as (
    select
        identifiers.*,
        types.priority,
        types.max_user_ids,
        coalesce(
            {{ matches_whole('identifiers.identifier_value', 'blocked_patterns.pattern') }}, false
        ) as is_blocked
    from identifiers
    inner join types on identifiers.identifier_type = types.identifier_type
    left join blocked_patterns on identifiers.identifier_type = blocked_patterns.identifier_type
),

-- An alias is a statement that two ids are one person; it says nothing about sharing.
user_counts as (
    select
        case when links.node_a = links.user_key then links.node_b else links.node_a end
            as identifier_key,
        count(*) as user_count
    from {{ ref('int_identifiers__linked') }} as links
    inner join judged as known_users on links.user_key = known_users.identifier_key
    where links.kind = 'carried' and not known_users.is_blocked
    group by case when links.node_a = links.user_key then links.node_b else links.node_a end
)

select
    judged.identifier_key,
    judged.identifier_type,
    judged.identifier_value,
    judged.priority,
    judged.landing,
    judged.first_seen_at,
    judged.is_blocked,
    coalesce(user_counts.user_count, 0) as user_count,
    coalesce(user_counts.user_count > judged.max_user_ids, false) as is_over_limit,
    not judged.is_blocked
    and coalesce(user_counts.user_count <= judged.max_user_ids, true) as is_linking
from judged
left join user_counts on judged.identifier_key = user_counts.identifier_key
