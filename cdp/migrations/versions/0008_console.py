"""What the console shows of raw: how many events wait, and what was rejected, without bodies."""

from alembic import op

revision = "0008"
down_revision = "0007"

LANDED = """
-- The read side counts what waits for a refresh without reading what it says.
create function raw.landed_after(after_xid bigint, most integer)
returns table (event_count bigint, oldest_received_at timestamptz)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select count(*), min(landed.received_at)
    from (
        select events.received_at
        from raw.events
        where events.xid >= after_xid::text::xid8
        order by events.xid, events.seq
        limit most
    ) as landed
$$;
comment on function raw.landed_after(bigint, integer) is
    'How many events have landed from a transaction on, counted up to `most`, and since when.';
revoke all on function raw.landed_after(bigint, integer) from public;
grant execute on function raw.landed_after(bigint, integer) to cdp_serving;
"""

REJECTIONS = """
create view raw.rejections as
select
    rejected_events.rejected_id,
    rejected_events.received_at,
    rejected_events.source,
    rejected_events.path,
    rejected_events.code,
    rejected_events.message,
    rejected_events.message_id,
    rejected_events.batch_index,
    rejected_events.replayed_at
from raw.rejected_events;
comment on view raw.rejections is
    'raw.rejected_events without the bodies, which may hold anything: for the read side.';
grant select on raw.rejections to cdp_serving;
"""

DELIVERIES = """
create index deliveries_started_at on activate.deliveries (started_at desc);
"""


def upgrade() -> None:
    for script in (LANDED, REJECTIONS, DELIVERIES):
        op.execute(script)
