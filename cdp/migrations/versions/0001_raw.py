"""The raw schema: what ingest lands, kept as it came, and the two roles of the services."""

from alembic import op

revision = "0001"
down_revision = None

ROLES = """
do $$ begin
    create role cdp_ingest login;
exception when duplicate_object or unique_violation then null;
end $$;
do $$ begin
    create role cdp_serving login;
exception when duplicate_object or unique_violation then null;
end $$;
-- A service without a login of its own connects as the owner and switches to its role.
grant cdp_ingest, cdp_serving to current_user;
"""

EVENTS = """
create schema raw;
create sequence raw.events_seq cache 100;

-- One row per event as it came, retries included. (xid, seq) is the landing order: a run takes the
-- rows whose transaction had ended when it began, so one that commits late is never skipped.
create table raw.events (
    xid xid8 not null default pg_current_xact_id(),
    seq bigint not null default nextval('raw.events_seq'),
    message_id text not null,
    type text not null,
    event text,
    user_id text,
    anonymous_id text,
    email text,
    phone text,
    previous_id text,
    occurred_at timestamptz not null,
    original_at timestamptz,
    sent_at timestamptz,
    received_at timestamptz not null,
    source text not null,
    payload jsonb not null
) partition by range (received_at);

comment on table raw.events is
    'One row per event as it came, retries included; partitioned by day of receipt (UTC).';
comment on column raw.events.xid is
    'Landing transaction: the watermark of a run is a transaction id.';
comment on column raw.events.seq is 'Order of landing within the transaction.';
comment on column raw.events.type is 'identify, track, page, screen, group or alias.';
comment on column raw.events.event is 'Name of a track event, as sent.';
comment on column raw.events.email is 'Trimmed and lower-cased; the payload keeps what was sent.';
comment on column raw.events.phone is 'E.164 where it parses; the payload keeps what was sent.';
comment on column raw.events.previous_id is 'The other id of an alias call.';
comment on column raw.events.occurred_at is
    'When it happened: the device''s time, corrected for a wrong clock, never long after receipt.';
comment on column raw.events.original_at is 'When the device says it happened, uncorrected.';
comment on column raw.events.sent_at is 'When the device says it sent the request.';
comment on column raw.events.received_at is 'When the service received the request.';
comment on column raw.events.source is 'Name of the source whose write key was used.';

create index events_landing on raw.events (xid, seq);
create index events_message_id on raw.events (message_id);
create index events_user_id on raw.events (user_id, xid) where user_id is not null;
create index events_anonymous_id on raw.events (anonymous_id, xid) where anonymous_id is not null;
create index events_email on raw.events (email, xid) where email is not null;
create index events_phone on raw.events (phone, xid) where phone is not null;

-- Attached, not created in place: that would wait for every reader of raw.events, and every insert
-- would wait behind it.
create function raw.ensure_partition(day date) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    partition_name text := 'events_' || to_char(day, 'YYYYMMDD');
    starts_at text := day::text || ' 00:00:00+00';
    ends_at text := (day + 1)::text || ' 00:00:00+00';
begin
    perform pg_advisory_xact_lock(hashtext('raw.ensure_partition'));
    if to_regclass(format('raw.%I', partition_name)) is not null then
        return false;
    end if;
    execute format(
        'create table raw.%I (like raw.events including all, '
        'check (received_at >= %L::timestamptz and received_at < %L::timestamptz))',
        partition_name, starts_at, ends_at
    );
    execute format(
        'alter table raw.events attach partition raw.%I for values from (%L) to (%L)',
        partition_name, starts_at, ends_at
    );
    return true;
end $$;

-- Ingest calls this at its start and before each new day. It owns no table, so it could not create
-- one itself.
create function raw.ensure_partitions(days_ahead integer default 3) returns integer
language sql security definer set search_path = pg_catalog, pg_temp as $$
    select
        count(*) filter (
            where raw.ensure_partition((now() at time zone 'UTC')::date + offset_days)
        )::integer
    from generate_series(-1, least(days_ahead, 31)) as offset_days
$$;

select raw.ensure_partitions();
"""

REJECTED = """
-- One row per event or request that could not be accepted, kept to be replayed after a fix.
create table raw.rejected_events (
    rejected_id bigint generated always as identity primary key,
    xid xid8 not null default pg_current_xact_id(),
    received_at timestamptz not null,
    source text not null,
    path text not null,
    code text not null,
    message text not null,
    message_id text,
    batch_index integer,
    body text not null,
    body_encoding text not null check (body_encoding in ('utf-8', 'base64')),
    replayed_at timestamptz
);
comment on table raw.rejected_events is
    'What could not be accepted, with the reason; `cdp replay-rejected` sends it again.';
comment on column raw.rejected_events.batch_index is
    'Place in its batch; null where the body is the whole request.';
create index rejected_events_received_at on raw.rejected_events (received_at);

-- One row per commit and source: what arrived and what became of it, in the same transaction.
create table raw.landings (
    xid xid8 not null default pg_current_xact_id(),
    received_on date not null,
    source text not null,
    received_count integer not null,
    accepted_count integer not null,
    rejected_count integer not null,
    check (received_count = accepted_count + rejected_count)
);
comment on table raw.landings is
    'Accounting: received = accepted + rejected, per commit and source.';
create index landings_received_on on raw.landings (received_on);
create index landings_xid on raw.landings (xid);
"""

KEYS = """
-- One row per write key. The key itself is shown once and never stored.
create table raw.write_keys (
    write_key_id bigint generated always as identity primary key,
    source text not null check (source ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    key_hash bytea not null unique,
    created_at timestamptz not null default now(),
    revoked_at timestamptz
);
comment on table raw.write_keys is 'Write keys by source; only the SHA-256 of a key is kept.';

-- Ingest may look up keys and nothing else in raw.
create function raw.active_write_keys() returns table (source text, key_hash bytea)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select write_keys.source, write_keys.key_hash
    from raw.write_keys
    where write_keys.revoked_at is null
$$;

-- Whether a key was ever made: a service whose last key was revoked is closed, not open.
create function raw.has_write_keys() returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select exists (select from raw.write_keys)
$$;
"""

GRANTS = """
revoke all on function
    raw.ensure_partition(date), raw.ensure_partitions(integer), raw.active_write_keys(),
    raw.has_write_keys()
from public;
grant usage on schema raw to cdp_ingest;
grant insert on raw.events, raw.rejected_events, raw.landings to cdp_ingest;
grant usage on sequence raw.events_seq to cdp_ingest;
grant execute on function
    raw.ensure_partitions(integer), raw.active_write_keys(), raw.has_write_keys()
to cdp_ingest;

-- The schemas of the later stages: the read role's rights must not depend on who runs dbt first.
create schema if not exists collect;
create schema if not exists unify;
create schema if not exists segment;
create schema if not exists activate;
create schema if not exists decide;
grant usage on schema collect, unify, segment, activate, decide to cdp_serving;
alter default privileges in schema collect grant select on tables to cdp_serving;
alter default privileges in schema unify grant select on tables to cdp_serving;
alter default privileges in schema segment grant select on tables to cdp_serving;
alter default privileges in schema activate grant select on tables to cdp_serving;
alter default privileges in schema decide grant select on tables to cdp_serving;
"""


def upgrade() -> None:
    for script in (ROLES, EVENTS, REJECTED, KEYS, GRANTS):
        op.execute(script)
