-- One row: the batch and the online store answer for everything that landed before to_xid.
-- Built last of all; it is written together with the online store (macros/online_store), so that
-- readers see both or neither. Pending events were received from pending_from on, or landed late.
-- depends_on: {{ ref('identifiers') }}
-- depends_on: {{ ref('events') }}
-- depends_on: {{ ref('sessions') }}
-- depends_on: {{ ref('profile_changes') }}
-- depends_on: {{ ref('large_profiles') }}
-- depends_on: {{ ref('daily_intake') }}
-- depends_on: {{ ref('audience_catalog') }}
-- depends_on: {{ ref('audience_members') }}
{%- for source_name in online_sources() %}
-- depends_on: {{ ref(source_name) }}
{%- endfor %}
{{ config(materialized=watermark_materialization()) }}
select
    to_xid,
    run,
    as_of,
    system_identifier,
    rules_digest,
    identity_rules_digest,
    {{ timestamp_literal(pending_from()) }} as pending_from
from {{ ref('refresh_window') }}
