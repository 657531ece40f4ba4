"""Landing transactions: whether anything landed since a refresh is one look at one row."""

from alembic import op

revision = "0010"
down_revision = "0009"

NOTED = """
-- One row per transaction that landed events. Ids are given in the order of time: whatever landed
-- under a higher one was written after began_at. Of those that a refresh has read the last stays.
create table raw.landing_transactions (
    xid xid8 primary key default pg_current_xact_id(),
    began_at timestamptz not null default now()
);
comment on table raw.landing_transactions is
    'Transactions that landed events since the last refresh, and the last one before it.';

create function raw.note_landing() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into raw.landing_transactions default values on conflict do nothing;
    return null;
end $$;
create trigger events_landing after insert on raw.events
for each statement execute function raw.note_landing();

-- For a refresh that has read everything before an id.
create function raw.forget_landings(before xid8) returns void
language sql set search_path = pg_catalog, pg_temp as $$
    delete from raw.late_landings where xid < before;
    delete from raw.landing_transactions
    where xid < (
        select landed.xid
        from raw.landing_transactions as landed
        where landed.xid < before
        order by landed.xid desc
        limit 1
    );
$$;

-- What landed before this migration may be pending.
insert into raw.landing_transactions default values;
"""


def upgrade() -> None:
    op.execute(NOTED)
