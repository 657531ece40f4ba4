{# What has landed since the watermark, by the identifiers that it names. #}

{# Committed events at or after the watermark, the first of each message_id, that carry an identifier.
   from_day, as first_pending_day has it, bounds which partitions can hold them. #}
{% macro pending_of_sql(days) %}
create or replace function decide.pending_of(
    kind text, wanted text, from_xid xid8, from_day timestamptz
) returns setof decide.pending_event
language plpgsql stable rows 3 as $$
begin
    {{ by_days_of_receipt(
        pending_by_kind, days,
        'return query select * from decide.pending_since_day(kind, wanted, from_xid, from_day);'
    ) }}
end $$
{% endmacro %}

{% macro pending_since_day_sql() %}
create or replace function decide.pending_since_day(
    kind text, wanted text, from_xid xid8, from_day timestamptz
) returns setof decide.pending_event
language plpgsql stable rows 3 set plan_cache_mode = auto as $$
begin
    {{ pending_by_kind(['from_day']) }}
end $$
{% endmacro %}


{% macro pending_by_kind(received) %}
    {%- for identifier in carried_identifiers() %}
        if kind = '{{ identifier.type }}' then
            return query {{ pending_sql('landed.' ~ identifier.column ~ ' = wanted', received) }};
            {%- for aliased in aliased_identifiers() if aliased.type == identifier.type %}
            return query {{ pending_sql(
                'landed.' ~ aliased.column ~ " = wanted and landed.type = 'alias' and landed.user_id is not null"
                ~ ' and landed.' ~ identifier.column ~ ' is distinct from wanted',
                received
            ) }};
            {%- endfor %}
        end if;
    {%- endfor %}
{% endmacro %}


{# Whether no pending row, duplicates included, names an identifier of a component. #}
{% macro is_nothing_pending_sql(days) %}
create or replace function decide.is_nothing_pending(
    wanted_root_key bigint, from_xid xid8, from_day timestamptz
) returns boolean
language plpgsql stable as $$
begin
    {{ by_days_of_receipt(
        return_nothing_pending, days,
        'return decide.is_nothing_pending_since_day(wanted_root_key, from_xid, from_day);'
    ) }}
end $$
{% endmacro %}

{% macro is_nothing_pending_since_day_sql() %}
create or replace function decide.is_nothing_pending_since_day(
    wanted_root_key bigint, from_xid xid8, from_day timestamptz
) returns boolean
language plpgsql stable set plan_cache_mode = auto as $$
begin
    {{ return_nothing_pending(['from_day']) }}
end $$
{% endmacro %}


{% macro return_nothing_pending(received) -%}
    {%- set named = {} -%}
    {%- for identifier in carried_identifiers() + aliased_identifiers() -%}
        {%- do named.setdefault(identifier.column, []).append("'" ~ identifier.type ~ "'") -%}
    {%- endfor -%}
    return not exists (
            select
            from decide.identifiers as members
            cross join lateral (
                {%- for column, kinds in named.items() %}
                select
                from raw.events as landed
                where
                    members.identifier_type in ({{ kinds | join(', ') }})
                    and landed.{{ column }} = members.identifier_value
                    and landed.xid >= from_xid
                    and {{ is_received('landed', received) }}
                {{ "union all" if not loop.last }}
                {%- endfor %}
            ) as landed
            where members.root_key = wanted_root_key
        );
{%- endmacro %}


{# The beginnings of days, as constants: `first`, from which on something can be pending that did not land
   late, the `next` one, and `late`, from which on most has been received that did. #}
{% macro pending_days() %}
    {% set first = modules.datetime.datetime.fromisoformat(pending_from().rstrip('Z')) %}
    {% set days = {} %}
    {% for name, offset in {'late': -3, 'first': 0, 'next': 1}.items() %}
        {% set day = first + modules.datetime.timedelta(days=offset) %}
        {% do days.update({name: timestamp_literal(day.isoformat() ~ 'Z')}) %}
    {% endfor %}
    {{ return(days) }}
{% endmacro %}


{# Statements over what is pending, made by a macro that is given when a row was received, as is_received
   takes it: a constant, so that a plan has few partitions in it. That is one as long as nothing landed
   late, and from shortly before midnight until a refresh has read something of the next day all from that
   day on. A plan for any day would have every partition ever made in it, lock them all, and leave most
   out again each time: for what is older still stands since_day, a statement that PostgreSQL plans for its
   day each time unless nearly all days are meant, as after a restore. #}
{% macro by_days_of_receipt(statements, days, since_day) -%}
    if from_day >= {{ days.first }} and statement_timestamp() + interval '20 minutes' < {{ days.next }} then
        {{ statements([days.first, days.next]) }}
    elsif from_day >= {{ days.first }} then
        {{ statements([days.first]) }}
    elsif from_day >= {{ days.late }} then
        {{ statements([days.late]) }}
    else
        {{ since_day }}
    end if;
{%- endmacro %}


{# Whether a row was received from an instant on, and before another one where that is given. #}
{% macro is_received(row, received) -%}
    {{ row }}.received_at >= {{ received[0] }}
    {%- if received | length > 1 %} and {{ row }}.received_at < {{ received[1] }}{% endif %}
{%- endmacro %}


{% macro pending_sql(condition, received) %}
        select
            {{ md5_id('landed.message_id') }},
            landed.message_id,
            {{ landing_number('landed.xid') }},
            landed.seq,
            landed.type,
            coalesce(landed.event, landed.type),
            nullif(trim(landed.user_id), ''),
            nullif(trim(landed.email), ''),
            nullif(trim(landed.phone), ''),
            nullif(trim(landed.anonymous_id), ''),
            case
                when landed.type = 'alias' and nullif(trim(landed.user_id), '') is not null
                    then nullif(trim(landed.previous_id), '')
            end,
            {{ json_object_of('landed.payload', 'properties') }},
            {{ json_object_of('landed.payload', 'context') }},
            {{ json_object_of('landed.payload', 'traits') }},
            landed.occurred_at,
            landed.received_at,
            landed.source
        from raw.events as landed
        where
            {{ condition }}
            and landed.xid >= from_xid
            and {{ is_received('landed', received) }}
            and not exists (
                select
                from decide.events as known
                where known.event_id = {{ md5_id('landed.message_id') }}
            )
            and not exists (
                select
                from raw.events as earlier
                where
                    earlier.message_id = landed.message_id
                    and {{ is_received('earlier', received) }}
                    and earlier.xid >= from_xid
                    and (earlier.xid, earlier.seq) < (landed.xid, landed.seq)
            )
{% endmacro %}


{# One identifier as of now: whether it is over its limit, counting users that are pending; null when it
   is blocked or was never seen. #}
{% macro live_node_sql() %}
create or replace function decide.live_node(
    kind text, wanted text, from_xid xid8, from_day timestamptz
) returns decide.live_node
language plpgsql stable as $$
declare
    node decide.live_node;
    known record;
    new_user_count bigint;
    user_limit bigint;
begin
    node.identifier_key := decide.key_of(kind, wanted);
    select identifiers.* into known
    from decide.identifiers
    where identifiers.identifier_key = node.identifier_key and identifiers.identifier_value = wanted;
    if known.is_blocked or (known.identifier_key is null and decide.is_blocked(kind, wanted)) then
        return null;
    end if;
    select array_agg(pending) into node.pending
    from decide.pending_of(kind, wanted, from_xid, from_day) as pending;
    if known.identifier_key is null and node.pending is null then
        return null;
    end if;
    node.identifier_type := kind;
    node.identifier_value := wanted;
    node.is_over_limit := coalesce(known.is_over_limit, false);
    node.is_carried := coalesce(known.is_carried, false) or exists (
        select
        from unnest(node.pending) as pending
        where {{ carries('pending', 'kind', 'wanted') }}
    );
    node.landing := known.landing;
    if node.landing is null then
        select min({{ landing_position('pending.xid', 'pending.seq') }}) into node.landing
        from unnest(node.pending) as pending;
    end if;
    select rules.priority, rules.max_user_ids into node.priority, user_limit
    from decide.identifier_rules as rules
    where rules.identifier_type = kind;
    if user_limit is null or node.is_over_limit or node.pending is null or kind = 'user_id' then
        return node;
    end if;
    with users as materialized (
        select distinct pending.user_id
        from unnest(node.pending) as pending
        where pending.user_id is not null and {{ carries('pending', 'kind', 'wanted') }}
    )

    select count(*) into new_user_count
    from users
    where
        not decide.is_blocked('user_id', users.user_id)
        and not {{ was_seen_with('node.identifier_key', 'users.user_id') }};
    node.is_over_limit := coalesce(known.user_count, 0) + new_user_count > user_limit;
    return node;
end $$
{% endmacro %}


{# Whether the store has an event that carried an identifier, given by its key, together with a user. #}
{% macro was_seen_with(key, user_id) -%}
    {%- set user_key = identifier_key('user_id', user_id) -%}
    exists (
                select
                from decide.links
                where
                    links.node_a = least({{ key }}, {{ user_key }})
                    and links.node_b = greatest({{ key }}, {{ user_key }})
                    and links.kind = 'carried'
            )
{%- endmacro %}


{# The day of receipt from which on something can be pending, beside `decide.watermark`; before
   pending_from whenever something landed late. #}
{% macro first_pending_day() -%}
    coalesce(
            (
                select
                    least(
                        min(late.received_on)::timestamp at time zone 'UTC',
                        watermark.pending_from - interval '1 day'
                    )
                from raw.late_landings as late
                where late.xid >= watermark.to_xid::text::xid8
                having count(*) > 0
            ),
            watermark.pending_from
        )
{%- endmacro %}


{# The identifier among those of the newest 100,000 pending events that a profile id is made of. #}
{% macro named_by_id_sql() %}
create or replace function decide.named_by_id(
    wanted_profile_id uuid, from_xid xid8, from_day timestamptz
) returns table (identifier_type text, identifier_value text)
language plpgsql stable rows 1 set plan_cache_mode = force_custom_plan as $$
begin
    return query
    select
        carried.kind,
        carried.value
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
end $$
{% endmacro %}


{#
    Whom the newest 10,000 pending events name, in the order of profile ids: what the lists of profiles
    have beside the store. With newcomers_only, identifiers that the store gives to nobody, each with the
    id of a profile that begins with it; else also profiles that stand, without an identifier. For
    profile_now to say of each if that is a profile: so are those whose component comes apart, since an
    identifier goes over its limit. A page costs the same however many are pending.
#}
{% macro named_lately_sql() %}
create or replace function decide.named_lately(
    after_profile_id uuid, most integer, newcomers_only boolean
) returns table (profile_id uuid, identifier_type text, identifier_value text)
language plpgsql stable security definer rows 10
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
set max_parallel_workers_per_gather = 0 set jit = off as $$
#variable_conflict use_column
declare
    from_xid xid8;
    from_day timestamptz;
begin
    select
        watermark.to_xid::text::xid8,
        {{ first_pending_day() }}
    into from_xid, from_day
    from decide.watermark;
    return query
    with newest as materialized (
        select
            {%- for identifier in carried_identifiers() %}
            nullif(trim(landed.{{ identifier.column }}), '') as {{ identifier.column }}
            {{- "," if not loop.last }}
            {%- endfor %}
        from raw.events as landed
        where landed.xid >= from_xid and landed.received_at >= from_day
        order by landed.xid desc, landed.seq desc
        limit 10000
    ),

    -- Components that an identifier leaves: more users than its limit share it now.
    parted as (
        select distinct known.root_key
        from newest
        cross join lateral {{ carried_values('newest') }} as carried (kind, value)
        inner join decide.identifiers as known
            on
                known.identifier_key = decide.key_of(carried.kind, carried.value)
                and known.identifier_value = carried.value
        inner join decide.identifier_rules as rules on rules.identifier_type = carried.kind
        where
            newest.user_id is not null
            and carried.kind <> 'user_id'
            and known.is_linking
            and not {{ was_seen_with('known.identifier_key', 'newest.user_id') }}
        group by known.root_key, known.identifier_key, known.user_count, rules.max_user_ids
        having known.user_count + count(distinct newest.user_id) > rules.max_user_ids
    )

    select distinct on (named.profile_id) named.*
    from (
        select
            coalesce(known.profile_id, {{ profile_id_of('carried.kind', 'carried.value') }}) as profile_id,
            case when known.profile_id is null then carried.kind end as kind,
            case when known.profile_id is null then carried.value end as value
        from newest
        cross join lateral {{ carried_values('newest') }} as carried (kind, value)
        left join decide.identifiers as known
            on known.identifier_key = decide.key_of(carried.kind, carried.value)
        where carried.value is not null and not (newcomers_only and known.profile_id is not null)
        union all
        select
            members.named_profile_id,
            members.identifier_type,
            members.identifier_value
        from parted
        inner join decide.identifiers as members on parted.root_key = members.root_key
        where
            not exists (
                select from decide.profiles as standing
                where standing.profile_id = members.named_profile_id
            )
    ) as named
    where after_profile_id is null or named.profile_id > after_profile_id
    order by named.profile_id
    limit most;
end $$
{% endmacro %}
