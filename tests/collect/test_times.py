"""When it happened: all times are kept, and a wrong clock is corrected only where it is wrong."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp.settings import Settings
from ingest.arrival import Rules
from ingest.rejection import RejectionError
from ingest.times import occurred, read_instant
from tests.collect.service import Service

RULES = Rules.from_settings(Settings())
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)

instants = st.datetimes(timezones=st.just(UTC))
near_instants = st.timedeltas(-30 * DAY, 30 * DAY).map(lambda delta: NOW + delta)


@pytest.mark.parametrize(
    ("timestamp", "original", "sent_at", "expected"),
    [
        (None, None, None, NOW),
        (None, None, NOW - DAY, NOW),
        (NOW - DAY, None, None, NOW - DAY),
        (None, NOW - DAY, None, NOW - DAY),
        (NOW - 9 * SECOND, NOW - 10 * SECOND, None, NOW - 9 * SECOND),
        # Some seconds on the way are not a wrong clock: the event is not moved by them.
        (NOW - 10 * SECOND, None, NOW - 5 * SECOND, NOW - 10 * SECOND),
        # The device is a day behind: it sent "now" and the event is 10 seconds old.
        (None, NOW - DAY - 10 * SECOND, NOW - DAY, NOW - 10 * SECOND),
        (NOW - DAY - 10 * SECOND, None, NOW - DAY, NOW - 10 * SECOND),
        # The device is a day ahead.
        (NOW + DAY - 10 * SECOND, None, NOW + DAY, NOW - 10 * SECOND),
        # A little in the future is a rounding, a lot is set back to the receipt.
        (NOW + 299 * SECOND, None, None, NOW + 299 * SECOND),
        (NOW + 301 * SECOND, None, None, NOW),
        (datetime(9999, 12, 31, tzinfo=UTC), None, None, NOW),
        (datetime(9999, 12, 31, tzinfo=UTC), None, NOW - DAY, NOW),
        # Ancient history is fine.
        (datetime(1, 1, 1, tzinfo=UTC), None, NOW, datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_when_it_happened(
    timestamp: datetime | None,
    original: datetime | None,
    sent_at: datetime | None,
    expected: datetime,
) -> None:
    assert occurred(timestamp, original, sent_at, NOW, RULES) == expected


@given(st.none() | instants, st.none() | instants, st.none() | instants, instants)
def test_nothing_happens_long_after_it_was_received(
    timestamp: datetime | None,
    original: datetime | None,
    sent_at: datetime | None,
    received_at: datetime,
) -> None:
    happened = occurred(timestamp, original, sent_at, received_at, RULES)
    assert happened - received_at <= RULES.future_tolerance


@given(st.lists(near_instants, min_size=2, max_size=10), near_instants)
def test_the_events_of_one_request_keep_their_order_and_distances(
    device_times: list[datetime], sent_at: datetime
) -> None:
    received_at = NOW + 60 * DAY  # nothing is in the future here
    landed = [occurred(time, None, sent_at, received_at, RULES) for time in device_times]
    shifts = {after - before for before, after in zip(device_times, landed, strict=True)}
    if max(device_times) <= sent_at:
        assert len(shifts) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00.123Z", datetime(2026, 1, 31, 12, 0, 0, 123_000, tzinfo=UTC)),
        ("2026-01-31T12:00:00.123456789Z", datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC)),
        ("2026-01-31T12:00:00+05:30", datetime(2026, 1, 31, 6, 30, tzinfo=UTC)),
        ("2026-01-31 12:00:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("", None),
        (None, None),
    ],
)
def test_a_time_is_read_in_every_form_of_iso_8601(
    text: str | None, expected: datetime | None
) -> None:
    assert read_instant(text, "timestamp") == expected


@pytest.mark.parametrize("value", ["now", "2026-02-30", "31.12.2026", 7, True, [], {}])
def test_anything_else_is_refused_with_the_value_and_an_example(value: Any) -> None:
    with pytest.raises(RejectionError, match="give an ISO 8601 time such as") as refusal:
        read_instant(value, "timestamp")
    assert refusal.value.code == "invalid_timestamp"


def test_all_times_are_kept(service: Service) -> None:
    now = datetime.now(UTC)
    sent_at, happened = now - DAY, now - DAY - 10 * SECOND
    event = {
        "type": "page",
        "originalTimestamp": happened.isoformat(),
        "sentAt": sent_at.isoformat(),
    }
    service.post("/v1/batch", {"batch": [event]})

    occurred_at, original_at, kept_sent_at, received_at = service.row(
        "select occurred_at, original_at, sent_at, received_at from raw.events"
    )
    assert (original_at, kept_sent_at) == (happened, sent_at)
    assert occurred_at == happened + (received_at - sent_at)
    assert service.row("select payload->>'originalTimestamp' from raw.events") == (
        happened.isoformat(),
    )


def test_the_time_a_batch_was_sent_counts_for_its_events(service: Service) -> None:
    sent_at = datetime.now(UTC) - DAY
    service.post("/v1/batch", {"batch": [{"type": "page"}], "sentAt": sent_at.isoformat()})

    assert service.row("select sent_at from raw.events") == (sent_at,)
