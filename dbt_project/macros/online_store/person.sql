{# Who one person is now: the walk over links, what is owned, and the function that readers call. #}

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
            select distinct
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
                union all
                select
                    carried.kind,
                    carried.value
                from unnest(front) as near
                cross join lateral unnest(near.pending) as pending
                cross join lateral {{ carried_values('pending') }} as carried (kind, value)
                where {{ carries('pending', 'near.identifier_type', 'near.identifier_value') }}
                {%- for aliased in aliased_identifiers() %}
                union all
                select
                    '{{ aliased.type }}' as kind,
                    pending.{{ aliased.column }} as value
                from unnest(front) as near
                cross join lateral unnest(near.pending) as pending
                where
                    near.identifier_type = 'user_id'
                    and pending.user_id = near.identifier_value
                union all
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
                    when pending.user_id is not null and decide.key_of('user_id', pending.user_id) = any(keys)
                        then true
                    when pending.user_id is not null and not decide.is_blocked('user_id', pending.user_id)
                        then false
                    else
                        {%- for identifier in weaker %}
                        coalesce(
                            decide.key_of('{{ identifier.type }}', pending.{{ identifier.column }}) = any(keys),
                            false
                        ){{ " or" if not loop.last }}
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


{# Whether one node owns what both could: one that links before one over its limit, then by trust. #}
{% macro is_better(node, other) -%}
    {{ node }}.identifier_key is not null
                and (not {{ node }}.is_over_limit or {{ node }}.priority < {{ other }}.priority)
{%- endmacro %}


{#
    One row: the profile of whoever the strongest of these identifiers names, as a full refresh at as_of
    would have it; none when nobody is known by them.

        path         batch (nothing is pending), same (pending, but the identifiers stand), walk
        is_degraded  not exact: more identifiers than can be walked, or asked not to look at what is pending
        anchor_ids   null on the path batch, where the store's anchors of the profile are meant
        pending      the person's events that are not in the store yet
        identifiers  a JSON list; null on the path batch, where the store's are meant
#}
{% macro profile_now_sql() %}
create or replace function decide.profile_now(
    wanted_profile_id uuid,
    wanted_user_id text,
    wanted_email text,
    wanted_phone text,
    wanted_anonymous_id text,
    as_of timestamptz,
    with_pending boolean default true,
    max_nodes integer default 2000
) returns table (
    profile decide.profiles,
    path text,
    is_degraded boolean,
    anchor_ids uuid[],
    pending decide.pending_event[],
    identifiers jsonb
)
language plpgsql stable security definer rows 1
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set jit = off as $$
#variable_conflict use_column
declare
    from_xid xid8;
    from_day timestamptz;
    from_run bigint;
    is_published_today boolean;
    new_kind text;
    new_value text;
    wanted record;
    known record;
    start decide.live_node;
    nodes decide.live_node[];
    over_limit decide.live_node[] := '{}';
    facts decide.live_facts;
begin
    select
        watermark.to_xid,
        watermark.to_xid::text::xid8,
        least(
            watermark.pending_from,
            (
                select min(late.received_on)::timestamp at time zone 'UTC'
                from raw.late_landings as late
                where late.xid >= watermark.to_xid::text::xid8
            )
        ),
        {{ day_of('watermark.as_of') }} = {{ day_of('profile_now.as_of') }}
    into from_run, from_xid, from_day, is_published_today
    from decide.watermark;
    is_degraded := not with_pending;
    if not with_pending then
        from_xid := '18446744073709551615';
        is_published_today := true;
    end if;

    -- An id that was answered for somebody who is pending only can be told from the pending events.
    if
        wanted_profile_id is not null
        and with_pending
        and not exists (
            select from decide.identifiers where identifiers.profile_id = wanted_profile_id
        )
        and not exists (
            select from unify.profile_changes as changes where changes.old_profile_id = wanted_profile_id
        )
    then
        select
            carried.kind,
            carried.value
        into new_kind, new_value
        from (
            select landed.*
            from raw.events as landed
            where landed.xid >= from_xid and landed.received_at >= from_day
            order by landed.xid desc, landed.seq desc
            limit 100000
        ) as landed
        cross join lateral {{ carried_values('landed') }} as carried (kind, value)
        where {{ profile_id_of('carried.kind', 'carried.value') }} = wanted_profile_id
        limit 1;
    end if;

    for wanted in
        select
            given.kind,
            given.value
        from (
            select
                roots.identifier_type as kind,
                roots.identifier_value as value,
                0 as trust
            from decide.identifiers as roots
            where
                wanted_profile_id is not null
                and roots.profile_id = wanted_profile_id
                and roots.identifier_key = roots.root_key
            union all
            select
                roots.identifier_type as kind,
                roots.identifier_value as value,
                -successors.run as trust
            from (
                with recursive followed as (
                    select
                        changes.profile_id,
                        changes.run
                    from unify.profile_changes as changes
                    where changes.old_profile_id = wanted_profile_id and changes.run <= from_run
                    union
                    select
                        changes.profile_id,
                        changes.run
                    from followed
                    inner join unify.profile_changes as changes
                        on followed.profile_id = changes.old_profile_id
                    where changes.run > followed.run and changes.run <= from_run
                )

                select * from followed
            ) as successors
            inner join decide.identifiers as roots
                on
                    successors.profile_id = roots.profile_id
                    and roots.identifier_key = roots.root_key
            where
                wanted_profile_id is not null
                and not exists (
                    select from decide.profiles as standing where standing.profile_id = wanted_profile_id
                )
            union all
            select
                new_kind as kind,
                new_value as value,
                0 as trust
            where new_kind is not null
            {%- for identifier in carried_identifiers() %}
            union all
            select
                rules.identifier_type as kind,
                wanted_{{ identifier.type }} as value,
                rules.priority as trust
            from decide.identifier_rules as rules
            where
                wanted_{{ identifier.type }} is not null
                and rules.identifier_type = '{{ identifier.type }}'
            {%- endfor %}
        ) as given
        order by given.trust
    loop
        select identifiers.* into known
        from decide.identifiers
        where
            identifiers.identifier_key = decide.key_of(wanted.kind, wanted.value)
            and identifiers.identifier_value = wanted.value;
        continue when known.is_blocked;
        path := 'walk';
        if known.is_linking then
            if {{ nothing_is_pending('known.root_key') }} then
                path := 'batch';
                if is_published_today then
                    select profiles.* into profile
                    from decide.profiles
                    where profiles.profile_id = known.profile_id;
                    continue when profile.profile_id is null;
                    return next;
                    return;
                end if;
            end if;
            nodes := decide.live_members(known.root_key, from_xid, from_day, max_nodes);
            if path = 'batch' or (
                cardinality(nodes) <= max_nodes and decide.is_unchanged(nodes, known.root_key)
            ) then
                path := 'same';
            end if;
        end if;
        if path = 'walk' then
            start := decide.live_node(wanted.kind, wanted.value, from_xid, from_day);
            continue when start.identifier_key is null;
            if start.is_over_limit then
                over_limit := over_limit || start;
                continue;
            end if;
            nodes := decide.live_nodes(start, from_xid, from_day, max_nodes);
        end if;
        facts := decide.live_facts(nodes, from_xid, from_day);
        continue when facts.anchor_ids is null and facts.pending is null;
        is_degraded := is_degraded or cardinality(nodes) > max_nodes;
        profile := decide.live_profile(facts, as_of);
        anchor_ids := coalesce(facts.anchor_ids, '{}');
        pending := facts.pending;
        identifiers := {{ listed_nodes('facts.nodes') }};
        return next;
        return;
    end loop;

    -- What is over its limit names a profile only when events are left that carry nothing better.
    foreach start in array over_limit loop
        facts := decide.live_facts(array[start], from_xid, from_day);
        continue when facts.anchor_ids is null and facts.pending is null;
        profile := decide.live_profile(facts, as_of);
        anchor_ids := coalesce(facts.anchor_ids, '{}');
        pending := facts.pending;
        identifiers := {{ listed_nodes('facts.nodes') }};
        return next;
        return;
    end loop;
end $$
{% endmacro %}


{# Nodes as JSON, in the order that a reader expects. #}
{% macro listed_nodes(nodes) -%}
    (
            select
                jsonb_agg(
                    jsonb_build_object(
                        'identifier_type', node.identifier_type,
                        'identifier_value', node.identifier_value,
                        'first_seen_at', least(
                            (
                                select known.first_seen_at
                                from decide.identifiers as known
                                where known.identifier_key = node.identifier_key
                            ),
                            (select min(landed.occurred_at) from unnest(node.pending) as landed)
                        )
                    )
                    order by node.identifier_type, node.identifier_value
                )
            from unnest({{ nodes }}) as node
        )
{%- endmacro %}


{# Whether no pending row, duplicates included, carries an identifier of a component. #}
{% macro nothing_is_pending(root_key) -%}
    not exists (
                select
                from decide.identifiers as members
                cross join lateral (
                    {%- for identifier in carried_identifiers() + aliased_identifiers() %}
                    select
                    from raw.events as landed
                    where
                        members.identifier_type = '{{ identifier.type }}'
                        and landed.{{ identifier.column }} = members.identifier_value
                        and landed.xid >= from_xid
                        and landed.received_at >= from_day
                    {{ "union all" if not loop.last }}
                    {%- endfor %}
                ) as landed
                where members.root_key = {{ root_key }}
            )
{%- endmacro %}


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
        cross join lateral {{ carried_values('pending') }} as carried (kind, value)
        where
            pending.previous_id is not null
            or (
                carried.value is not null
                and not exists (
                    select
                    from decide.identifiers as known
                    where
                        known.identifier_key = decide.key_of(carried.kind, carried.value)
                        and known.identifier_value = carried.value
                        and (
                            known.is_over_limit
                            or known.is_blocked
                            or (
                                known.root_key = is_unchanged.root_key
                                and (
                                    carried.kind = 'user_id'
                                    or pending.user_id is null
                                    or exists (
                                        select
                                        from decide.links
                                        where
                                            links.node_a = least(
                                                known.identifier_key,
                                                decide.key_of('user_id', pending.user_id)
                                            )
                                            and links.node_b = greatest(
                                                known.identifier_key,
                                                decide.key_of('user_id', pending.user_id)
                                            )
                                            and links.kind = 'carried'
                                    )
                                )
                            )
                        )
                )
            )
    );
end $$
{% endmacro %}
