"""Delivering audiences to a destination, each attempt on record in `activate.deliveries`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg import IsolationLevel
from psycopg.rows import class_row

from dagster_project import acknowledged
from dagster_project.destinations.destination import (
    Audience,
    Delivered,
    Delivery,
    DeliveryError,
    Destination,
    HeldError,
)
from dagster_project.destinations.row_format import describe, read_columns
from dagster_project.exclusive import exclusive
from dagster_project.outbox import PostgresOutbox
from dagster_project.subscriptions import EVERY_AUDIENCE, Subscription

AUDIENCE = """
select
    audience_id,
    audience_key,
    built_version as definition_version,
    last_built_at as as_of
from segment.audiences
where is_enabled and last_built_at is not null and audience_key = %(audience_key)s
"""
WITHDRAWN = """
select
    states.audience_id,
    states.audience_key,
    audiences.definition_version,
    coalesce(audiences.last_built_at, now()) as as_of
from activate.subscription_states as states
left join segment.audiences on states.audience_id = audiences.audience_id
where states.destination = %(destination)s and states.audience_key = %(audience_key)s
"""
BLOCKED = """
select
    case
        when disabled_at is not null then 'disabled'
        when not_before > clock_timestamp() then 'waiting'
    end,
    coalesce(disabled_reason, 'The destination asked to be left alone.'),
    coalesce(disabled_at, not_before)
