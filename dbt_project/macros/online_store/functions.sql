{#
    The functions that answer for one person now: the online store, corrected by what has landed since
    the watermark. A caller sees one snapshot, so an event counts once, in the store or as pending.

    profile_now.sql   the function that readers call, and the one for when something has landed
    pending.sql       one identifier as of now, with the pending events that name it
    component.sql     the identifiers of one person, and the anchors and events that these own
    live_profile.sql  attributes from facts

    plpgsql but for profile_now, which a caller's plan takes in: a function in SQL for which that is not
    possible is planned anew in each statement.
#}
{% macro publish_functions() %}
    {% set definitions = [
        live_types_sql(), key_of_sql(), is_blocked_sql(), live_node_sql(), live_nodes_sql(),
        live_members_sql(), is_unchanged_sql(), live_facts_sql(), facts_as_stored_sql(), live_profile_sql(),
        pending_since_day_sql(), is_nothing_pending_since_day_sql(), named_by_id_sql(), named_lately_sql(),
        listed_nodes_sql(),
    ] %}
    {% set digest = local_md5(definitions | join('\n')) %}
    {% set known = run_query("select obj_description(to_regtype('decide.live_node'), 'pg_type')").rows[0][0] %}
    {% if known != digest %}
        {% do run_query('drop type if exists decide.pending_event, decide.live_node, decide.live_facts cascade') %}
        {% for definition in definitions %}{% do run_query(definition) %}{% endfor %}
        {% do run_query("comment on type decide.live_node is '" ~ digest ~ "'") %}
    {% endif %}
    {# These name the day from which on something can be pending, so they are others every day. #}
    {% set days = pending_days() %}
    {% set daily = [
        pending_of_sql(days), is_nothing_pending_sql(days), profile_with_pending_sql(days), profile_now_sql(),
    ] %}
    {% set daily_digest = local_md5(daily | join('\n')) %}
    {% set standing = run_query(
        "select obj_description(oid, 'pg_proc') from pg_proc"
        ~ " where proname = 'profile_now' and pronamespace = 'decide'::regnamespace"
    ).rows %}
    {% if not standing or standing[0][0] != daily_digest %}
        {% for definition in daily %}{% do run_query(definition) %}{% endfor %}
        {% do run_query("comment on function decide.profile_now is '" ~ daily_digest ~ "'") %}
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


{# Whether an event carries an identifier, as opposed to being found by an alias call. #}
{% macro carries(event, kind, value) %}
    {%- set sides = [] -%}
    {%- for identifier in carried_identifiers() -%}
        {%- do sides.append("when '" ~ identifier.type ~ "' then " ~ event ~ '.' ~ identifier.column) -%}
    {%- endfor -%}
    case {{ kind }} {{ sides | join(' ') }} end = {{ value }}
{%- endmacro %}


{# The identifiers that an event carries, as rows (kind, value) or (kind, value, key). #}
{% macro carried_values(event, with_keys=false) %}
    {%- set rows = [] -%}
    {%- for identifier in carried_identifiers() -%}
        {%- set value = event ~ '.' ~ identifier.column -%}
        {%- set key = ', ' ~ identifier_key(identifier.type, value) if with_keys else '' -%}
        {%- do rows.append("('" ~ identifier.type ~ "', " ~ value ~ key ~ ')') -%}
    {%- endfor -%}
    (values {{ rows | join(', ') }})
{%- endmacro %}
