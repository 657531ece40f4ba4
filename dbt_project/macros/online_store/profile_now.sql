{# The function that readers call, and what it calls once something has landed. #}

{#
    One row: the profile of whoever the strongest of these identifiers names, as a full refresh at as_of
    would have it; none when nobody is known by them.

        path         batch (nothing is pending), same (pending, but the identifiers stand), walk
        is_degraded  not exact: more identifiers than can be walked, or asked not to look at what is pending
        anchor_ids   null on the path batch, where the store's anchors of the profile are meant
        pending      the person's events that are not in the store yet
        nodes        identifiers; null on the path batch, where the store's are meant

    A caller's statement takes this function into its own plan: no `security definer` and no `set`, which
    would forbid that. While nothing has landed since the refresh no other function is called.
#}
{% macro profile_now_sql() %}
create or replace function decide.profile_now(
    {{ profile_now_parameters() }},
    with_pending boolean default true,
    max_nodes integer default 2000
) returns {{ profile_now_columns() }}
language sql stable rows 1 as $$
with stored as materialized (
    select
        known.root_key,
        profiles as profile,
        watermark.to_xid::text::xid8 as from_xid,
        watermark.pending_from,
        watermark.to_xid::text::xid8 <= (
            select landed.xid
            from raw.landing_transactions as landed
            order by landed.xid desc
            limit 1
        ) as is_anything_pending
    from decide.watermark
    inner join decide.identifiers as known
        on
            known.identifier_key = case
                {%- for kind in trusted_kinds() %}
                when wanted_{{ kind }} is not null then {{ identifier_key(kind, 'wanted_' ~ kind) }}
                {%- endfor %}
            end
            and known.identifier_value = coalesce(
                {%- for kind in trusted_kinds() %}wanted_{{ kind }}{{ ", " if not loop.last }}{% endfor -%}
            )
    inner join decide.profiles on known.profile_id = profiles.profile_id
    where
        known.is_linking
        and with_pending
        and wanted_profile_id is null
        and {{ day_of('watermark.as_of') }} = {{ day_of('profile_now.as_of') }}
)

select
    stored.profile,
    'batch'::text as path,
    false as is_degraded,
    null::uuid[] as anchor_ids,
    null::decide.pending_event[] as pending,
    null::decide.live_node[] as nodes
from stored
where not stored.is_anything_pending
union all
select
    coalesce(corrected.profile, stored.profile) as profile,
    corrected.path,
    corrected.is_degraded,
    corrected.anchor_ids,
    corrected.pending,
    corrected.nodes
from (select) as always
left join stored on true
cross join lateral decide.profile_with_pending(
    wanted_profile_id, wanted_user_id, wanted_email, wanted_phone, wanted_anonymous_id,
    as_of, with_pending, max_nodes, stored.root_key, stored.from_xid, stored.pending_from
) as corrected
where stored.is_anything_pending is distinct from false
$$
{% endmacro %}


{% macro profile_now_parameters() -%}
    wanted_profile_id uuid,
    wanted_user_id text,
    wanted_email text,
    wanted_phone text,
    wanted_anonymous_id text,
    as_of timestamptz
{%- endmacro %}

{% macro profile_now_columns() -%}
table (
    profile decide.profiles,
    path text,
    is_degraded boolean,
    anchor_ids uuid[],
    pending decide.pending_event[],
    nodes decide.live_node[]
)
{%- endmacro %}

{# As profile_now, whatever has landed; reads what its caller may not. The caller may know the stored profile
   as of today, of the strongest identifier: then it gives the root of its component, with what the watermark
   says of pending events, and when that profile is the answer it is not repeated here: null. #}
{% macro profile_with_pending_sql(days) %}
create or replace function decide.profile_with_pending(
    {{ profile_now_parameters() }},
    with_pending boolean,
    max_nodes integer,
    stored_root_key bigint,
    stored_from_xid xid8,
    stored_pending_from timestamptz
) returns {{ profile_now_columns() }}
language plpgsql stable security definer rows 1
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set max_parallel_workers_per_gather = 0 set jit = off as $$
#variable_conflict use_column
declare
    from_xid xid8;
    from_day timestamptz;
    published_run bigint;
    is_published_today boolean;
    kinds text[];
    named text[];
    known record;
    start decide.live_node;
    over_limit decide.live_node[] := '{}';
    facts decide.live_facts;
    stored_profile decide.profiles;
    busy_root bigint;
begin
    -- Most people have nothing pending: then the stored row is the answer. What landed late may be of any
    -- day, and first_pending_day says of which.
    if stored_root_key is not null and stored_pending_from >= {{ days.first }} then
        if
            not exists (select from raw.late_landings as late where late.xid >= stored_from_xid)
            and decide.is_nothing_pending(stored_root_key, stored_from_xid, stored_pending_from)
        then
            path := 'batch';
            is_degraded := false;
            return next;
            return;
        end if;
    end if;

    select
        watermark.run,
        watermark.to_xid::text::xid8,
        {{ first_pending_day() }},
        {{ day_of('watermark.as_of') }} = {{ day_of('profile_with_pending.as_of') }}
    into published_run, from_xid, from_day, is_published_today
    from decide.watermark;
    is_degraded := not with_pending;
    if not with_pending then
        from_xid := '18446744073709551615';
        from_day := 'infinity';
        is_published_today := true;
    elsif from_day >= {{ days.first }} then
        if wanted_profile_id is not null and is_published_today then
            select roots.root_key into busy_root
            from decide.identifiers as roots
            where
                roots.profile_id = wanted_profile_id
                and roots.identifier_key = roots.root_key
                and roots.is_linking;
            if busy_root is not null and decide.is_nothing_pending(busy_root, from_xid, from_day) then
                select profiles.* into profile
                from decide.profiles
                where profiles.profile_id = wanted_profile_id;
                if profile.profile_id is not null then
                    path := 'batch';
                    return next;
                    return;
                end if;
                busy_root := null;
            end if;
        else
            -- Nothing landed late, so it was something pending that kept the stored row from being it.
            busy_root := stored_root_key;
        end if;
    end if;

    if wanted_profile_id is not null then
        select
            array_agg(given.kind order by given.trust, given.run desc),
            array_agg(given.value order by given.trust, given.run desc)
        into kinds, named
        from (
            select
                roots.identifier_type as kind,
                roots.identifier_value as value,
                0 as trust,
                null::bigint as run
            from decide.identifiers as roots
            where roots.profile_id = wanted_profile_id and roots.identifier_key = roots.root_key
            union all
            select
                roots.identifier_type as kind,
                roots.identifier_value as value,
                2 as trust,
                successors.run
            from (
                with recursive followed as (
                    select
                        changes.profile_id,
                        changes.run
                    from unify.profile_changes as changes
                    where changes.old_profile_id = wanted_profile_id and changes.run <= published_run
                    union
                    select
                        changes.profile_id,
                        changes.run
                    from followed
                    inner join unify.profile_changes as changes
                        on followed.profile_id = changes.old_profile_id
                    where changes.run > followed.run and changes.run <= published_run
                )

                select * from followed
            ) as successors
            inner join decide.identifiers as roots
                on
                    successors.profile_id = roots.profile_id
                    and roots.identifier_key = roots.root_key
            where
                not exists (
                    select from decide.profiles as standing where standing.profile_id = wanted_profile_id
                )
            union all
            -- It is made of an identifier, so it leads to whom that belongs, before what became of it.
            select
                namesake.identifier_type as kind,
                namesake.identifier_value as value,
                1 as trust,
                null as run
            from decide.identifiers as namesake
            where
                namesake.named_profile_id = wanted_profile_id
                and namesake.profile_id is distinct from wanted_profile_id
        ) as given;
        -- An id that was answered for somebody who is pending only can be told from the pending events.
        if
            with_pending
            and kinds is null
            and not exists (
                select from unify.profile_changes as changes where changes.old_profile_id = wanted_profile_id
            )
        then
            select
                array[pending.identifier_type],
                array[pending.identifier_value]
            into kinds, named
            from decide.named_by_id(wanted_profile_id, from_xid, from_day) as pending;
        end if;
    end if;
    {%- for kind in trusted_kinds() %}
    if wanted_{{ kind }} is not null then
        kinds := kinds || '{{ kind }}'::text;
        named := named || wanted_{{ kind }};
    end if;
    {%- endfor %}

    for number in 1..coalesce(cardinality(kinds), 0) loop
        select identifiers.* into known
        from decide.identifiers
        where
            identifiers.identifier_key = decide.key_of(kinds[number], named[number])
            and identifiers.identifier_value = named[number];
        continue when known.is_blocked;
        path := 'walk';
        if known.is_linking then
            if known.root_key = busy_root then
                null;
            elsif decide.is_nothing_pending(known.root_key, from_xid, from_day) then
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
            start := decide.live_node(kinds[number], named[number], from_xid, from_day);
            continue when start.identifier_key is null;
            if start.is_over_limit then
                over_limit := over_limit || start;
                continue;
            end if;
            nodes := decide.live_nodes(start, from_xid, from_day, max_nodes);
        end if;
        if path = 'walk' then
            facts := decide.live_facts(nodes, from_xid, from_day);
        else
            facts := decide.facts_as_stored(nodes, known.profile_id);
        end if;
        continue when facts.anchor_ids is null and facts.pending is null;
        is_degraded := is_degraded or cardinality(nodes) > max_nodes;
        stored_profile := null;
        if path = 'same' and is_published_today then
            select profiles.* into stored_profile
            from decide.profiles
            where profiles.profile_id = known.profile_id;
        end if;
        profile := decide.live_profile(facts, as_of, stored_profile);
        anchor_ids := coalesce(facts.anchor_ids, '{}');
        pending := facts.pending;
        nodes := facts.nodes;
        return next;
        return;
    end loop;

    -- What is over its limit names a profile only when events are left that carry nothing better.
    foreach start in array over_limit loop
        facts := decide.live_facts(array[start], from_xid, from_day);
        continue when facts.anchor_ids is null and facts.pending is null;
        profile := decide.live_profile(facts, as_of, null);
        anchor_ids := coalesce(facts.anchor_ids, '{}');
        pending := facts.pending;
        nodes := facts.nodes;
        return next;
        return;
    end loop;
end $$
{% endmacro %}


{# Types of identifiers, the most trusted first: profile_now is written anew when that changes. #}
{% macro trusted_kinds() %}
    {% set rows = run_query(
        'select identifier_type from ' ~ ref('identifier_types') ~ ' order by priority, identifier_type'
    ).rows %}
    {{ return(rows | map(attribute=0) | list) }}
{% endmacro %}


{# Nodes as JSON, in the order that a reader expects; null for null. #}
{% macro listed_nodes_sql() %}
create or replace function decide.listed_nodes(nodes decide.live_node[]) returns jsonb
language plpgsql stable as $$
begin
    return (
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
        from unnest(nodes) as node
    );
end $$
{% endmacro %}
