"""Webhooks: what is sent, and what happens to it when the receiver misbehaves."""

import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import psycopg
import pytest

from cdp.deliveries import enable, unsettled
from cdp.settings import PROJECT_DIR
from dagster_project.destinations.destination import Delivered, DeliveryError, HeldError
from dagster_project.outbox import revive, waiting
from dagster_project.withdrawal import withdraw_stale
from tests.activate.conftest import Person, Tables, profile_id
from tests.activate.places import webhook
from tests.activate.receiver import SECRET, Receiver, close, hang

NEW_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDZmZmZmZm"  # noqa: S105 - only the tests know it


def put(tables: Tables, *numbers: int, audience_key: str = "vip", audience_id: int = 1) -> None:
    people = {number: Person(f"p{number}@example.com") for number in numbers}
    tables.put_numbered(audience_key, people, audience_id)


def send(tables: Tables, receiver: Receiver, **options: Any) -> Delivered:
    chosen = {"rows_per_message": 1, "concurrency": 1} | options
    return tables.deliver(webhook(receiver, **chosen), mode="delta")


def make_due(tables: Tables) -> None:
    """What time would do."""
    with psycopg.connect(tables.database, autocommit=True) as connection:
        revive(connection)


def held(receiver: Receiver) -> set[str]:
    return {str(row["email"]) for row in receiver.holdings().values()}


def emails(*numbers: int) -> set[str]:
    return {f"p{number}@example.com" for number in numbers}


def test_a_message_says_who_entered_changed_and_left(tables: Tables, receiver: Receiver) -> None:
    put(tables, 1, 2)
    send(tables, receiver)
    tables.execute("update unify.profiles set total_spend = 99 where email = 'p1@example.com'")
    put(tables, 1, 3)
    send(tables, receiver, rows_per_message=10)
    [last] = receiver.accepted[2:]
    assert last.message["type"] == "audience.members_changed"
    data = last.message["data"]
    assert (data["audience_key"], data["audience_id"], data["definition_version"]) == ("vip", 1, 1)
    assert [(row["change"], row["row"]["email"]) for row in last.rows] == [
        ("changed", "p1@example.com"),
        ("exited", "p2@example.com"),
        ("entered", "p3@example.com"),
    ]
    assert last.rows[0]["row"]["total_spend"] == 99
    assert last.rows[0]["row"]["last_seen_at"] == "2026-03-01T12:00:00.123456+00:00"
    assert last.rows[0]["profile_id"] == str(profile_id(1))


def test_a_message_is_at_most_20_kb(tables: Tables, receiver: Receiver) -> None:
    tables.put("vip", [Person(f"p{number}@example.com", "é" * 300) for number in range(200)])
    assert send(tables, receiver, rows_per_message=500).rows == 200
    assert len(receiver.holdings()) == 200
    sizes = [received.size for received in receiver.accepted]
    assert max(sizes) <= 20_000
    assert min(sizes[:-1]) > 19_000


def test_a_row_too_large_for_a_message_is_given_up_and_shown(
    tables: Tables, receiver: Receiver
) -> None:
    tables.put("vip", [Person("a@example.com", "x" * 25_000), Person("b@example.com")])
    assert send(tables, receiver).rows == 1
    with psycopg.connect(tables.database) as connection:
        [message] = unsettled(connection)
    assert message.status == "dead"
    assert "choose fewer columns" in str(message.error)
    assert held(receiver) == {"b@example.com"}


@pytest.mark.parametrize("known", [SECRET, NEW_SECRET])
def test_while_a_secret_is_rotated_both_verify(
    tables: Tables, receiver: Receiver, known: str
) -> None:
    receiver.secret = known
    put(tables, 1)
    tables.deliver(webhook(receiver, secret=f"{NEW_SECRET} {SECRET}"))
    [received] = receiver.accepted
    assert len(received.headers["webhook-signature"].split()) == 2


def test_the_id_is_the_same_in_every_attempt(tables: Tables, receiver: Receiver) -> None:
    put(tables, 1)
    receiver.replies = [500, 503, 200]
    for _attempt in range(3):
        send(tables, receiver)
        make_due(tables)
    first, second, third = receiver.requests
    assert first.message_id == second.message_id == third.message_id
    assert first.message == second.message == third.message
    assert tables.rows("select count(*) from activate.delivery_rows") == [(0,)]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (500, "Answered 500"),
        (404, "Answered 404"),
        ((302, {"location": "http://127.0.0.1:1/"}), "redirect, which is not followed"),
        (close, "The connection failed"),
    ],
)
def test_a_row_that_failed_is_kept_with_its_reason_and_the_others_arrive(
    tables: Tables, receiver: Receiver, reply: object, reason: str
) -> None:
    put(tables, 1, 2, 3)
    receiver.replies = [200, reply]  # type: ignore[list-item]
    delivered = send(tables, receiver)
    assert (delivered.rows, delivered.rows_failed) == (2, 1)
    assert held(receiver) == emails(1, 3)
    [(status, attempts, error)] = tables.rows(
        "select status, attempts, error from activate.delivery_rows"
    )
    assert (status, attempts) == ("pending", 1)
    assert reason in error
    # Not due yet: the next run leaves it alone.
    send(tables, receiver)
    assert len(receiver.requests) == 3
    make_due(tables)
    send(tables, receiver)
    assert held(receiver) == emails(1, 2, 3)


