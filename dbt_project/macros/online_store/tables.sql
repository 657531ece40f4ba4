{# The online store: what the schema `decide` holds for readers, beside the watermark. All of it is
   written in one transaction at the end of a run, so that a reader never sees half a run. #}

{# Names of the tables that a run reads, for the watermark to depend on. #}
{% macro online_sources() %}
    {{ return([
        'int_identifiers__judged', 'int_identifiers__resolved', 'int_identifiers__linked',
        'int_anchors__seen', 'int_anchors__resolved', 'int_anchors__touched',
        'int_orders__by_anchor', 'int_refunds__by_anchor', 'int_traits__by_anchor',
        'int_visits__by_anchor', 'int_events__anchored', 'stg_events',
        'int_profiles__touched', 'profiles',
        'identifier_types', 'blocked_identifiers', 'event_semantics', 'exchange_rates',
    ]) }}
{% endmacro %}


{#
    The tables, as a list of
        name     in the schema decide
        key      columns that name a row
        rows     SELECT of the rows that a reader should find; in a later run, of the keys in scope
        scope    column of a row, and SELECT of its values for which this run speaks; none for all rows
        touched  the same for a table of such values, with touched_from as in replace_touched
        since    column of a row that is only ever added, and from where on a later run adds
        indexes  columns of each further index
    Nothing here is special to PostgreSQL but where it is applied: with the same SELECTs over another
    warehouse the rows can be loaded from there.
#}
{% macro online_tables(window) %}
    {% set new_position = landing_position(window.from_xid, 0) %}
    {% set touched_anchors = 'select anchor_id from ' ~ ref('int_anchors__touched') %}
    {% set changed_anchors = touched_anchors ~ ' union distinct select anchor_id from '
        ~ ref('int_anchors__resolved') ~ ' where moved_in > ' ~ window.published_run %}
    {% set changed_identifiers = 'select identifier_key from ' ~ ref('int_identifiers__judged')
        ~ ' where changed_in > ' ~ window.published_run
        ~ ' union distinct select identifier_key from ' ~ ref('int_identifiers__resolved')
        ~ ' where moved_in > ' ~ window.published_run %}
    {% set changed_profiles = 'select profile_id from ' ~ ref('int_profiles__touched') %}
    {% set tables = [
        {
            'name': 'identifiers', 'key': ['identifier_key'],
            'rows': online_identifiers(), 'scope': ('identifier_key', changed_identifiers),
            'indexes': ['root_key', 'profile_id', 'named_profile_id'],
        },
        {
            'name': 'links', 'key': ['node_a', 'node_b', 'kind'],
            'rows': 'select node_a, node_b, kind, user_key, landing from '
                ~ ref('int_identifiers__linked'),
            'since': ('landing', new_position), 'indexes': ['node_b'],
        },
        {
            'name': 'anchors', 'key': ['anchor_id'],
            'rows': online_anchors(), 'scope': ('anchor_id', changed_anchors),
            'indexes': ['profile_id', 'user_id_key', 'email_key', 'phone_key', 'anonymous_id_key'],
        },
        {
            'name': 'orders', 'key': ['anchor_id', 'order_key'],
            'rows': 'select anchor_id, order_key, message_id, ordered_at, amount_usd from '
                ~ ref('int_orders__by_anchor'),
            'scope': ('anchor_id', touched_anchors), 'indexes': [],
        },
        {
            'name': 'refunds', 'key': ['message_id'],
            'rows': 'select anchor_id, order_key, message_id, amount_usd from '
                ~ ref('int_refunds__by_anchor'),
            'scope': ('anchor_id', touched_anchors), 'indexes': ['anchor_id'],
        },
        {
            'name': 'traits', 'key': ['anchor_id', 'trait_id'],
            'rows': 'select anchor_id, trait_id, trait_key, trait_value, occurred_at, message_id from '
                ~ ref('int_traits__by_anchor'),
            'scope': ('anchor_id', touched_anchors), 'indexes': [],
        },
        {
            'name': 'visits', 'key': ['anchor_id', 'visit_message_id'],
            'rows': 'select anchor_id, visit_message_id, started_at, ended_at, event_count,'
                ~ ' visit_signal_count from ' ~ ref('int_visits__by_anchor'),
            'touched': (ref('int_anchors__touched'), 'anchor_id', {'started_at': 'visits_change_from'}),
            'indexes': ['anchor_id, started_at'],
        },
        {
            'name': 'events', 'key': ['event_id'],
            'rows': online_events(), 'since': ('xid', window.from_xid),
            'indexes': ['anchor_id, occurred_at'],
        },
        {
            'name': 'profiles', 'key': ['profile_id'],
            'rows': 'select * from ' ~ ref('profiles'),
            'scope': ('profile_id', changed_profiles), 'indexes': [],
        },
        {
            'name': 'identifier_rules', 'key': ['identifier_type'],
            'rows': online_identifier_rules(), 'indexes': [],
        },
        {
            'name': 'meanings', 'key': ['event_type'],
            'rows': 'select event_type, meaning, amount_properties, order_id_properties from '
                ~ ref('event_semantics'),
            'indexes': [],
        },
        {
            'name': 'rates', 'key': ['currency', 'valid_from'],
            'rows': online_rates(), 'indexes': [],
        },
    ] %}
    {{ return(tables) }}
{% endmacro %}


{# One row per identifier ever seen: whether it links, how many users share it, whose it is, and the id
   of the profile that it names where it is the oldest of a component. #}
{% macro online_identifiers() %}
    select
        judged.identifier_key,
        judged.identifier_type,
        judged.identifier_value,
        judged.priority,
        judged.is_carried,
        judged.landing,
        judged.first_seen_at,
        judged.user_count,
        judged.is_blocked,
        judged.is_over_limit,
        judged.is_linking,
        resolved.root_key,
        resolved.profile_id,
        {{ profile_id_of('judged.identifier_type', 'judged.identifier_value') }} as named_profile_id
    from {{ ref('int_identifiers__judged') }} as judged
    inner join {{ ref('int_identifiers__resolved') }} as resolved
        on judged.identifier_key = resolved.identifier_key
{% endmacro %}


{# One row per anchor: its identifiers, when it was seen, and the profile that owns it. #}
{% macro online_anchors() %}
    select
        seen.anchor_id,
        {%- for identifier in carried_identifiers() %}
        seen.{{ identifier.type }}_key,
        {%- endfor %}
        seen.first_seen_at,
        seen.last_seen_at,
        seen.last_event_at,
        owners.profile_id
    from {{ ref('int_anchors__seen') }} as seen
    left join {{ ref('int_anchors__resolved') }} as owners on seen.anchor_id = owners.anchor_id
{% endmacro %}


{# One row per deduplicated event. #}
{% macro online_events() %}
    select
        events.event_id,
        events.message_id,
        events.xid,
        events.seq,
        anchored.anchor_id,
        events.type,
        events.event_type,
        events.user_id,
        events.anonymous_id,
        events.email,
        events.properties,
        events.context,
        events.occurred_at,
        events.received_at,
        events.source
    from {{ ref('stg_events') }} as events
    inner join {{ ref('int_events__anchored') }} as anchored on events.event_id = anchored.event_id
{% endmacro %}


{# One row per type of identifier: its order of trust, its limit, and what is never one. #}
{% macro online_identifier_rules() %}
    select
        types.identifier_type,
        types.priority,
        types.max_user_ids,
        blocked.pattern as blocked_pattern
    from {{ ref('identifier_types') }} as types
    left join (
        select
            blocked_types.identifier_type,
            {{ any_of_patterns('patterns.pattern') }} as pattern
        from {{ ref('identifier_types') }} as blocked_types
        inner join {{ ref('blocked_identifiers') }} as patterns
            on patterns.identifier_type in (blocked_types.identifier_type, '*')
        group by blocked_types.identifier_type
    ) as blocked on types.identifier_type = blocked.identifier_type
{% endmacro %}


{# One row per currency and day from which a rate holds. #}
{% macro online_rates() %}
    select
        currency,
        valid_from,
        lead(valid_from) over (partition by currency order by valid_from) as valid_until,
        rate
    from {{ ref('exchange_rates') }}
{% endmacro %}


{# The day from which on rows that are pending after this run were received, but for those in
   raw.late_landings, where an event is noted that lands more than ten minutes from its receipt. #}
{% macro pending_from() %}
    {{ return(adapter.dispatch('pending_from')()) }}
{% endmacro %}

{# A transaction that this run has not read has a higher id than all it has read, so it wrote after any
   of these had begun. #}
{% macro postgres__pending_from() %}
    {%- set read -%}
        select to_char(max(began_at) at time zone 'UTC' - interval '10 minutes', 'YYYY-MM-DD')
        from raw.landing_transactions
        where xid < '{{ run_window().to_xid }}'
    {%- endset -%}
    {{ return((execute and run_query(read).rows[0][0] or the_day_before()) ~ 'T00:00:00Z') }}
{% endmacro %}

{% macro bigquery__pending_from() %}
    {{ return(the_day_before() ~ 'T00:00:00Z') }}
{% endmacro %}

{% macro the_day_before() %}
    {{ return((run_started_at - modules.datetime.timedelta(days=1)).strftime('%Y-%m-%d')) }}
{% endmacro %}
