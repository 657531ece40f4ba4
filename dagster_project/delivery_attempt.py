"""One attempt to deliver an audience to a destination, on record in `activate.deliveries`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg import IsolationLevel
from psycopg.rows import class_row

from dagster_project.destinations.destination import (
    Audience,
    Delivered,
    Delivery,
    Destination,
    HeldError,
)
from dagster_project.destinations.row_format import Column
from dagster_project.outbox import PostgresOutbox
from dagster_project.subscriptions import Subscription

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

BEFORE = """
select status
from activate.deliveries
where audience_id = %s and destination = %s and status not in ('started', 'held')
order by started_at desc
limit 1
"""


@dataclass(frozen=True)
class Attempt:
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

    @property
    def follows_a_failure(self) -> bool:
        """Whether the attempt before may have reached the destination without our knowing."""
        names = [self.audience.audience_id, self.destination.name]
        return self.log.execute(BEFORE, names).fetchone() == ("failed",)

    def record(self, work: Callable[[], Delivered], *, done: str) -> Delivered:
        """Do the work unless the destination is not to be asked; write down how it ended.

        `done` is the status where everything arrived. Whatever is raised is raised again.
        """
        try:
            self._check_destination()
            delivered = work()
        except HeldError as error:
            self._finish("held", Delivered(rows=0, warning=str(error)))
            raise
        except BaseException as error:
            self._finish("failed", None, str(error).strip() or type(error).__name__)
            raise
        self._finish("partial" if delivered.warning else done, delivered)
        return delivered

    def hand_over(self, columns: Sequence[Column], row_count: int, *, is_whole: bool) -> Delivered:
        """Let the destination carry it out. Where there is nothing to tell it is not asked."""
        if row_count == 0 and not is_whole and not self.outbox.has_due():
            return Delivered(rows=0)
        return self.destination.deliver(
            Delivery(
                audience=self.audience,
                columns=tuple(columns),
                snapshot=self.snapshot,
                started_at=self.started_at,
                is_whole=is_whole,
                row_count=row_count,
                outbox=self.outbox,
                on_progress=self.on_progress,
            )
        )

    def _check_destination(self) -> None:
        name = self.destination.name
        row = self.log.execute(BLOCKED, [name]).fetchone()
        state, reason, instant = row or (None, None, None)
        if state == "disabled":
            raise HeldError(
                f"{name} has been disabled since {instant:%Y-%m-%d %H:%M:%S} UTC: {reason} When it "
                f"is back, run `cdp deliveries enable {name}`."
            )
        if state == "waiting":
            raise HeldError(f"{name} is left alone until {instant:%Y-%m-%d %H:%M:%S} UTC: {reason}")

    def _finish(self, status: str, delivered: Delivered | None, error: str | None = None) -> None:
        self.log.execute(
            "update activate.deliveries"
            " set status = %s, rows = %s, rows_failed = %s, error = %s,"
            " finished_at = clock_timestamp()"
            " where delivery_id = %s",
            [
                status,
                delivered.rows if delivered else None,
                delivered.rows_failed + delivered.rows_unsent if delivered else None,
                delivered.warning if delivered else error,
                self.delivery_id,
            ],
        )


@contextmanager
def connections(
    database: str,
) -> Iterator[tuple[psycopg.Connection[Any], psycopg.Connection[Any]]]:
    """The snapshot that a delivery reads, in UTC, and the connection that its log is kept on."""
    with (
        psycopg.connect(database) as snapshot,
        psycopg.connect(database, autocommit=True) as log,
    ):
        snapshot.isolation_level = IsolationLevel.REPEATABLE_READ
        snapshot.execute("set local timezone = 'UTC'")
        yield snapshot, log


def find_audience(
    snapshot: psycopg.Connection[Any], query: str, names: dict[str, Any]
) -> Audience | None:
    """The audience that the query gives, or None."""
    with snapshot.cursor(row_factory=class_row(Audience)) as cursor:
        return cursor.execute(query.encode(), names).fetchone()


def begin(
    log: psycopg.Connection[Any],
    snapshot: psycopg.Connection[Any],
    destination: Destination,
    *,
    audience: Audience,
    subscription: Subscription,
    on_progress: Callable[[str], None],
) -> Attempt:
    """Put the attempt on record; the caller holds the lock of this audience and destination."""
    # A record that still says `started` while the lock is held belongs to a killed process.
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
    return Attempt(row[0], row[1], snapshot, log, destination, audience, subscription, on_progress)
