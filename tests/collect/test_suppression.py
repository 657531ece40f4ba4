"""Suppressed identifiers: their events are answered, counted, and never land."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from cdp.replay import replay_rejected
from cdp.settings import Settings
from cdp.suppression import LandingsOpenError, suppress, wait_for_open_landings
from tests.collect.service import Service

Suppress = Callable[..., int]


@pytest.fixture
def service(own_service: Service) -> Service:
    """Suppressions stay, so these tests have a service of their own."""
    return own_service


@pytest.fixture
def suppressed(service: Service) -> Suppress:
    def add(*identifiers: tuple[str, str]) -> int:
        with psycopg.connect(service.database) as connection:
            return suppress(connection, identifiers)

    return add


def landed(service: Service) -> list[str]:
    rows = service.rows("select message_id from raw.events order by 1")
    return [message_id for (message_id,) in rows]


@pytest.mark.parametrize(
    ("identifier", "call"),
    [
        (("user_id", "u1"), {"type": "page", "userId": "u1"}),
        (("email", "a@example.org"), {"type": "identify", "traits": {"email": " A@Example.org"}}),
        (("phone", "+4915112345678"), {"type": "identify", "traits": {"phone": "+49 15112345678"}}),
        (("anonymous_id", "b1"), {"type": "page", "anonymousId": "b1", "userId": "u2"}),
        (("anonymous_id", "b2"), {"type": "alias", "userId": "u2", "previousId": "b2"}),
    ],
)
def test_the_very_next_event_is_dropped_and_counted(
    service: Service, suppressed: Suppress, identifier: tuple[str, str], call: dict[str, Any]
) -> None:
    batch = [call | {"messageId": "dropped"}, {"type": "page", "messageId": "kept"}]
    assert suppressed(identifier) == 1
    answer = service.post("/v1/batch", {"batch": batch})
    assert answer.json() == {"success": True, "accepted": 2, "rejected": []}
    assert landed(service) == ["kept"]
    assert service.row(
        "select received_count, accepted_count, rejected_count, suppressed_count from raw.landings"
    ) == (2, 1, 0, 1)
    counted = ("cdp_ingest_events_total", (("outcome", "suppressed"), ("source", "default")))
    assert service.metrics()[counted] == 1


def test_a_single_call_is_answered_as_ever(service: Service, suppressed: Suppress) -> None:
    suppressed(("user_id", "u1"))
    answer = service.post("/track", {"event_type": "a", "user_id": "u1", "message_id": "m1"})
    assert (answer.status_code, answer.json()["message_id"]) == (200, "m1")
    assert landed(service) == []


def test_a_value_of_another_type_is_somebody_else(service: Service, suppressed: Suppress) -> None:
    suppressed(("user_id", "same"))
    service.post("/v1/page", {"anonymousId": "same", "messageId": "m1"})
    assert landed(service) == ["m1"]


def test_the_list_holds_nothing_that_can_be_read(service: Service, suppressed: Suppress) -> None:
    suppressed(("email", "ada@example.org"))
    [stored] = service.rows("select suppressions::text from raw.suppressions")
    # Not "ada": three hexadecimal digits, which a hash may hold by chance.
    assert "example" not in stored[0]
    assert suppressed(("email", "ada@example.org")) == 0, "twice is once"


def test_whoever_waits_for_open_landings_misses_none(
    service: Service, suppressed: Suppress
) -> None:
    """A writer that began before the suppression has ended when the wait is over."""
    with psycopg.connect(service.database) as slow:
        slow.execute("select pg_current_xact_id()")
        suppressed(("user_id", "u1"))
        with pytest.raises(LandingsOpenError, match="has been open for more than 0 s"):
            wait_for_open_landings(service.database, seconds=0.3)
        waiting = threading.Thread(target=wait_for_open_landings, args=[service.database])
        waiting.start()
        slow.commit()
        waiting.join(timeout=60)
        assert not waiting.is_alive()


def test_under_load_nothing_lands_after_the_wait(service: Service, suppressed: Suppress) -> None:
    with sending(service, "u1"):
        service.wait_for_events(20)
        suppressed(("user_id", "u1"))
        wait_for_open_landings(service.database)
        count = len(landed(service))
        dropped_before = dropped(service)
        while dropped(service) < dropped_before + 20:
            time.sleep(0.05)
    assert len(landed(service)) == count


def dropped(service: Service) -> int:
    return int(service.row("select coalesce(sum(suppressed_count), 0) from raw.landings")[0])


@contextlib.contextmanager
def sending(service: Service, user_id: str) -> Iterator[None]:
    """Send events of one user from four threads for as long as the block runs."""
    ended = threading.Event()
    statuses: set[int] = set()

    def send() -> None:
        while not ended.is_set():
            statuses.add(service.post("/v1/page", {"userId": user_id}).status_code)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert statuses == {200}


def test_what_was_quarantined_before_is_dropped_when_it_is_replayed(
    service: Service, suppressed: Suppress
) -> None:
    service.execute(
        "insert into raw.rejected_events"
        " (received_at, source, path, code, message, body, body_encoding)"
        """ values (now(), 'web', '/v1/page', 'x', 'x', '{"userId": "u1"}', 'utf-8')"""
    )
    suppressed(("user_id", "u1"))
    result = replay_rejected(service.database, Settings(DATABASE_URL=service.database))
    assert (result.accepted_events, result.suppressed_events, result.still_rejected) == (0, 1, 0)
    assert landed(service) == []
    assert service.row("select body from raw.rejected_events") == ("[suppressed]",)