def test_each_wait_is_longer_than_the_one_before(tables: Tables, receiver: Receiver) -> None:
    put(tables, 1)
    receiver.default = 500
    waits = []
    for _attempt in range(6):
        send(tables, receiver)
        [(wait,)] = tables.rows(
            "select extract(epoch from next_attempt_at - clock_timestamp())::float"
            " from activate.delivery_rows"
        )
        waits.append(wait)
        make_due(tables)
    for number, wait in enumerate(waits):
        # Half of the doubled wait is jitter; the slowest machine takes a minute off.
        assert 15 * 2**number - 60 < wait <= 30 * 2**number


def test_after_the_last_attempt_a_row_waits_for_somebody(
    tables: Tables, receiver: Receiver
) -> None:
    put(tables, 1)
    receiver.default = 500
    send(tables, receiver, attempts=2)
    make_due(tables)
    send(tables, receiver, attempts=2)
    assert tables.rows("select status from activate.delivery_rows") == [("dead",)]
    with psycopg.connect(tables.database) as connection:
        assert waiting(connection) == []
    send(tables, receiver)
    assert len(receiver.requests) == 2
    receiver.default = 200
    make_due(tables)
    send(tables, receiver)
    assert held(receiver) == emails(1)


def test_a_receiver_that_hangs_is_not_waited_for(tables: Tables, receiver: Receiver) -> None:
    put(tables, 1)
    receiver.replies = [hang(30)]
    delivered = send(tables, receiver, timeout_seconds=0.3)
    assert delivered.rows_failed == 1
    assert "No answer within 0.3 s" in str(delivered.warning)


def test_a_slow_answer_is_an_answer(tables: Tables, receiver: Receiver) -> None:
    put(tables, 1)

    def slow(handler: object) -> None:
        hang(0.5)(handler)  # type: ignore[arg-type]
        receiver.accepted.append(receiver.requests[-1])
        handler.answer(200, {})  # type: ignore[attr-defined]

    receiver.replies = [slow]
    assert send(tables, receiver).rows == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_receiver_that_asks_for_time_gets_it(
    tables: Tables, receiver: Receiver, form: str
) -> None:
    put(tables, 1, 2, 3)
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    receiver.replies = [200, (429, {"retry-after": "3600" if form == "seconds" else later})]
    assert send(tables, receiver).rows_unsent == 1
    assert len(receiver.requests) == 2
    [(wait,)] = tables.rows(
        "select extract(epoch from next_attempt_at - clock_timestamp())::float"
        " from activate.delivery_rows"
    )
    assert 3400 < wait < 3700
    with pytest.raises(HeldError, match="left alone until"):
        send(tables, receiver)
    assert len(receiver.requests) == 2
    make_due(tables)
    send(tables, receiver)
    assert held(receiver) == emails(1, 2, 3)


def test_a_receiver_that_is_gone_is_disabled_until_it_is_enabled(
    tables: Tables, receiver: Receiver
) -> None:
    put(tables, 1, 2, 3)
    receiver.replies = [200, 410]
    with pytest.raises(DeliveryError, match="answered 410 and has been disabled"):
        send(tables, receiver)
    with pytest.raises(HeldError, match="cdp deliveries enable crm"):
        send(tables, receiver)
    assert len(receiver.requests) == 2
    with psycopg.connect(tables.database) as connection:
        enable(connection, "crm")
    make_due(tables)
    send(tables, receiver)
    assert held(receiver) == emails(1, 2, 3)


def test_wrong_credentials_end_the_run(tables: Tables, receiver: Receiver) -> None:
    put(tables, *range(10))
    receiver.replies = [401]
    delivered = send(tables, receiver)
    assert "refuses the credentials" in str(delivered.warning)
    assert len(receiver.requests) == 1
    make_due(tables)
    send(tables, receiver)
    assert held(receiver) == emails(*range(10))


