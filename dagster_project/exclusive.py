"""One at a time, across processes and machines: a PostgreSQL advisory lock with a name."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

REFRESH = "refresh"
POLL_SECONDS = 1.0

HOLDER = """
select coalesce(activity.application_name, 'process ' || locks.pid)
from pg_locks as locks
left join pg_stat_activity as activity on activity.pid = locks.pid
where locks.locktype = 'advisory'
    and locks.database = (select oid from pg_database where datname = current_database())
    and locks.classid = hashtext('cdp')::oid
    and locks.objid = hashtext(%s)::oid
    and locks.objsubid = 2
    and locks.granted
"""


@contextmanager
def exclusive(
    database: str, name: str, *, holder: str, on_wait: Callable[[str], None]
) -> Iterator[None]:
    """Hold the lock `name` for the block, after waiting for whoever holds it now.

    `holder` is what others are told while they wait; `on_wait` is called once with such a message.
    The lock ends with the connection at the latest, so a killed process never leaves it behind.
    """
    with psycopg.connect(database, autocommit=True, application_name=holder) as connection:
        told = False
        while not _try_lock(connection, name):
            if not told:
                on_wait(f"Waiting for {current_holder(connection, name) or 'another run'} to end.")
                told = True
            time.sleep(POLL_SECONDS)
        try:
            yield
        finally:
            _unlock(connection, name)


def current_holder(connection: psycopg.Connection[Any], name: str) -> str | None:
    """Who holds the lock `name` now, or None."""
    row = connection.execute(HOLDER, [name]).fetchone()
    return str(row[0]) if row else None


def _try_lock(connection: psycopg.Connection[Any], name: str) -> bool:
    row = connection.execute(
        "select pg_try_advisory_lock(hashtext('cdp'), hashtext(%s))", [name]
    ).fetchone()
    return bool(row and row[0])


def _unlock(connection: psycopg.Connection[Any], name: str) -> None:
    """Give the lock back before the connection closes: its server notices that a moment later."""
    with suppress(psycopg.OperationalError):  # a lost connection has lost the lock
        connection.execute("select pg_advisory_unlock(hashtext('cdp'), hashtext(%s))", [name])
