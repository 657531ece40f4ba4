"""Delivering audiences to a destination, each attempt on record in `activate.deliveries`."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import psycopg
from psycopg import IsolationLevel
from psycopg.rows import class_row

from dagster_project.destinations.destination import (
    Audience,
    Delivered,
    DeliveryError,
    Destination,
)
from dagster_project.exclusive import exclusive

AUDIENCES = """
select
    audiences.audience_id,
    audiences.audience_key,
    audiences.built_version as definition_version,
    audiences.last_built_at as as_of,
    (
        select count(*)
        from segment.audience_members
        where audience_members.audience_id = audiences.audience_id
    ) as member_count
from segment.audiences
where audiences.is_enabled
    and audiences.last_built_at is not null
    and audiences.audience_key = %(audience_key)s
"""


def audience_keys(database: str) -> list[str]:
    """The audiences that have members to deliver, or none: enabled, and built at least once."""
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "select audience_key from segment.audiences"
            " where is_enabled and last_built_at is not null order by audience_key"
        ).fetchall()
    return [str(key) for (key,) in rows]


def deliver(
    database: str,
    destination: Destination,
    audience_key: str,
    *,
    holder: str,
    on_wait: Callable[[str], None],
) -> Delivered:
    """Deliver one audience and record it.

    Raises DeliveryError when there is no such audience, or whatever the destination raises; the
    record then says `failed` and why.
    """
    lock = f"{destination.name} {audience_key}"
    with (
        exclusive(database, lock, holder=holder, on_wait=on_wait),
        psycopg.connect(database) as snapshot,
        psycopg.connect(database, autocommit=True) as log,
    ):
        snapshot.isolation_level = IsolationLevel.REPEATABLE_READ
        snapshot.read_only = True
        snapshot.execute("set timezone = 'UTC'")
        audience = _find(snapshot, audience_key)
        _close_abandoned(log, destination.name, audience.audience_id)
        delivery_id = _begin(log, destination.name, audience)
        try:
            delivered = destination.deliver(audience, snapshot)
        except BaseException as error:
            _finish(log, delivery_id, "failed", None, _explain(error))
            raise
        _finish(log, delivery_id, "succeeded", delivered.rows, None)
        return delivered


def withdraw_stale(database: str, destination: Destination, current_keys: list[str]) -> list[str]:
    """Take away what the destination holds of audiences that are gone; return their keys.

    Without any audience at all nothing is withdrawn: an empty source is more likely a mistake.
    """
    if not current_keys:
        return []
    stale: Mapping[str, int] = {
        key: audience_id
        for key, audience_id in destination.delivered().items()
        if key not in current_keys
    }
    with psycopg.connect(database, autocommit=True) as log:
        for key, audience_id in stale.items():
            destination.withdraw(key)
            log.execute(
                "insert into activate.deliveries"
                " (destination, audience_id, rows, status, finished_at)"
                " values (%s, %s, 0, 'withdrawn', clock_timestamp())",
                [destination.name, audience_id],
            )
    return sorted(stale)


def _find(snapshot: psycopg.Connection[Any], audience_key: str) -> Audience:
    with snapshot.cursor(row_factory=class_row(Audience)) as cursor:
        audience = cursor.execute(AUDIENCES, {"audience_key": audience_key}).fetchone()
    if audience is None:
        raise DeliveryError(
            f"There is no audience {audience_key!r} in segment.audiences; run `cdp refresh` if it "
            "is new, or enable it in seeds/audiences.csv."
        )
    return audience


def _begin(log: psycopg.Connection[Any], destination: str, audience: Audience) -> UUID:
    row = log.execute(
        "insert into activate.deliveries"
        " (destination, audience_id, definition_version, status)"
        " values (%s, %s, %s, 'started') returning delivery_id",
        [destination, audience.audience_id, audience.definition_version],
    ).fetchone()
    assert row is not None  # noqa: S101 - an insert with returning has one row
    return UUID(str(row[0]))


def _finish(
    log: psycopg.Connection[Any],
    delivery_id: UUID,
    status: str,
    rows: int | None,
    error: str | None,
) -> None:
    log.execute(
        "update activate.deliveries"
        " set status = %s, rows = %s, error = %s, finished_at = clock_timestamp()"
        " where delivery_id = %s",
        [status, rows, error, delivery_id],
    )


def _close_abandoned(log: psycopg.Connection[Any], destination: str, audience_id: int) -> None:
    """A record that still says `started` while we hold the lock belongs to a killed process."""
    log.execute(
        "update activate.deliveries"
        " set status = 'failed', error = 'Its process ended before the delivery did.',"
        " finished_at = clock_timestamp()"
        " where destination = %s and audience_id = %s and status = 'started'",
        [destination, audience_id],
    )


def _explain(error: BaseException) -> str:
    return str(error).strip() or type(error).__name__
