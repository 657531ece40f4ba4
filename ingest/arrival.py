"""What one request brings: the events that can be kept and the parts that cannot."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self

import msgspec

from cdp.settings import Settings
from cdp.suppression import CARRIED, Suppressions


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """What is known about a request beside its body."""

    path: str
    source: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Rules:
    """The limits and clock tolerances of the settings, ready for use on each event."""

    max_event_bytes: int
    max_batch_bytes: int
    max_body_bytes: int
    max_batch_events: int
    max_identifier_bytes: int
    future_tolerance: timedelta
    clock_skew: timedelta

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(
            max_event_bytes=settings.max_event_bytes,
            max_batch_bytes=settings.max_batch_bytes,
            max_body_bytes=settings.max_body_bytes,
            max_batch_events=settings.max_batch_events,
            max_identifier_bytes=settings.max_identifier_bytes,
            future_tolerance=timedelta(seconds=settings.future_tolerance_seconds),
            clock_skew=timedelta(seconds=settings.clock_skew_seconds),
        )


class Accepted(msgspec.Struct, gc=False):
    """An event that is ready to be stored.

    `row` is its line for COPY. `index` is its place in the batch (None for a single call), `body`
    what the client sent: both are needed only if PostgreSQL refuses the row after all. `carried`
    are its identifiers in the order of cdp.suppression.CARRIED.
    """

    row: bytes
    message_id: str
    index: int | None
    body: bytes
    carried: tuple[str | None, ...] = (None,) * len(CARRIED)


class Rejected(msgspec.Struct, gc=False):
    """An event, or a whole request, that goes to the quarantine.

    `body` is what was sent; `index` its place in the batch, None where it is the whole request.
    """

    code: str
    message: str
    message_id: str | None
    index: int | None
    body: bytes
    status: int = 400


@dataclass(slots=True)
class Arrival:
    """Everything that one request brings, from one source at one instant.

    `is_refused`: the request as a whole is the one rejected part. `suppressed` are events of
    somebody whose data may not be kept: they are counted, and only their number lands.
    """

    receipt: Receipt
    accepted: list[Accepted] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    suppressed: list[Accepted] = field(default_factory=list)
    is_refused: bool = False

    @property
    def event_count(self) -> int:
        return len(self.accepted) + len(self.rejected) + len(self.suppressed)

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Received, accepted, rejected, suppressed: its part of raw.landings."""
        accepted, rejected = len(self.accepted), len(self.rejected)
        return self.event_count, accepted, rejected, len(self.suppressed)

    def drop_suppressed(self, suppressions: Suppressions) -> None:
        """Move the events of suppressed identifiers out of `accepted`."""
        if suppressions:
            before, self.accepted = self.accepted, []
            for event in before:
                is_dropped = suppressions.covers(event.carried)
                (self.suppressed if is_dropped else self.accepted).append(event)

    @property
    def byte_count(self) -> int:
        """Roughly what it occupies while it waits for its commit."""
        rows = sum(len(event.row) + len(event.body) for event in self.accepted)
        return rows + sum(len(part.body) for part in self.rejected)