def test_a_receiver_that_is_down_is_not_asked_for_every_row(
    tables: Tables, receiver: Receiver
) -> None:
    put(tables, *range(50))
    receiver.default = 500
    delivered = send(tables, receiver)
    assert (delivered.rows, delivered.rows_failed, delivered.rows_unsent) == (0, 5, 45)
    receiver.default = 200
    make_due(tables)
    send(tables, receiver)
    assert held(receiver) == emails(*range(50))


def test_a_row_that_was_never_sent_is_never_taken_back(tables: Tables, receiver: Receiver) -> None:
    put(tables, *range(10))
    receiver.default = 500
    send(tables, receiver)
    receiver.default = 200
    put(tables, 20)
    make_due(tables)
    send(tables, receiver)
    # The first five may have arrived although they were answered 500; nobody else is named.
    told = receiver.changes()
    assert {email for change, email in told if change == "exited"} == emails(*range(5))
    assert [email for change, email in told if change == "entered"] == ["p20@example.com"]


def test_an_exit_that_failed_is_repeated_until_it_arrives(
    tables: Tables, receiver: Receiver
) -> None:
    put(tables, 1, 2)
    send(tables, receiver)
    put(tables, 2)
    receiver.replies = [500]
    send(tables, receiver)
    assert held(receiver) == emails(1, 2)
    make_due(tables)
    send(tables, receiver)
    assert held(receiver) == emails(2)


def test_an_exit_that_took_the_place_of_an_uncertain_entry_is_not_forgotten(
    tables: Tables, receiver: Receiver
) -> None:
    put(tables, 0, 9)
    send(tables, receiver)
    put(tables, 0, 1, 2, 3, 4, 5, 9)
    # Heard, but the answer was lost: the receiver holds who nobody acknowledged.
    receiver.default = 500
    send(tables, receiver)
    receiver.accepted += receiver.requests[2:]
    put(tables, 0, 9)
    # The exits are written down, and the receiver is down again after five of them.
    make_due(tables)
    send(tables, receiver)
    receiver.default = 200
    make_due(tables)
    send(tables, receiver)
    assert held(receiver) == emails(0, 9)


def test_a_run_ends_in_time_and_the_next_goes_on(tables: Tables, receiver: Receiver) -> None:
    put(tables, *range(30))
    delivered = send(tables, receiver, run_seconds=0.2, per_second=20)
    assert 0 < delivered.rows < 30
    assert "Stopped after 0.2 s" in str(delivered.warning)
    send(tables, receiver)
    assert held(receiver) == emails(*range(30))
    assert len(receiver.accepted) == 30


def test_members_of_an_audience_that_is_gone_leave(tables: Tables, receiver: Receiver) -> None:
    put(tables, 1, 2)
    put(tables, 3, audience_key="lapsed", audience_id=2)
    send(tables, receiver)
    assert withdraw_stale(tables.database, webhook(receiver), ["lapsed"]) == ["vip"]
    assert held(receiver) == set()
    assert tables.deliveries()[-1][0] == "withdrawn"
    assert withdraw_stale(tables.database, webhook(receiver), ["lapsed"]) == []


KILLED = """
import sys
from dagster_project.delivery import deliver
from dagster_project.subscriptions import Subscription
from tests.activate.places import webhook
from tests.activate.receiver import Receiver
receiver = Receiver(port=int(sys.argv[2]))
deliver(
    sys.argv[1], webhook(receiver, rows_per_message=1, concurrency=1), "vip",
    subscription=Subscription("*", "crm", "delta"), holder="killed", on_wait=print,
)
"""


def test_a_process_killed_in_the_middle_loses_nothing_and_repeats_under_the_same_id(
    tables: Tables, receiver: Receiver
) -> None:
    put(tables, 1, 2, 3, 4, 5)
    arrived, killed = threading.Event(), threading.Event()

    def wait_for_the_kill(handler: object) -> None:
        arrived.set()
        killed.wait(60)
        handler.close_connection = True  # type: ignore[attr-defined]

    receiver.replies = [200, 200, wait_for_the_kill]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, tables.database, str(receiver.port)],
        cwd=PROJECT_DIR,
        env=os.environ | {"PYTHONPATH": str(PROJECT_DIR)},
    )
    try:
        assert arrived.wait(120)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    finally:
        process.kill()
        process.wait(60)
        killed.set()
    put(tables, 1, 2, 4, 5, 6)
    make_due(tables)
    send(tables, receiver)
    assert held(receiver) == emails(1, 2, 4, 5, 6)
    statuses = [status for status, _rows, _error in tables.deliveries()]
    assert statuses == ["failed", "succeeded"]
    ids: dict[str, set[str]] = {}
    for request in receiver.requests:
        [row] = request.rows
        if row["change"] == "entered":
            ids.setdefault(row["profile_id"], set()).add(request.message_id)
    assert len(receiver.requests) > 6
    assert {len(each) for each in ids.values()} == {1}
