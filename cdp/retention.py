"""How long raw events are kept: whole days are dropped as partitions, never row by row."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

PARTITIONS = """
    select relname, inhdetachpending
    from pg_inherits
    inner join pg_class on pg_class.oid = inhrelid
    where inhparent = 'raw.events'::regclass and relname ~ '^events_[0-9]{8}$'
    order by relname
"""


def drop_old_events(url: str, retention_days: int | None) -> list[date]:
    """Drop the raw events received more than `retention_days` whole days ago (UTC), as the owner.

    Their rejected events and their accounting go with them. A day that holds events which no
    complete refresh has read yet is kept, however old it is. Readers and writers of raw.events are
    not blocked. Returns the days that were dropped; none where `retention_days` is None.
    """
    if retention_days is None:
        return []
    first_kept = datetime.now(UTC).date() - timedelta(days=retention_days)
    dropped: list[date] = []
    with psycopg.connect(url, autocommit=True) as connection:
        for name, is_half_detached in connection.execute(PARTITIONS).fetchall():
            day = datetime.strptime(name, "events_%Y%m%d").replace(tzinfo=UTC).date()
            if day >= first_kept or _has_unread_events(connection, name):
                continue
            _drop(connection, name, is_half_detached=is_half_detached)
            dropped.append(day)
        for day in dropped:
            with connection.transaction():
                connection.execute(
                    "delete from raw.rejected_events"
                    " where (received_at at time zone 'UTC')::date = %s",
                    [day],
                )
                connection.execute("delete from raw.landings where received_on = %s", [day])
    return dropped


def _has_unread_events(connection: psycopg.Connection[Any], name: str) -> bool:
    table = sql.Identifier("raw", name)
    query = sql.SQL("select exists (select from {})").format(table)
    watermark = connection.execute("select to_regclass('decide.watermark') is not null").fetchone()
    if watermark and watermark[0]:
        # The watermark of another cluster says nothing about transactions of this one.
        query = sql.SQL(
            "select exists (select from {} where not exists ("
            " select from decide.watermark where xid < to_xid::text::xid8"
            " and system_identifier::text"
            " = (select system_identifier::text from pg_control_system())))"
        ).format(table)
    row = connection.execute(query).fetchone()
    return bool(row and row[0])


def _drop(connection: psycopg.Connection[Any], name: str, *, is_half_detached: bool) -> None:
    table = sql.Identifier("raw", name)
    how = sql.SQL("finalize" if is_half_detached else "concurrently")
    connection.execute(sql.SQL("alter table raw.events detach partition {} {}").format(table, how))
    connection.execute(sql.SQL("drop table {}").format(table))
