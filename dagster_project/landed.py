"""What has landed that the batch does not answer for yet."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

# Landing transactions count from the beginning again in another cluster (a restored dump): there
# the watermark says nothing, and everything counts as new.
NEXT_UNREAD = """
select
    coalesce(
        (
            select watermark.to_xid
            from decide.watermark
            where watermark.system_identifier::text
                = (select system_identifier::text from pg_control_system())
        ),
        '0'
    )::text::xid8
"""

NEW = """
select count(*), max(landed.xid)::text
from (
    select events.xid
    from raw.events
    where events.xid >= %(from_xid)s::xid8
        and events.xid < pg_snapshot_xmin(pg_current_snapshot())
    limit %(limit)s
) as landed
"""


# The first to land, not the earliest received: that would read every event that waits.
OLDEST = """
select events.received_at
from raw.events
where events.xid >= %(from_xid)s::xid8
order by events.xid, events.seq
limit 1
"""
MOST_COUNTED = 10_000


@dataclass(frozen=True)
class Landed:
    """Committed events beyond the watermark: how many, counted up to a limit, and the last xid."""

    count: int
    last_xid: str | None


def landed_since_watermark(
    connection: psycopg.Connection[Any], *, after_xid: str | None = None, limit: int = MOST_COUNTED
) -> Landed:
    """The events that the next refresh would read; with `after_xid`, only those landed after it.

    Reads the index only, and at most `limit` entries of it.
    """
    from_xid = _next_unread(connection)
    if after_xid is not None:
        from_xid = max(from_xid, int(after_xid) + 1)
    row = connection.execute(NEW, {"from_xid": str(from_xid), "limit": limit}).fetchone()
    count, last_xid = row if row else (0, None)
    return Landed(count=int(count), last_xid=last_xid)


def oldest_waiting(connection: psycopg.Connection[Any]) -> datetime | None:
    """When the first event was received that no complete refresh has read, None when none waits."""
    row = connection.execute(OLDEST, {"from_xid": str(_next_unread(connection))}).fetchone()
    return row[0] if row else None


def _next_unread(connection: psycopg.Connection[Any]) -> int:
    built = connection.execute("select to_regclass('decide.watermark')").fetchone()
    if built is None or built[0] is None:
        return 0
    row = connection.execute(NEXT_UNREAD).fetchone()
    return int(row[0]) if row else 0
