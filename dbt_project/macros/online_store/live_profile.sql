{# The attributes of one person from facts: what unify.profiles computes for everybody, for one. A test
   holds the two equal; an attribute that this does not compute stops the run with what to do. #}
{% macro live_profile_sql() %}
{%- set attributes = adapter.get_columns_in_relation(online_relation('profiles')) | map(attribute='name') | list %}
create or replace function decide.live_profile(facts decide.live_facts, as_of timestamptz)
returns decide.profiles
language plpgsql stable as $$
declare
    profile decide.profiles;
    found_ record;
begin
    with nodes as (select node.* from unnest(facts.nodes) as node),

    pending as (select landed.* from unnest(facts.pending) as landed),

    anchors as (select known.* from decide.anchors as known where known.anchor_id = any(facts.anchor_ids)),

    root as (
        select {{ profile_id_of('nodes.identifier_type', 'nodes.identifier_value') }} as profile_id
        from nodes
        order by nodes.landing, nodes.priority, {{ in_byte_order('nodes.identifier_value') }}
        limit 1
    ),

    seen as (
        select
            min(moments.first_seen_at) as first_seen_at,
            max(moments.last_seen_at) as last_seen_at,
            max(moments.last_event_at) as last_event_at
        from (
            select
                anchors.first_seen_at,
                anchors.last_seen_at,
                anchors.last_event_at
            from anchors
            union all
            select
                pending.occurred_at,
                pending.occurred_at,
                case when pending.type in ('track', 'page', 'screen') then pending.occurred_at end
            from pending
        ) as moments
    ),

    ranked_identifiers as (
        select
            nodes.identifier_type,
            nodes.identifier_value,
            nodes.priority,
            row_number() over (
                partition by nodes.identifier_type
                order by
                    case when nodes.is_carried then 0 else 1 end,
                    nodes.landing desc,
                    {{ in_byte_order('nodes.identifier_value') }}
            ) as recency
        from nodes
    ),

    current_identifiers as (
        select
            *,
            row_number() over (order by ranked_identifiers.priority) as choice
        from ranked_identifiers
        where ranked_identifiers.recency = 1
    ),

    identified as (
        select
            max(case when choice = 1 then identifier_value end) as primary_identifier,
            {%- for identifier in carried_identifiers() %}
            max(case when identifier_type = '{{ identifier.type }}' then identifier_value end)
                as {{ identifier.type }}{{ "," if not loop.last }}
            {%- endfor %}
        from current_identifiers
    ),

    written as (
        select
            traits.trait_key,
            traits.trait_value,
            traits.occurred_at,
            traits.message_id,
            1 as precedence
        from decide.traits
        where traits.anchor_id = any(facts.anchor_ids)
        union all
        select
            entries.entry_key,
            entries.entry_value,
            pending.occurred_at,
            pending.message_id,
            1 as precedence
        from pending, {{ json_entries('pending.traits', 'entries') }}
        where pending.type = 'identify'
        union all
        select
            entries.entry_key,
            entries.entry_value,
            pending.occurred_at,
            pending.message_id,
            2 as precedence
        from pending, {{ json_entries('(' ~ json_object_of('pending.context', 'traits') ~ ')', 'entries') }}
        where pending.type = 'identify'
    ),

    latest_traits as (
        select distinct on (written.trait_key)
            written.trait_key,
            written.trait_value
        from written
        where not {{ is_json_null('written.trait_value') }}
        order by
            written.trait_key,
            written.occurred_at desc,
            {{ in_byte_order('written.message_id') }} desc,
            written.precedence
    ),

    traits as (
        select {{ json_object_from('latest_traits.trait_key', 'latest_traits.trait_value') }} as traits
        from latest_traits
    ),

    valued as (
        {{ valued_events('pending', 'decide.meanings', 'decide.rates') | indent(8) }}
    ),

    copies as (
        select
            orders.order_key,
            orders.ordered_at,
            orders.amount_usd,
            orders.message_id
        from decide.orders
        where orders.anchor_id = any(facts.anchor_ids)
        union all
        select
            valued.order_key,
            valued.occurred_at,
            valued.amount_usd,
            valued.message_id
        from valued
        where valued.meaning = 'order'
    ),

    orders as (
        select distinct on (copies.order_key)
            copies.order_key,
            copies.ordered_at,
            copies.amount_usd
        from copies
        order by
            copies.order_key,
            copies.amount_usd is null,
            copies.ordered_at,
            {{ in_byte_order('copies.message_id') }}
    ),

    refunds as (
        select
            known.order_key,
            known.amount_usd
        from decide.refunds as known
        where known.anchor_id = any(facts.anchor_ids)
        union all
        select
            valued.order_key,
            valued.amount_usd
        from valued
        where valued.meaning = 'refund' and valued.problem is null
    ),

    refunded as (
        select
            orders.order_key,
            sum(coalesce(refunds.amount_usd, orders.amount_usd)) as amount_usd
        from refunds
        inner join orders on refunds.order_key = orders.order_key
        group by orders.order_key
    ),

    net as (
        select
            orders.ordered_at,
            orders.amount_usd - least(orders.amount_usd, coalesce(refunded.amount_usd, 0))
                as net_amount_usd,
            {{ in_window_of(day_of('orders.ordered_at'), 'as_of') }} as is_recent
        from orders
        left join refunded on orders.order_key = refunded.order_key
    ),

    money as (
        select
            count(*) as total_orders,
            coalesce(sum(net.net_amount_usd), 0) as total_spend,
            count(*) filter (where net.is_recent) as orders_30d,
            coalesce(sum(net.net_amount_usd) filter (where net.is_recent), 0) as spend_30d,
            round(avg(net.net_amount_usd), 2) as average_order_value,
            min(net.ordered_at) as first_order_at,
            max(net.ordered_at) as last_order_at
        from net
    ),

    stays as (
        select
            visits.started_at,
            visits.ended_at,
            visits.visit_signal_count > 0 as is_visit
        from decide.visits
        where visits.anchor_id = any(facts.anchor_ids)
        union all
        select
            pending.occurred_at,
            pending.occurred_at,
            meanings.event_type is not null
        from pending
        left join decide.meanings
            on pending.event_type = meanings.event_type and meanings.meaning = 'visit'
    ),

    parted as (
        select
            *,
            coalesce(
                stays.started_at >= {{ minutes_after(
                    'max(stays.ended_at) over (order by stays.started_at'
                    ~ ' rows between unbounded preceding and 1 preceding)',
                    var('session_timeout_minutes')
                ) }},
                true
            ) as starts_session
        from stays
    ),

    numbered as (
        select
            *,
            count(*) filter (where parted.starts_session) over (
                order by parted.started_at rows between unbounded preceding and current row
            ) as session_number
        from parted
    ),

    sessions as (
        select min(numbered.started_at) as started_at
        from numbered
        group by numbered.session_number
        having bool_or(numbered.is_visit)
    ),

    visits as (
        select
            count(*) as visit_count,
            count(*) filter (where {{ in_window_of(day_of('sessions.started_at'), 'as_of') }})
                as visits_30d
        from sessions
    )

    select
        root.profile_id,
        identified.*,
        coalesce(traits.traits, {{ empty_json_object() }}) as traits,
        seen.*,
        money.*,
        visits.*
    into found_
    from root, identified, traits, seen, money, visits;
    {%- for attribute in attributes %}
    profile.{{ attribute }} := found_.{{ attribute }};
    {%- endfor %}
    return profile;
end $$
{% endmacro %}


{# Whether a day lies in the rolling window that ends with the day of an instant. #}
{% macro in_window_of(day, instant) %}
    {{ return(
        day ~ ' between ' ~ day_of(instant) ~ ' - ' ~ (var('rolling_window_days') - 1)
        ~ ' and ' ~ day_of(instant)
    ) }}
{% endmacro %}
