-- One row: the batch now answers for everything that landed before to_xid.
-- Built last of all, so that nobody reads it before every public table stands.
-- depends_on: {{ ref('identifiers') }}
-- depends_on: {{ ref('profiles') }}
-- depends_on: {{ ref('events') }}
-- depends_on: {{ ref('sessions') }}
-- depends_on: {{ ref('profile_changes') }}
-- depends_on: {{ ref('daily_intake') }}
-- depends_on: {{ ref('audience_catalog') }}
-- depends_on: {{ ref('audience_members') }}
select
    to_xid,
    as_of,
    system_identifier,
    rules_digest,
    identity_rules_digest
from {{ ref('refresh_window') }}
