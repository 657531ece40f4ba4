{#
    The functions that answer for one person now: the online store, corrected by what has landed since
    the watermark. A caller sees one snapshot, so an event counts once, in the store or as pending.

    profile_now      the function that readers call
    live_node        one identifier as of now, with the pending events that carry it
    pending_of       pending events that carry an identifier, or join it by an alias call
    live_nodes       the identifiers of one person, walking from one to the next
    live_facts       the anchors and pending events that these own
    live_profile     attributes from facts (live_profile.sql)

    plpgsql throughout: a function in SQL that is not inlined is planned anew in each statement.
#}
{% macro publish_functions() %}
    {% set definitions = [
        live_types_sql(), key_of_sql(), is_blocked_sql(), pending_of_sql(), live_node_sql(),
        live_nodes_sql(), live_members_sql(), is_unchanged_sql(), live_facts_sql(), live_profile_sql(),
        profile_now_sql(),
    ] %}
    {% set digest = local_md5(definitions | join('\n')) %}
    {% set known = run_query("select obj_description(to_regtype('decide.live_node'), 'pg_type')").rows[0][0] %}
    {% if known != digest %}
        {% do run_query('drop type if exists decide.pending_event, decide.live_node, decide.live_facts cascade') %}
        {% for definition in definitions %}{% do run_query(definition) %}{% endfor %}
        {% do run_query("comment on type decide.live_node is '" ~ digest ~ "'") %}
    {% endif %}
{% endmacro %}


{% macro live_types_sql() %}
create type decide.pending_event as (
    event_id uuid,
    message_id text,
    xid bigint,
    seq bigint,
    type text,
    event_type text,
    user_id text,
    email text,
    phone text,
    anonymous_id text,
    previous_id text,
    properties jsonb,
    context jsonb,
    traits jsonb,
    occurred_at timestamptz,
    received_at timestamptz,
    source text
);
-- is_carried: an event was sent under it; else only an alias call names it.
-- landing: place in the order of landing of the first event that names it.
create type decide.live_node as (
    identifier_key bigint,
    identifier_type text,
    identifier_value text,
    priority bigint,
    is_over_limit boolean,
    is_carried boolean,
    landing numeric,
    pending decide.pending_event[]
);
create type decide.live_facts as (
    nodes decide.live_node[],
    anchor_ids uuid[],
    pending decide.pending_event[]
)
{% endmacro %}


{% macro key_of_sql() %}
create or replace function decide.key_of(kind text, value text) returns bigint
language plpgsql immutable parallel safe as $$
begin
    return case kind
        {%- for identifier in carried_identifiers() %}
        when '{{ identifier.type }}' then {{ identifier_key(identifier.type, 'value') }}
        {%- endfor %}
    end;
end $$
{% endmacro %}


{% macro is_blocked_sql() %}
create or replace function decide.is_blocked(kind text, value text) returns boolean
language plpgsql stable as $$
begin
    return exists (
        select
        from decide.identifier_rules as rules
        where rules.identifier_type = kind and {{ matches_whole('value', 'rules.blocked_pattern') }}
    );
end $$
{% endmacro %}


{# Committed events at or after the watermark, the first of each message_id, that carry an identifier.
   from_day bounds which partitions can hold them. #}
{% macro pending_of_sql() %}
create or replace function decide.pending_of(
    kind text, wanted text, from_xid xid8, from_day timestamptz
) returns setof decide.pending_event
language plpgsql stable rows 3 as $$
begin
    {%- for identifier in carried_identifiers() %}
    if kind = '{{ identifier.type }}' then
        return query {{ pending_sql('landed.' ~ identifier.column ~ ' = wanted') }};
        {%- for aliased in aliased_identifiers() if aliased.type == identifier.type %}
        return query {{ pending_sql(
            'landed.' ~ aliased.column ~ " = wanted and landed.type = 'alias' and landed.user_id is not null"
            ~ ' and landed.' ~ identifier.column ~ ' is distinct from wanted'
        ) }};
        {%- endfor %}
        return;
    end if;
    {%- endfor %}
end $$
{% endmacro %}


{% macro pending_sql(condition) %}
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
            and landed.received_at >= from_day
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
                    and earlier.received_at >= from_day
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
    select count(distinct pending.user_id) into new_user_count
    from unnest(node.pending) as pending
    where
        pending.user_id is not null
        and {{ carries('pending', 'kind', 'wanted') }}
        and not decide.is_blocked('user_id', pending.user_id)
        and not exists (
            select
            from decide.links
            where
                links.node_a = least(node.identifier_key, decide.key_of('user_id', pending.user_id))
                and links.node_b = greatest(node.identifier_key, decide.key_of('user_id', pending.user_id))
                and links.kind = 'carried'
        );
    node.is_over_limit := coalesce(known.user_count, 0) + new_user_count > user_limit;
    return node;
end $$
{% endmacro %}


{# Whether an event carries an identifier, as opposed to being found by an alias call. #}
{% macro carries(event, kind, value) %}
    {%- set sides = [] -%}
    {%- for identifier in carried_identifiers() -%}
        {%- do sides.append("when '" ~ identifier.type ~ "' then " ~ event ~ '.' ~ identifier.column) -%}
    {%- endfor -%}
    case {{ kind }} {{ sides | join(' ') }} end = {{ value }}
{%- endmacro %}


{# The identifiers that an event carries, as rows (kind, value). #}
{% macro carried_values(event) %}
    {%- set rows = [] -%}
    {%- for identifier in carried_identifiers() -%}
        {%- do rows.append("('" ~ identifier.type ~ "', " ~ event ~ '.' ~ identifier.column ~ ')') -%}
    {%- endfor -%}
    (values {{ rows | join(', ') }})
{%- endmacro %}
