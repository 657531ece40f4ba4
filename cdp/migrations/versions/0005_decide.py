"""Decide: what the live overlay needs of raw, access tokens, and more about each decision."""

from alembic import op

revision = "0005"
down_revision = "0004"

OVERLAY = """
-- An alias call is found from the id that it joins.
create index events_previous_id on raw.events (previous_id, xid) where previous_id is not null;

-- One row per transaction and day of receipt that it landed late for: replayed or imported rows.
-- Readers of what is pending look at the partitions of today and yesterday, and at these.
create table raw.late_landings (
    xid xid8 not null default pg_current_xact_id(),
    received_on date not null,
    primary key (xid, received_on)
);
comment on table raw.late_landings is
    'Days of receipt (UTC) of events that landed more than a day after receipt, by transaction.';

create function raw.note_late_landing() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into raw.late_landings (received_on) values ((new.received_at at time zone 'UTC')::date)
    on conflict do nothing;
    return null;
end $$;
create trigger events_late_landing after insert on raw.events
for each row when (new.received_at < clock_timestamp() - interval '1 day')
execute function raw.note_late_landing();
"""

TOKENS = """
-- One row per access token. The token itself is shown once and never stored.
create table raw.access_tokens (
    access_token_id bigint generated always as identity primary key,
    name text not null check (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    scopes text[] not null check (
        cardinality(scopes) > 0 and scopes <@ array['decide', 'read', 'manage']
    ),
    token_hash bytea not null unique,
    created_at timestamptz not null default now(),
    revoked_at timestamptz
);
comment on table raw.access_tokens is
    'Tokens of the read side, with what they allow; only the SHA-256 of a token is kept.';

-- The read side may look up tokens, not list them with their names and dates.
create function raw.active_access_tokens() returns table (
    access_token_id bigint, scopes text[], token_hash bytea
)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select tokens.access_token_id, tokens.scopes, tokens.token_hash
    from raw.access_tokens as tokens
    where tokens.revoked_at is null
$$;

-- Whether a token was ever made: a service whose last token was revoked is closed, not open.
create function raw.has_access_tokens() returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select exists (select from raw.access_tokens)
$$;
revoke all on function
    raw.note_late_landing(), raw.active_access_tokens(), raw.has_access_tokens()
from public;
grant execute on function raw.active_access_tokens(), raw.has_access_tokens() to cdp_serving;
"""

DECISIONS = """
alter table decide.decisions
    add column campaign text,
    add column is_degraded boolean not null default false;
comment on column decide.decisions.campaign is 'The campaign that was suggested beside it.';
comment on column decide.decisions.is_holdout is
    'Kept out: got the last rule''s experience, while rule_key says which rule had held.';
comment on column decide.decisions.is_degraded is
    'Decided on the batch alone, because the live part was too slow.';
"""


def upgrade() -> None:
    for script in (OVERLAY, TOKENS, DECISIONS):
        op.execute(script)