from activate.destination_states
where destination = %s
"""


@dataclass(frozen=True)
class _Attempt:
    """One delivery under way: its record, its snapshot, and where it is written down."""

    delivery_id: UUID
    started_at: datetime
    snapshot: psycopg.Connection[Any]
    log: psycopg.Connection[Any]
    destination: Destination
    audience: Audience
    subscription: Subscription
    on_progress: Callable[[str], None]

    @property
    def outbox(self) -> PostgresOutbox:
        return PostgresOutbox(
            self.log, self.destination.name, self.audience.audience_id, self.delivery_id
        )


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
    subscription: Subscription | None = None,
    may_become_empty: bool = False,
) -> Delivered:
    """Deliver one audience and record it.

    Raises HeldError where nothing was sent because somebody has to decide, DeliveryError when
    there is no such audience, or whatever the destination raises; the record then says why.
    """
    chosen = subscription or Subscription(EVERY_AUDIENCE, destination.name)
    lock = f"{destination.name} {audience_key}"
    with (
        exclusive(database, lock, holder=holder, on_wait=on_wait),
        psycopg.connect(database) as snapshot,
        psycopg.connect(database, autocommit=True) as log,
    ):
        _begin_snapshot(snapshot)
        audience = _find(snapshot, audience_key)
        attempt = _begin(
            log,
            snapshot,
            destination,
            audience=audience,
            subscription=chosen,
            on_progress=on_wait,
        )
        try:
            _check_destination(attempt)
            _check_not_emptied(attempt, may_become_empty or chosen.may_become_empty)
            delivered = _carry_out(attempt)
            snapshot.commit()
        except HeldError as error:
            _finish(attempt, "held", Delivered(rows=0, warning=str(error)))
            raise
        except BaseException as error:
            _finish(attempt, "failed", None, _explain(error))
            raise
        _finish(attempt, "partial" if delivered.warning else "succeeded", delivered)
        return delivered


def withdraw_stale(
    database: str,
    destination: Destination,
    current_keys: Sequence[str],
    *,
    holder: str = "cdp withdrawal",
    on_wait: Callable[[str], None] = lambda _message: None,
) -> list[str]:
    """Take away what the destination holds of audiences that are gone; return their keys.

    Without any audience at all nothing is withdrawn: an empty source is more likely a mistake.
    """
    if not audience_keys(database):
        return []
    with psycopg.connect(database) as connection:
        held = acknowledged.held_audiences(connection, destination.name)
    stale = sorted(set(held) - set(current_keys))
    for key in stale:
        with exclusive(database, f"{destination.name} {key}", holder=holder, on_wait=on_wait):
            _withdraw(database, destination, key, on_wait)
    return stale


def _withdraw(
    database: str, destination: Destination, key: str, on_wait: Callable[[str], None]
) -> None:
    with (
        psycopg.connect(database) as snapshot,
        psycopg.connect(database, autocommit=True) as log,
    ):
        _begin_snapshot(snapshot)
        with snapshot.cursor(row_factory=class_row(Audience)) as cursor:
            names = {"destination": destination.name, "audience_key": key}
            audience = cursor.execute(WITHDRAWN, names).fetchone()
        if audience is None:  # another run was faster
            return
        chosen = Subscription(key, destination.name)
        attempt = _begin(
            log,
            snapshot,
            destination,
            audience=audience,
            subscription=chosen,
            on_progress=on_wait,
        )
        try:
            _check_destination(attempt)
            delivered = _let_everybody_leave(attempt)
        except BaseException as error:
            status = "held" if isinstance(error, HeldError) else "failed"
            _finish(attempt, status, None, _explain(error))
            raise
        if delivered.warning is None:
            acknowledged.forget(log, destination.name, audience.audience_id)
        _finish(attempt, "partial" if delivered.warning else "withdrawn", delivered)


def _let_everybody_leave(attempt: _Attempt) -> Delivered:
    if attempt.destination.takes_whole_audiences:
        attempt.destination.withdraw(attempt.audience.audience_key)
        return Delivered(rows=0)
    count = acknowledged.find_changes(
        attempt.snapshot,
        attempt.destination.name,
        attempt.audience,
        (),
        None,
        is_withdrawn=True,
    )
    delivered = _hand_over(attempt, (), count, is_whole=False)
    if attempt.outbox.count() and delivered.warning is None:
        return Delivered(delivered.rows, warning="Some of its members could not be taken back yet.")
    return delivered


def _carry_out(attempt: _Attempt) -> Delivered:
    snapshot, audience, chosen = attempt.snapshot, attempt.audience, attempt.subscription
    name, destination = attempt.destination.name, attempt.destination
    columns = read_columns(snapshot, chosen.columns, chosen.hashing)
    row_format = describe(chosen.mode, chosen.columns, chosen.hashing)
    before = acknowledged.read_state(snapshot, name, audience.audience_id)
    is_comparable = before is not None and before.row_format == row_format
    wants_all = chosen.mode == "full" or (not is_comparable and destination.takes_whole_audiences)
    if wants_all and destination.takes_whole_audiences:
        count = _count_members(snapshot, audience)
        delivered = _hand_over(attempt, columns, count, is_whole=True)
        if chosen.mode == "delta":
            acknowledged.acknowledge_all(snapshot, name, audience, columns)
        elif not is_comparable:
            acknowledged.forget(snapshot, name, audience.audience_id)
    else:
        count = acknowledged.find_changes(
            snapshot,
            name,
            audience,
            columns,
            before if is_comparable else None,
            is_whole=wants_all,
        )
        delivered = _hand_over(attempt, columns, count, is_whole=False)
        if destination.takes_whole_audiences:
            acknowledged.acknowledge_changes(snapshot, name, audience)
    acknowledged.save_state(
        snapshot,
        name,
        audience,
        row_format,
        has_rows=_has_members(snapshot, audience)
        or bool(delivered.warning and before and before.has_rows),
        is_compared=delivered.rows_unsent == 0,
        before=before,
    )
    return delivered


def _hand_over(
    attempt: _Attempt, columns: Sequence[Any], row_count: int, *, is_whole: bool
) -> Delivered:
    if row_count == 0 and not is_whole and not attempt.outbox.has_due():
        return Delivered(rows=0)
    return attempt.destination.deliver(
        Delivery(
            audience=attempt.audience,
            columns=tuple(columns),
            snapshot=attempt.snapshot,
            started_at=attempt.started_at,
            is_whole=is_whole,
            row_count=row_count,
            outbox=attempt.outbox,
            on_progress=attempt.on_progress,
        )
    )


def _check_destination(attempt: _Attempt) -> None:
    name = attempt.destination.name
    row = attempt.log.execute(BLOCKED, [name]).fetchone()
    state, reason, instant = row or (None, None, None)
    if state == "disabled":
        raise HeldError(
            f"{name} has been disabled since {instant:%Y-%m-%d %H:%M:%S} UTC: {reason} When it is "
            f"back, run `cdp deliveries enable {name}`."
        )
    if state == "waiting":
        raise HeldError(f"{name} is left alone until {instant:%Y-%m-%d %H:%M:%S} UTC: {reason}")


def _check_not_emptied(attempt: _Attempt, is_allowed: bool) -> None:
    name, audience = attempt.destination.name, attempt.audience
    before = acknowledged.read_state(attempt.snapshot, name, audience.audience_id)
    if (
        before is None
        or not before.has_rows
        or is_allowed
        or _has_members(attempt.snapshot, audience)
    ):
        return
    raise HeldError(
        f"Audience {audience.audience_key} has become empty, so nothing was sent to {name}. If "
        f"that is right, run `cdp deliveries confirm {audience.audience_key} {name}`; for an "
        "audience that may, set may_become_empty in seeds/activations.csv."
    )


def _begin_snapshot(snapshot: psycopg.Connection[Any]) -> None:
    snapshot.isolation_level = IsolationLevel.REPEATABLE_READ
    snapshot.execute("set local timezone = 'UTC'")


def _has_members(snapshot: psycopg.Connection[Any], audience: Audience) -> bool:
    row = snapshot.execute(
        "select exists (select from segment.audience_members where audience_id = %s)",
        [audience.audience_id],
    ).fetchone()
    return bool(row and row[0])


def _count_members(snapshot: psycopg.Connection[Any], audience: Audience) -> int:
    row = snapshot.execute(
        "select count(*) from segment.audience_members where audience_id = %s",
        [audience.audience_id],
    ).fetchone()
    return int(row[0]) if row else 0


def _find(snapshot: psycopg.Connection[Any], audience_key: str) -> Audience:
    with snapshot.cursor(row_factory=class_row(Audience)) as cursor:
        audience = cursor.execute(AUDIENCE, {"audience_key": audience_key}).fetchone()
    if audience is None:
        raise DeliveryError(
            f"There is no audience {audience_key!r} in segment.audiences; run `cdp refresh` if it "
            "is new, or enable it in seeds/audiences.csv."
        )
    return audience


def _begin(
    log: psycopg.Connection[Any],
    snapshot: psycopg.Connection[Any],
    destination: Destination,
    *,
    audience: Audience,
    subscription: Subscription,
    on_progress: Callable[[str], None],
) -> _Attempt:
    # A record that still says `started` while we hold the lock belongs to a killed process.
    log.execute(
        "update activate.deliveries"
        " set status = 'failed', error = 'Its process ended before the delivery did.',"
        " finished_at = clock_timestamp()"
        " where destination = %s and audience_id = %s and status = 'started'",
        [destination.name, audience.audience_id],
    )
    row = log.execute(
        "insert into activate.deliveries"
        " (destination, audience_id, definition_version, mode, as_of, status)"
        " values (%s, %s, %s, %s, %s, 'started') returning delivery_id, started_at",
        [
            destination.name,
            audience.audience_id,
            audience.definition_version,
            subscription.mode,
            audience.as_of,
        ],
    ).fetchone()
    assert row is not None  # noqa: S101 - an insert with returning has one row
    return _Attempt(row[0], row[1], snapshot, log, destination, audience, subscription, on_progress)


def _finish(
    attempt: _Attempt, status: str, delivered: Delivered | None, error: str | None = None
) -> None:
    attempt.log.execute(
        "update activate.deliveries"
        " set status = %s, rows = %s, rows_failed = %s, error = %s,"
        " finished_at = clock_timestamp()"
        " where delivery_id = %s",
        [
            status,
            delivered.rows if delivered else None,
            delivered.rows_failed + delivered.rows_unsent if delivered else None,
            delivered.warning if delivered else error,
            attempt.delivery_id,
        ],
    )


def _explain(error: BaseException) -> str:
    return str(error).strip() or type(error).__name__
