"""What a destination promises."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import psycopg


class DeliveryError(RuntimeError):
    """An audience could not be delivered; the message says what to do."""


@dataclass(frozen=True)
class Audience:
    """An audience as the batch built it at `as_of`."""

    audience_id: int
    audience_key: str
    definition_version: int
    as_of: datetime
    member_count: int


@dataclass(frozen=True)
class Delivered:
    """What the destination acknowledged: how many rows, and facts worth showing."""

    rows: int
    facts: dict[str, str | int | float]


class Destination(Protocol):
    """Brings whole audiences to one place.

    Delivering the same audience again has the same effect as delivering it once. A delivery that
    fails leaves what was there before.
    """

    @property
    def name(self) -> str:
        """As `activate.deliveries.destination` records it."""

    def deliver(self, audience: Audience, snapshot: psycopg.Connection[Any]) -> Delivered:
        """Deliver all members, read inside `snapshot`, a transaction that the caller ends."""

    def delivered(self) -> dict[str, int]:
        """The audiences that the destination holds from earlier deliveries: id by key."""

    def withdraw(self, audience_key: str) -> None:
        """Take away an audience that no longer exists."""
