{# The attributes of one person from facts: what unify.profiles computes for everybody, for one. A test
   holds the two equal; a run stops at an attribute that this does not compute. #}
{% macro live_profile_sql() %}
{%- set identity = {
    'primary_identifier': 'max(case when newest.choice = 1 then newest.identifier_value end)',
} -%}
{%- for identifier in carried_identifiers() -%}
    {%- do identity.update({identifier.column: "max(case when newest.identifier_type = '"
        ~ identifier.type ~ "' then newest.identifier_value end)"}) -%}
{%- endfor -%}
{%- set seen = {
    'first_seen_at': 'min(anchors.first_seen_at)',
    'last_seen_at': 'max(anchors.last_seen_at)',
    'last_event_at': 'max(anchors.last_event_at)',
} -%}
{%- set money = {
    'total_orders': 'count(*)',
    'total_spend': 'coalesce(sum(net.net_amount_usd), 0)',
    'orders_30d': 'count(*) filter (where net.is_recent)',
    'spend_30d': 'coalesce(sum(net.net_amount_usd) filter (where net.is_recent), 0)',
    'average_order_value': 'round(avg(net.net_amount_usd), 2)',
    'first_order_at': 'min(net.ordered_at)',
    'last_order_at': 'max(net.ordered_at)',
} -%}
{%- set visits = {
    'visit_count': 'count(*)',
    'visits_30d': 'count(*) filter (where ' ~ in_window_of(day_of('sessions.started_at'), 'as_of') ~ ')',
} -%}
{%- set computed = ['profile_id', 'traits'] + [identity, seen, money, visits] | map('list') | sum(start=[]) -%}
{%- for attribute in adapter.get_columns_in_relation(online_relation('profiles')) | map(attribute='name')
    if attribute not in computed -%}
    {% do exceptions.raise_compiler_error(
        attribute ~ ' is an attribute of unify.profiles, and macros/online_store/live_profile.sql does not'
        ~ ' compute it for one person as of now. Add it there; CONTRIBUTING.md shows how.'
    ) %}
{%- endfor -%}
-- stored: the profile of the same identifiers and anchors, on the same day, without what is pending;
-- all null where that is not known. Only what pending events can change is computed anew.
create or replace function decide.live_profile(
    facts decide.live_facts, as_of timestamptz, stored decide.profiles
) returns decide.profiles
language plpgsql stable as $$
declare
    profile decide.profiles := stored;
    is_unknown constant boolean := stored.profile_id is null;
    has_new_traits boolean;
    has_new_money boolean;
begin
    if is_unknown then
        select {{ profile_id_of('nodes.identifier_type', 'nodes.identifier_value') }}
        into profile.profile_id
        from unnest(facts.nodes) as nodes
        order by nodes.landing, nodes.priority, {{ in_byte_order('nodes.identifier_value') }}
        limit 1;

        select
            {{ seen.values() | join(',\n            ') }}
        into {{ fields_of('profile', seen) }}
        from decide.anchors
        where anchors.anchor_id = any(facts.anchor_ids);
    end if;

    -- Under what only an alias call had named, an event may have been sent now.
    if is_unknown or exists (
        select
        from decide.identifiers as known
        where known.profile_id = stored.profile_id and not known.is_carried
    ) then
        select
            {{ identity.values() | join(',\n            ') }}
        into {{ fields_of('profile', identity) }}
        from (
            select
                *,
                row_number() over (order by ranked.priority) as choice
            from (
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
                from unnest(facts.nodes) as nodes
            ) as ranked
            where ranked.recency = 1
        ) as newest;
    end if;

    select
        least(profile.first_seen_at, min(pending.occurred_at)),
        greatest(profile.last_seen_at, max(pending.occurred_at)),
        greatest(
            profile.last_event_at,
            max(pending.occurred_at) filter (where pending.type in ('track', 'page', 'screen'))
        ),
        is_unknown or bool_or(pending.type = 'identify'),
        is_unknown or bool_or(meanings.meaning in ('order', 'refund'))
    into {{ fields_of('profile', seen) }}, has_new_traits, has_new_money
    from unnest(facts.pending) as pending
    left join decide.meanings on pending.event_type = meanings.event_type;

    if has_new_traits then
        with written as (
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
            from unnest(facts.pending) as pending, {{ json_entries('pending.traits', 'entries') }}
            where pending.type = 'identify'
            union all
            select
                entries.entry_key,
                entries.entry_value,
                pending.occurred_at,
                pending.message_id,
                2 as precedence
            from
                unnest(facts.pending) as pending,
                {{ json_entries('(' ~ json_object_of('pending.context', 'traits') ~ ')', 'entries') }}
            where pending.type = 'identify'
        ),

        latest as (
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
        )

        select coalesce(
            {{ json_object_from('latest.trait_key', 'latest.trait_value') }}, {{ empty_json_object() }}
        )
        into profile.traits
        from latest;
    end if;

    if has_new_money then
        with pending as (select landed.* from unnest(facts.pending) as landed),

        valued as (
            {{ valued_events('pending', 'decide.meanings', 'decide.rates') | indent(12) }}
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
        )

        select
            {{ money.values() | join(',\n            ') }}
        into {{ fields_of('profile', money) }}
        from net;
    end if;

    if is_unknown or facts.pending is not null then
        with stays as (
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
            from unnest(facts.pending) as pending
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
        )

        select
            {{ visits.values() | join(',\n            ') }}
        into {{ fields_of('profile', visits) }}
        from sessions;
    end if;
    return profile;
end $$
{% endmacro %}


{# The fields of a record that an INTO fills, in the order of the attributes. #}
{% macro fields_of(record, attributes) -%}
    {% for attribute in attributes %}{{ record }}.{{ attribute }}{{ ", " if not loop.last }}{% endfor %}
{%- endmacro %}


{# Whether a day lies in the rolling window that ends with the day of an instant. #}
{% macro in_window_of(day, instant) %}
    {{ return(
        day ~ ' between ' ~ day_of(instant) ~ ' - ' ~ (var('rolling_window_days') - 1)
        ~ ' and ' ~ day_of(instant)
    ) }}
{% endmacro %}
