"""Privacy: who asked to be erased, whose later events are dropped, and the accounting of both."""

from alembic import op

revision = "0006"
down_revision = "0005"

SUPPRESSIONS = """
-- One row. Made once per database, so that the hashes of two installations cannot be compared.
create table raw.suppression_salt (
    is_only_row boolean primary key default true check (is_only_row),
    salt bytea not null
);
comment on table raw.suppression_salt is
    'One row: what the hashes of suppressions are salted with.';
insert into raw.suppression_salt (salt)
values (sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')));

-- One row per identifier whose events are dropped at landing: sha256(salt || 'type:value'), and
-- nothing from which the identifier could be read. suppression_id grows in the order of commits.
create table raw.suppressions (
    suppression_id bigint generated always as identity primary key,
    identifier_hash bytea not null unique,
    suppressed_at timestamptz not null default now()
);
comment on table raw.suppressions is
    'Salted hashes of the identifiers whose events are dropped at landing and only counted.';

create function raw.suppressions_after(last_known bigint)
returns table (suppression_id bigint, identifier_hash bytea, salt bytea)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select suppressions.suppression_id, suppressions.identifier_hash, suppression_salt.salt
    from raw.suppressions
    cross join raw.suppression_salt
    where suppressions.suppression_id > last_known
    order by suppressions.suppression_id
$$;

-- The last statement of each landing: a writer that does not know the newest suppression commits
-- nothing. Whoever waits until the transactions that began before a suppression have ended can be
-- sure that no later one lands the identifier.
create function raw.require_suppressions(last_known bigint) returns void
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    if exists (
        select from raw.suppressions where suppressions.suppression_id > last_known
    ) then
        raise exception 'suppressions were added' using errcode = 'CDP01';
    end if;
end $$;

revoke all on function raw.suppressions_after(bigint), raw.require_suppressions(bigint) from public;
grant execute on function raw.suppressions_after(bigint), raw.require_suppressions(bigint)
to cdp_ingest;
"""

ACCOUNTING = """
alter table raw.landings
    drop constraint landings_check,
    add column suppressed_count integer not null default 0,
    add column erased_count integer not null default 0,
    add constraint landings_check check (
        received_count = accepted_count + rejected_count + suppressed_count + erased_count
    );
comment on table raw.landings is
    'Accounting: received = accepted + rejected + suppressed + erased, per commit and source. An'
    ' erasure adds a row that takes from accepted and rejected what it adds to erased.';
"""

REQUESTS = """
-- One row per request to erase or suppress. What it names is removed when it is completed.
create table raw.erasure_requests (
    request_id uuid primary key default gen_random_uuid(),
    requested_at timestamptz not null default now(),
    mode text not null check (mode in ('delete', 'suppress', 'both')),
    identifiers jsonb,
    profile_id uuid,
    is_whole_profile boolean not null default false,
    status text not null default 'requested'
        check (status in ('requested', 'running', 'completed', 'failed')),
    error text,
    completed_at timestamptz,
    certificate jsonb,
    check (status <> 'completed' or (identifiers is null and profile_id is null))
);
comment on table raw.erasure_requests is
    'One row per request to erase or suppress; a completed one names nobody any more.';
comment on column raw.erasure_requests.identifiers is
    'List of {"identifier_type": ..., "identifier_value": ...}; null once it is completed.';
comment on column raw.erasure_requests.is_whole_profile is
    'Take every identifier of the profiles that the named ones belong to.';
comment on column raw.erasure_requests.certificate is
    'What was removed where, with salted hashes of the identifiers; no personal data.';
create index erasure_requests_open on raw.erasure_requests (requested_at)
where status <> 'completed';

-- The read side asks and reads how far it is; what others asked for it cannot read.
grant insert (request_id, mode, identifiers, profile_id, is_whole_profile)
on raw.erasure_requests to cdp_serving;
grant select (request_id, requested_at, mode, status, error, completed_at, certificate)
on raw.erasure_requests to cdp_serving;
"""


def upgrade() -> None:
    for script in (SUPPRESSIONS, ACCOUNTING, REQUESTS):
        op.execute(script)
