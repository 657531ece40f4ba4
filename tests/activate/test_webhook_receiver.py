"""The receiver for trying webhooks out: what it prints, and what it refuses."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest

from cdp.settings import PROJECT_DIR
from cdp.webhook_receiver import MAX_BODY_BYTES, TOLERANCE_SECONDS, WebhookReceiver
from dagster_project.destinations.webhook import Webhook
from dagster_project.destinations.webhook_signature import read_secrets, sign, verifies
from tests.activate.conftest import Person, Tables
from tests.activate.receiver import SECRET

SECRETS = read_secrets(SECRET, "CRM_SECRET")
BODY = b'{"data": {"audience_key": "vip", "rows": []}}'


def command(*arguments: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "cdp", "webhook-receiver", *arguments],
        cwd=PROJECT_DIR,
        env=os.environ | {"COLUMNS": "300", "PYTHONUNBUFFERED": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_command_prints_what_a_delivery_brings_until_it_is_stopped(tables: Tables) -> None:
    process = command("--secret", "CRM_SECRET", "--port", "0", CRM_SECRET=SECRET)
    assert process.stdout is not None
    try:
        found = re.search(r"http://127.0.0.1:\d+/", process.stdout.readline())
        assert found
        destination = Webhook("crm", found[0], SECRETS, allows_internal=True)
        tables.put("vip", [Person(f"p{number}@example.com") for number in range(5)])
        assert tables.deliver(destination, mode="delta", columns=("email",)).rows == 5
        tables.put("vip", [Person("p0@example.com")])
        assert tables.deliver(destination, mode="delta", columns=("email",)).rows == 4
        process.send_signal(signal.SIGINT)
        printed = process.communicate(timeout=60)[0].splitlines()
    finally:
        process.kill()
        process.wait(60)
    assert printed[:5] == [
        "vip: 5 entered",
        *(f"  entered {{'email': 'p{number}@example.com'}}" for number in range(3)),
        "  and 2 more",
    ]
    assert printed[5] == "vip: 4 exited"
    assert printed[-1] == "Stopped."
    assert process.returncode == 0


def test_without_the_secret_the_command_says_what_to_set() -> None:
    process = command("--secret", "NOT_SET_ANYWHERE")
    printed = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert "NOT_SET_ANYWHERE" in printed
    assert "Traceback" not in printed


class Trying:
    """A running receiver and what it took."""

    def __init__(self, server: WebhookReceiver, told: list[tuple[Any, bool]]) -> None:
        self.server = server
        self.told = told

    def post(
        self, body: bytes = BODY, message_id: str = "m1", headers: dict[str, str] | None = None
    ) -> httpx.Response:
        now = int(time.time())
        signed = {
            "webhook-id": message_id,
            "webhook-timestamp": str(now),
            "webhook-signature": sign(SECRETS, message_id, now, body),
        }
        return httpx.post(
            f"http://127.0.0.1:{self.server.server_port}/",
            content=body,
            headers=signed | (headers or {}),
        )


@pytest.fixture
def trying() -> Iterator[Trying]:
    told: list[tuple[Any, bool]] = []

    def verify(message_id: str, timestamp: int, body: bytes, header: str) -> bool:
        return verifies(SECRETS, message_id, timestamp, body, header=header)

    def keep(message: dict[str, Any], is_repeated: bool) -> None:
        told.append((message, is_repeated))

    with WebhookReceiver("127.0.0.1", 0, verify=verify, on_message=keep) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield Trying(server, told)
        server.shutdown()
        thread.join()


def test_a_message_that_comes_again_is_recognised(trying: Trying) -> None:
    for message_id in ("m1", "m2", "m1"):
        assert trying.post(message_id=message_id).status_code == 200
    assert [is_repeated for _message, is_repeated in trying.told] == [False, False, True]


def test_what_was_answered_with_a_failure_may_come_again(trying: Trying) -> None:
    trying.server.status = 503
    assert trying.post().status_code == 503
    trying.server.status = 200
    assert trying.post().status_code == 200
    assert [is_repeated for _message, is_repeated in trying.told] == [False, False]


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ({"webhook-signature": "v1,bm90IHRoaXM="}, 401, "fits none of the secrets"),
        ({"webhook-id": "another"}, 401, "fits none of the secrets"),
        ({"webhook-timestamp": "soon"}, 401, "webhook-timestamp is 'soon'"),
        (
            {"webhook-timestamp": str(int(time.time()) - 2 * TOLERANCE_SECONDS)},
            401,
            f"not within {TOLERANCE_SECONDS} s of now",
        ),
    ],
)
def test_what_is_not_good_is_refused_with_the_reason(
    trying: Trying, headers: dict[str, str], status: int, reason: str
) -> None:
    answer = trying.post(headers=headers)
    assert (answer.status_code, trying.told) == (status, [])
    assert reason in answer.text


@pytest.mark.parametrize("length", [str(MAX_BODY_BYTES + 1), "-1", "many"])
def test_a_body_of_no_good_length_is_refused_before_it_is_read(trying: Trying, length: str) -> None:
    connection = HTTPConnection("127.0.0.1", trying.server.server_port, timeout=60)
    connection.putrequest("POST", "/")
    connection.putheader("content-length", length)
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 400
    assert "give a body of at most 1 MB" in answer.read().decode()
    connection.close()


def test_a_body_that_is_no_json_is_refused(trying: Trying) -> None:
    answer = trying.post(b"{not json")
    assert (answer.status_code, answer.text, trying.told) == (400, "The body is not JSON.", [])
