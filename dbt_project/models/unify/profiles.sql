-- One row per profile.
{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched',
    unique_key=['profile_id'],
    meta={'touched': 'int_profiles__touched', 'touched_key': 'profile_id'},
    indexes=[
        {'columns': ['profile_id'], 'unique': true},
        {'columns': ['user_id']},
        {'columns': ['email']},
        {'columns': ['last_event_at']},
        {'columns': ['last_seen_at', 'profile_id']},
    ],
) }}
{%- set touched = ref('int_profiles__touched') %}

with touched as (
    {%- if is_incremental() %}
    select profile_id
    from {{ touched }}
    {%- else %}
    select distinct profile_id
    from {{ ref('int_anchors__resolved') }}
    where profile_id is not null
    {%- endif %}
),

owners as (
    select
        owners.anchor_id,
        owners.profile_id
    from {{ ref('int_anchors__resolved') }} as owners
    inner join touched on owners.profile_id = touched.profile_id
),

seen as (
    select
        owners.profile_id,
        min(anchors.first_seen_at) as first_seen_at,
        max(anchors.last_seen_at) as last_seen_at,
        max(anchors.last_event_at) as last_event_at
    from {{ ref('int_anchors__seen') }} as anchors
    inner join owners on anchors.anchor_id = owners.anchor_id
    group by owners.profile_id
),

-- Of several identifiers of one type, the one that first appeared last. What only an alias call
-- named comes after those, because it does not say of which type it is.
ranked_identifiers as (
    select
        resolved.profile_id,
        identifiers.identifier_type,
        identifiers.identifier_value,
        identifiers.priority,
        row_number() over (
            partition by resolved.profile_id, identifiers.identifier_type
            order by
                case when identifiers.is_carried then 0 else 1 end,
                identifiers.landing desc,
                {{ in_byte_order('identifiers.identifier_value') }}
        ) as recency
    from {{ ref('int_identifiers__judged') }} as identifiers
    inner join {{ ref('int_identifiers__resolved') }} as resolved
        on identifiers.identifier_key = resolved.identifier_key
    inner join touched on resolved.profile_id = touched.profile_id
),

current_identifiers as (
    select
        *,
        row_number() over (partition by profile_id order by priority) as choice
    from ranked_identifiers
    where recency = 1
),

identified as (
    select
        profile_id,
        max(case when choice = 1 then identifier_value end) as primary_identifier,
        max(case when identifier_type = 'email' then identifier_value end) as email,
        max(case when identifier_type = 'user_id' then identifier_value end) as user_id,
        max(case when identifier_type = 'anonymous_id' then identifier_value end) as anonymous_id,
        max(case when identifier_type = 'phone' then identifier_value end) as phone
    from current_identifiers
    group by profile_id
),

ranked_traits as (
    select
        owners.profile_id,
        traits.trait_key,
        traits.trait_value,
        row_number() over (
            partition by owners.profile_id, traits.trait_key
            order by traits.occurred_at desc, {{ in_byte_order('traits.message_id') }} desc
        ) as recency
    from {{ ref('int_traits__by_anchor') }} as traits
    inner join owners on traits.anchor_id = owners.anchor_id
),

traits as (
    select
        profile_id,
        {{ json_object_from('trait_key', 'trait_value') }} as traits
    from ranked_traits
    where recency = 1
    group by profile_id
),

orders as (
    select
        orders.profile_id,
        count(*) as total_orders,
        coalesce(sum(orders.net_amount_usd), 0) as total_spend,
        sum(case when {{ in_rolling_window(day_of('orders.ordered_at')) }} then 1 else 0 end)
            as orders_30d,
        coalesce(
            sum(
                case
                    when {{ in_rolling_window(day_of('orders.ordered_at')) }}
                        then orders.net_amount_usd
                end
            ),
            0
        ) as spend_30d,
        round(avg(orders.net_amount_usd), 2) as average_order_value,
        min(orders.ordered_at) as first_order_at,
        max(orders.ordered_at) as last_order_at
    from {{ ref('int_orders__by_profile') }} as orders
    inner join touched on orders.profile_id = touched.profile_id
    group by orders.profile_id
),

visits as (
    select
        sessions.profile_id,
        count(*) as visit_count,
        sum(case when {{ in_rolling_window(day_of('sessions.started_at')) }} then 1 else 0 end)
            as visits_30d
    from {{ ref('sessions') }} as sessions
    inner join touched on sessions.profile_id = touched.profile_id
    group by sessions.profile_id
)

select
    seen.profile_id,
    identified.primary_identifier,
    identified.email,
    identified.user_id,
    identified.anonymous_id,
    identified.phone,
    coalesce(traits.traits, {{ empty_json_object() }}) as traits,
    seen.first_seen_at,
    seen.last_seen_at,
    seen.last_event_at,
    coalesce(orders.total_orders, 0) as total_orders,
    coalesce(orders.total_spend, 0) as total_spend,
    coalesce(orders.orders_30d, 0) as orders_30d,
    coalesce(orders.spend_30d, 0) as spend_30d,
    coalesce(visits.visit_count, 0) as visit_count,
    coalesce(visits.visits_30d, 0) as visits_30d,
    orders.average_order_value,
    orders.first_order_at,
    orders.last_order_at
from seen
inner join identified on seen.profile_id = identified.profile_id
left join traits on seen.profile_id = traits.profile_id
left join orders on seen.profile_id = orders.profile_id
left join visits on seen.profile_id = visits.profile_id
