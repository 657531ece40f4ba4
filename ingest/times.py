"""When it happened: reading a device's times and correcting a wrong clock."""

from datetime import UTC, datetime
from typing import Any

from ingest.arrival import Rules
from ingest.rejection import RejectionError, quote


def read_instant(value: Any, name: str) -> datetime | None:
    """An ISO 8601 time as a UTC instant; None where the value is absent, null or empty.

    A time without a zone is taken as UTC. Raises RejectionError for anything that is not a time.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            instant = datetime.fromisoformat(value)
            if instant.tzinfo is UTC:
                return instant
            return (
                instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
            )
        except (ValueError, OverflowError):
            pass
    raise RejectionError(
        "invalid_timestamp",
        f"{name} is {quote(value)}; give an ISO 8601 time such as 2026-01-31T12:00:00Z.",
    )


def occurred(
    timestamp: datetime | None,
    original: datetime | None,
    sent_at: datetime | None,
    received_at: datetime,
    rules: Rules,
) -> datetime:
    """The instant an event happened, in the receiver's time.

    The reference API computes `receivedAt - (sentAt - originalTimestamp)` always, which adds the
    transit delay to every event and reorders one device's events. Here that correction is made
    only when the device's clock differs from ours by more than `rules.clock_skew`. Whatever the
    device claims, nothing happens later than `rules.future_tolerance` after it was received.
    """
    device_time = original or timestamp
    if device_time is None:
        return received_at
    skew = received_at - sent_at if sent_at else None
    if skew is not None and abs(skew) > rules.clock_skew:
        try:
            happened = device_time + skew
        except OverflowError:
            happened = received_at
    else:
        happened = timestamp or device_time
    return received_at if happened - received_at > rules.future_tolerance else happened
