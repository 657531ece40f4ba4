"""What a destination promises, and what it is given."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol
from uuid import UUID

import psycopg
from psycopg import sql

from cdp.errors import UserError
from dagster_project.destinations.row_format import Column

Change = Literal["entered", "changed", "exited"]


class DeliveryError(UserError, RuntimeError):
    """An audience could not be delivered; the message says what to do."""


class HeldError(DeliveryError):
    """Nothing was sent, and nothing is broken: somebody has to decide first."""


@dataclass(frozen=True)
class Audience:
    """An audience as the batch built it at `as_of`."""

    audience_id: int
    audience_key: str
    definition_version: int | None
    as_of: datetime


@dataclass(frozen=True)
class Delivered:
    """What the destination acknowledged, what it did not, and facts worth showing.

    `rows_failed` were tried and are kept, `rows_unsent` were not tried; `warning` says why.
    """

    rows: int
    facts: Mapping[str, str | int | float] = field(default_factory=dict)
    rows_failed: int = 0
    rows_unsent: int = 0
    warning: str | None = None


@dataclass(frozen=True)
class RowChange:
    """A change of one member. `sent` is the row; of one that left, the row last sent."""

    profile_id: UUID
    change: Change
    sent: Mapping[str, Any]


class Outbox(Protocol):
    """Where a destination that answers row by row keeps what may or may not have arrived."""

    def due(self) -> list["Message"]:
        """Messages of earlier runs that are to be tried again now, oldest first."""

    def put(self, messages: Sequence["Message"]) -> None:
        """Write down what is about to be sent, before it is."""

    def acknowledge(self, messages: Sequence["Message"]) -> None:
        """These have arrived."""

    def postpone(self, message: "Message", error: str, *, seconds: float | None) -> None:
        """This one has not, or nobody knows. None gives it up until somebody resends it."""

    def forget(self, messages: Sequence["Message"]) -> None:
        """These were written down and not sent in this run; they are tried in the next."""

    def disable_destination(self, reason: str) -> None:
        """Nothing is sent there any more until somebody enables it."""

    def leave_alone(self, seconds: float) -> None:
        """Nothing is sent there for so long."""


@dataclass(frozen=True)
class Message:
    """Changes that travel together under one id, which stays the same in every attempt.

    `attempts` counts the earlier ones.
    """

    message_id: str
    as_of: datetime
    definition_version: int | None
    rows: tuple[RowChange, ...]
    attempts: int = 0


@dataclass(frozen=True)
class Delivery:
    """One audience on its way to one destination.

    `snapshot` is a transaction that the caller ends. Where `is_whole`, all `row_count` members are
    to be delivered, with `columns`, and replace what was there. Otherwise the temporary table
    `delivery_changes` (profile_id, change, sent) holds the `row_count` changes to carry out, and
    the outbox what is left of earlier runs.
    """

    audience: Audience
    columns: tuple[Column, ...]
    snapshot: psycopg.Connection[Any]
    started_at: datetime
    is_whole: bool
    row_count: int
    outbox: Outbox
    on_progress: Callable[[str], None]

    def changes(self) -> Iterator[RowChange]:
        """The changes in a fixed order, read by pieces."""
        with self.snapshot.cursor(name="delivery_changes") as cursor:
            cursor.itersize = 5_000
            cursor.execute(
                sql.SQL("select profile_id, change, sent from delivery_changes order by profile_id")
            )
            for profile_id, change, sent in cursor:
                yield RowChange(profile_id, change, sent)


class Destination(Protocol):
    """Brings audiences to one place.

    Delivering the same again has the same effect as delivering it once. A delivery that raises
    leaves what was there before, or what can be completed by delivering again. An empty delta is
    never passed on: it costs nothing.
    """

    @property
    def name(self) -> str:
        """As `activate.deliveries.destination` records it."""

    @property
    def takes_whole_audiences(self) -> bool:
        """Whether it can replace all members at once. If not, it is told of each."""

    def deliver(self, delivery: Delivery) -> Delivered:
        """Carry the delivery out; what is returned has been acknowledged."""

    def withdraw(self, audience_key: str) -> None:
        """Take away an audience that is not to be there any more.

        Not called where `takes_whole_audiences` is false: there its members leave one by one.
        """
