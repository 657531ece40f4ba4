{# Which identifiers one person has as of now, and which anchors and events these own. #}

{# The component of a node as of now, breadth first over the store's links and those of pending events.
   An identifier over its limit links nothing and is left out. Ends beyond max_nodes. #}
{% macro live_nodes_sql() %}
create or replace function decide.live_nodes(
    start decide.live_node, from_xid xid8, from_day timestamptz, max_nodes integer
) returns decide.live_node[]
language plpgsql stable as $$
declare
    nodes decide.live_node[] := array[start];
    front decide.live_node[] := array[start];
    reached decide.live_node[];
    seen_keys bigint[] := array[start.identifier_key];
    node decide.live_node;
    neighbour record;
begin
    while not start.is_over_limit and cardinality(front) > 0 loop
        reached := '{}';
        for neighbour in
            select
                reach.kind,
                reach.value,
                decide.key_of(reach.kind, reach.value) as identifier_key
            from (
                select
                    others.identifier_type as kind,
                    others.identifier_value as value
                from unnest(front) as near
                cross join lateral (
                    select links.node_b as far_key
                    from decide.links
                    where links.node_a = near.identifier_key
                    union all
                    select links.node_a as far_key
                    from decide.links
                    where links.node_b = near.identifier_key
                ) as known
                inner join decide.identifiers as others on known.far_key = others.identifier_key
                where others.is_linking
                union
                select
                    carried.kind,
                    carried.value
                from unnest(front) as near
                cross join lateral unnest(near.pending) as pending
                cross join lateral {{ carried_values('pending') }} as carried (kind, value)
                where {{ carries('pending', 'near.identifier_type', 'near.identifier_value') }}
                {%- for aliased in aliased_identifiers() %}
                union
                select
                    '{{ aliased.type }}' as kind,
                    pending.{{ aliased.column }} as value
                from unnest(front) as near
                cross join lateral unnest(near.pending) as pending
                where
                    near.identifier_type = 'user_id'
                    and pending.user_id = near.identifier_value
                union
                select
                    'user_id' as kind,
                    pending.user_id as value
                from unnest(front) as near
                cross join lateral unnest(near.pending) as pending
                where
                    near.identifier_type = '{{ aliased.type }}'
                    and pending.{{ aliased.column }} = near.identifier_value
                {%- endfor %}
            ) as reach
            where reach.value is not null
        loop
            continue when neighbour.identifier_key = any(seen_keys);
            seen_keys := seen_keys || neighbour.identifier_key;
            node := decide.live_node(neighbour.kind, neighbour.value, from_xid, from_day);
            continue when node.identifier_key is null or node.is_over_limit;
            nodes := nodes || node;
            reached := reached || node;
            if cardinality(nodes) > max_nodes then
                return nodes;
            end if;
        end loop;
        front := reached;
    end loop;
    return nodes;
end $$
{% endmacro %}


{# The members of a component as the batch knows it, each with its pending events. #}
{% macro live_members_sql() %}
create or replace function decide.live_members(
    root_key bigint, from_xid xid8, from_day timestamptz, max_nodes integer
) returns decide.live_node[]
language plpgsql stable as $$
#variable_conflict use_column
declare
    nodes decide.live_node[];
begin
    select
        array_agg(
            row(
                members.identifier_key,
                members.identifier_type,
                members.identifier_value,
                members.priority,
                members.is_over_limit,
                members.is_carried or exists (
                    select
                    from unnest(members.pending) as pending
                    where {{ carries('pending', 'members.identifier_type', 'members.identifier_value') }}
                ),
                members.landing,
                members.pending
            )::decide.live_node
        )
    into nodes
    from (
        select
            identifiers.*,
            (
                select array_agg(pending)
                from decide.pending_of(
                    identifiers.identifier_type, identifiers.identifier_value, from_xid, from_day
                ) as pending
            ) as pending
        from decide.identifiers
        where identifiers.root_key = live_members.root_key
        limit max_nodes + 1
    ) as members;
    return nodes;
end $$
{% endmacro %}


{# Whether pending events leave a component as it is: each identifier in them is a member or links
   nothing, and each user was seen with it before, so that no limit can be crossed. #}
{% macro is_unchanged_sql() %}
create or replace function decide.is_unchanged(nodes decide.live_node[], root_key bigint)
returns boolean
language plpgsql stable as $$
#variable_conflict use_column
begin
    return not exists (
        select
        from unnest(nodes) as node
        cross join lateral unnest(node.pending) as pending
        cross join lateral {{ carried_values('pending', with_keys=true) }}
            as carried (kind, value, identifier_key)
        where
            pending.previous_id is not null
            or (
                carried.value is not null
                and not exists (
                    select
                    from decide.identifiers as known
                    where
                        known.identifier_key = carried.identifier_key
                        and known.identifier_value = carried.value
                        and (
                            known.is_over_limit
                            or known.is_blocked
                            or (
                                known.root_key = is_unchanged.root_key
                                and (
                                    carried.kind = 'user_id'
                                    or pending.user_id is null
                                    or {{ was_seen_with('known.identifier_key', 'pending.user_id') }}
                                )
                            )
                        )
                )
            )
    );
end $$
{% endmacro %}


{# What the identifiers of one person own: an anchor or an event belongs to its user_id, else to those
   of its identifiers that link, else, where all are over their limits, to the most trusted one. #}
{% macro live_facts_sql() %}
{%- set weaker = carried_identifiers() | rejectattr('type', 'equalto', 'user_id') | list %}
create or replace function decide.live_facts(
    nodes decide.live_node[], from_xid xid8, from_day timestamptz
) returns decide.live_facts
language plpgsql stable as $$
declare
    facts decide.live_facts;
    keys bigint[];
    lone decide.live_node;
begin
    facts.nodes := nodes;
    select array_agg(node.identifier_key) into keys
    from unnest(nodes) as node;
    if not nodes[1].is_over_limit then
        select array_agg(distinct owned.anchor_id) into facts.anchor_ids
        from (
            {%- for identifier in carried_identifiers() %}
            select anchors.anchor_id
            from decide.anchors
            where anchors.{{ identifier.type }}_key = any(keys)
            {{ "union all" if not loop.last }}
            {%- endfor %}
        ) as owned;
        select array_agg(row(owned.*)::decide.pending_event) into facts.pending
        from (
            select distinct on (pending.event_id) pending.*
            from unnest(nodes) as node
            cross join lateral unnest(node.pending) as pending
            where
                case
                    when pending.user_id in ({{ values_of('user_id') }}) then true
                    when pending.user_id is not null and not decide.is_blocked('user_id', pending.user_id)
                        then false
                    else
                        {%- for identifier in weaker %}
                        coalesce(pending.{{ identifier.column }} in ({{ values_of(identifier.type) }}), false)
                        {{- " or" if not loop.last }}
                        {%- endfor %}
                end
        ) as owned;
        return facts;
    end if;

    lone := nodes[1];
    select array_agg(anchors.anchor_id) into facts.anchor_ids
    from decide.anchors
    where
        case lone.identifier_type
            {%- for identifier in carried_identifiers() %}
            when '{{ identifier.type }}' then anchors.{{ identifier.type }}_key
            {%- endfor %}
        end = lone.identifier_key
        and (
            {%- for identifier in weaker %}
            anchors.{{ identifier.type }}_key = lone.identifier_key{{ " or" if not loop.last }}
            {%- endfor %}
        )
        and not exists (
            select
            from decide.identifiers as others
            cross join lateral decide.live_node(
                others.identifier_type, others.identifier_value, from_xid, from_day
            ) as other
            where
                others.identifier_key in (
                    {%- for identifier in carried_identifiers() %}
                    anchors.{{ identifier.type }}_key{{ "," if not loop.last }}
                    {%- endfor %}
                )
                and others.identifier_key <> lone.identifier_key
                and {{ is_better('other', 'lone') }}
        );
    select array_agg(pending) into facts.pending
    from unnest(lone.pending) as pending
    where
        {{ carries('pending', 'lone.identifier_type', 'lone.identifier_value') }}
        and not exists (
            select
            from {{ carried_values('pending') }} as carried (kind, value)
            cross join lateral decide.live_node(carried.kind, carried.value, from_xid, from_day) as other
            where
                carried.value is not null
                and carried.kind <> lone.identifier_type
                and {{ is_better('other', 'lone') }}
        );
    return facts;
end $$
{% endmacro %}


{# The same where what is pending leaves a component as it is: its profile owns what the store says, and
   each event that names a member. #}
{% macro facts_as_stored_sql() %}
create or replace function decide.facts_as_stored(nodes decide.live_node[], owner uuid)
returns decide.live_facts
language plpgsql stable as $$
declare
    facts decide.live_facts;
begin
    facts.nodes := nodes;
    select array_agg(anchors.anchor_id) into facts.anchor_ids
    from decide.anchors
    where anchors.profile_id = owner;
    select array_agg(row(owned.*)::decide.pending_event) into facts.pending
    from (
        select distinct on (pending.event_id) pending.*
        from unnest(nodes) as node
        cross join lateral unnest(node.pending) as pending
    ) as owned;
    return facts;
end $$
{% endmacro %}


{# The values of those of `nodes` that are of a type. A person may have thousands of pending events and
   of identifiers: looked up by value, neither is hashed for the other. #}
{% macro values_of(type) -%}
    select node.identifier_value from unnest(nodes) as node where node.identifier_type = '{{ type }}'
{%- endmacro %}


{# Whether one node owns what both could: one that links before one over its limit, then by trust. #}
{% macro is_better(node, other) -%}
    {{ node }}.identifier_key is not null
                and (not {{ node }}.is_over_limit or {{ node }}.priority < {{ other }}.priority)
{%- endmacro %}
