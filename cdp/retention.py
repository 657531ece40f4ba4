"""How long raw events are kept: by day of receipt, and by source where one has a term of its own.

A day that nobody keeps any more is dropped as a partition; where one source is kept longer than
another, the rows of the other are deleted.
"""

from collections.abc import Mapping
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
DELETE_EVENTS = """
    delete from raw.events
    where received_at >= (%(day)s::timestamp at time zone 'UTC')
        and received_at < (%(day)s::timestamp + interval '1 day') at time zone 'UTC'
        and source = any(%(sources)s)
"""
DELETE_REJECTED = """
    delete from raw.rejected_events
    where received_at >= (%(day)s::timestamp at time zone 'UTC')
        and received_at < (%(day)s::timestamp + interval '1 day') at time zone 'UTC'
        and (%(sources)s::text[] is null or source = any(%(sources)s))
"""
DELETE_LANDINGS = """
    delete from raw.landings
    where received_on = %(day)s
        and (%(sources)s::text[] is null or source = any(%(sources)s))
"""


def drop_old_events(
    url: str, retention_days: int | None, by_source: Mapping[str, int] | None = None
) -> list[date]:
    """Drop raw events received more than so many whole days ago (UTC), as the owner.

    `by_source` names sources with a term of their own; `retention_days` is that of all others, None
    for ever. Their rejected events and their accounting go with them. A day that holds events which
    no complete refresh has read yet is kept, however old it is. Readers and writers of raw.events
    are not blocked. Returns the days of which something was dropped.
    """
    own = dict(by_source or {})
    if retention_days is None and not own:
        return []
    today = datetime.now(UTC).date()
    changed: list[date] = []
    with psycopg.connect(url, autocommit=True) as connection:
        for name, is_half_detached in connection.execute(PARTITIONS).fetchall():
            day = datetime.strptime(name, "events_%Y%m%d").replace(tzinfo=UTC).date()
            age = today - day
            sources = [] if is_half_detached else _sources(connection, name)
            is_old = {source: _is_old(age, own.get(source, retention_days)) for source in sources}
            expired = [source for source, old in is_old.items() if old]
            # One that is half detached was decided about by the run that was interrupted.
            is_whole = is_half_detached or (
                all(is_old.values()) if sources else _is_old(age, retention_days)
            )
            if not (is_whole or expired) or _has_unread_events(connection, name):
                continue
            if is_whole:
                _drop(connection, name, is_half_detached=is_half_detached)
            _forget(connection, day, None if is_whole else expired)
            changed.append(day)
    return changed


def _is_old(age: timedelta, days: int | None) -> bool:
    return days is not None and age > timedelta(days=days)


def _sources(connection: psycopg.Connection[Any], name: str) -> list[str]:
    query = sql.SQL("select distinct source from {}").format(sql.Identifier("raw", name))
    return [str(source) for (source,) in connection.execute(query)]


def _forget(connection: psycopg.Connection[Any], day: date, sources: list[str] | None) -> None:
    """Delete what is left of a day: of these sources, or all of it where they are None."""
    chosen = {"day": day, "sources": sources}
    with connection.transaction():
        if sources is not None:
            connection.execute(DELETE_EVENTS, chosen)
        connection.execute(DELETE_REJECTED, chosen)
        connection.execute(DELETE_LANDINGS, chosen)


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
