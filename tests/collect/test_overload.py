"""Too much, too slow, or nobody there: bounded memory, honest answers, recovery by itself."""

import asyncio
import contextlib
import gzip
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from urllib.parse import urlsplit

import httpx
import psutil
import psycopg
import pytest

from tests.collect.service import Service, running, wait_until_ready

EVENT = {"type": "page", "name": "Home"}


@contextlib.contextmanager
def stuck_database(service: Service) -> Iterator[None]:
    """Hold a lock that makes every commit wait."""
    with psycopg.connect(service.database) as connection:
        connection.execute("lock table raw.landings in access exclusive mode")
        yield


def open_socket(service: Service) -> socket.socket:
    address = urlsplit(service.url)
    assert address.hostname
    assert address.port
    return socket.create_connection((address.hostname, address.port), timeout=10)


def test_a_full_queue_answers_503_with_retry_after_and_recovers(database: str) -> None:
    with running(database, queue_events=20) as service, ThreadPoolExecutor(40) as pool:
        with stuck_database(service):
            posted = [pool.submit(service.post, "/v1/page", EVENT) for _ in range(40)]
            done, _ = wait(posted, timeout=3)
            refused = [post.result() for post in done]
        statuses = [post.result().status_code for post in posted]

        assert len(refused) >= 10
        for reply in refused:
            assert (reply.status_code, reply.json()["code"]) == (503, "unavailable")
            assert reply.headers["Retry-After"] == "1"
        assert sorted(set(statuses)) == [200, 503]
        assert service.row("select count(*) from raw.events") == (statuses.count(200),)
        assert service.post("/v1/page", EVENT).status_code == 200


def test_the_bytes_that_wait_are_bounded_too(database: str) -> None:
    large = {"batch": [EVENT | {"name": "n" * 20_000}] * 10}
    with running(database, queue_bytes=500_000) as service, ThreadPoolExecutor(8) as pool:
        with stuck_database(service):
            posted = [pool.submit(service.post, "/v1/batch", large) for _ in range(8)]
            time.sleep(1.5)
            early = [post.result().status_code for post in posted if post.done()]
        assert set(early) == {503}
        assert {post.result().status_code for post in posted} == {200, 503}


def test_one_request_larger_than_the_queue_is_still_taken(database: str) -> None:
    with running(database, queue_events=5) as service:
        assert service.post("/v1/batch", {"batch": [EVENT] * 50}).json()["accepted"] == 50


def test_a_commit_that_hangs_is_given_up_and_answered_503(database: str) -> None:
    with running(database, commit_timeout_seconds=0.5) as service:
        event = EVENT | {"messageId": "m1"}
        with stuck_database(service):
            reply = service.post("/v1/page", event)
            assert (reply.status_code, reply.json()["code"]) == (503, "unavailable")
        wait_until_ready(service)
        assert service.post("/v1/page", event).status_code == 200
        # Whether the first attempt was stored is not known; sent again, it counts once.
        assert service.row("select count(distinct message_id) from raw.events") == (1,)


def test_a_database_that_no_longer_reacts_holds_nobody_up(database: str) -> None:
    with running(database, commit_timeout_seconds=0.5) as service:
        (backend,) = service.row(
            "select pid from pg_stat_activity"
            " where application_name = 'cdp_ingest' and datname = current_database()"
        )
        os.kill(backend, signal.SIGSTOP)
        try:
            started = time.monotonic()
            with ThreadPoolExecutor(5) as pool:
                posted = [pool.submit(service.post, "/v1/page", EVENT) for _ in range(5)]
                statuses = {post.result().status_code for post in posted}
            assert statuses == {503}
            assert time.monotonic() - started < 3
            assert httpx.get(f"{service.url}/ready").status_code == 503
        finally:
            os.kill(backend, signal.SIGCONT)
        wait_until_ready(service)
        assert service.post("/v1/page", EVENT).status_code == 200


def test_without_its_database_the_service_starts_is_not_ready_and_answers_503() -> None:
    with running("postgresql://nobody@127.0.0.1:1/none", until_ready=False) as service:
        assert httpx.get(f"{service.url}/health").status_code == 200
        ready = httpx.get(f"{service.url}/ready")
        assert (ready.status_code, ready.headers["Retry-After"]) == (503, "1")
        for path, body in (("/v1/page", EVENT), ("/v1/batch", {}), ("/track", {})):
            reply = service.post(path, body)
            assert (reply.status_code, reply.json()["code"]) == (503, "unavailable")
            assert reply.headers["Retry-After"] == "1"


def test_lost_connections_are_replaced_without_a_restart(service: Service) -> None:
    for _ in range(3):
        service.rows(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'cdp_ingest' and datname = current_database()"
        )
        deadline = time.monotonic() + 10
        while service.post("/v1/page", EVENT).status_code != 200:
            assert time.monotonic() < deadline, "no recovery within 10 seconds"
            time.sleep(0.05)


def test_slow_clients_are_told_so_and_hold_nobody_up(database: str) -> None:
    with (
        running(database, body_timeout_seconds=0.5) as service,
        contextlib.ExitStack() as connections,
    ):
        slow = [connections.enter_context(open_socket(service)) for _ in range(200)]
        for number, connection in enumerate(slow):
            begun = b"{" if number % 2 else b""
            connection.sendall(
                b"POST /v1/page HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + begun
            )
        started = time.monotonic()
        assert service.post("/v1/page", EVENT).status_code == 200
        assert time.monotonic() - started < 2

        for connection in slow:
            # The head and the body may arrive apart.
            answer = b""
            while b"}" not in answer and (part := connection.recv(65_536)):
                answer += part
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b'"body_timeout"' in answer


def test_clients_that_leave_in_the_middle_leave_nothing_behind(service: Service) -> None:
    for _ in range(50):
        with open_socket(service) as connection:
            connection.sendall(
                b"POST /v1/page HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"
            )
    assert service.post("/v1/page", EVENT).status_code == 200
    assert service.row("select count(*) from raw.events") == (1,)


@pytest.mark.parametrize("line", [b"x" * 10_000, b"a: b\r\n" * 2_000], ids=["one", "many"])
def test_headers_without_end_are_cut_off(service: Service, line: bytes) -> None:
    with open_socket(service) as connection:
        connection.sendall(b"POST /v1/page HTTP/1.1\r\nHost: x\r\nX-Long: ")
        received = b""
        with contextlib.suppress(ConnectionError):
            for _ in range(1_000):
                connection.sendall(line)
            received = connection.recv(1_000)
    assert received == b"" or (
        received.startswith(b"HTTP/1.1 400 ") and b'"code":"bad_request"' in received
    )
    assert service.post("/v1/page", EVENT).status_code == 200


def test_a_connection_that_says_nothing_is_closed(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.protocol.HEAD_TIMEOUT_SECONDS", 0.3)
    with open_socket(service) as connection:
        connection.sendall(b"POST /v1/page HTTP/1.1\r\nHost:")
        assert connection.recv(1_000) == b""


def test_unfinished_bodies_together_are_bounded(database: str) -> None:
    with running(database, reading_bytes=300_000) as service:
        held = []
        for _ in range(6):
            connection = open_socket(service)
            connection.sendall(
                b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n"
                + b" " * 100_000
            )
            held.append(connection)
        answers = []
        for connection in held:
            connection.settimeout(1)
            with contextlib.suppress(TimeoutError):
                answers.append(connection.recv(1_000))
        for connection in held:
            connection.close()

        assert answers
        assert all(b" 503 " in answer and b"retry-after: 1" in answer for answer in answers)
        assert service.post("/v1/page", EVENT).status_code == 200


def test_gzip_bombs_cost_little_memory(service: Service) -> None:
    bomb = gzip.compress(b" " * 500_000_000, compresslevel=1)
    process = psutil.Process()
    before = process.memory_info().rss
    for _ in range(3):
        reply = service.post("/v1/batch", content=bomb, headers={"Content-Encoding": "gzip"})
        assert (reply.status_code, reply.json()["code"]) == (413, "body_too_large")
    assert process.memory_info().rss - before < 100_000_000


def test_thousands_of_idle_connections_do_not_hurt(service: Service) -> None:
    async def hold_and_post() -> float:
        address = urlsplit(service.url)
        held = [await asyncio.open_connection(address.hostname, address.port) for _ in range(2_000)]
        try:
            started = time.monotonic()
            async with httpx.AsyncClient(base_url=service.url) as client:
                for _ in range(20):
                    assert (await client.post("/v1/page", json=EVENT)).status_code == 200
            return time.monotonic() - started
        finally:
            for _, writer in held:
                writer.close()

    assert asyncio.run(hold_and_post()) < 5


def test_a_batch_of_the_largest_size_is_taken(service: Service) -> None:
    reply = service.post("/v1/batch", {"batch": [{"type": "page"}] * 2_500})

    assert reply.json()["accepted"] == 2_500


def test_the_metrics_tell_what_happened(own_service: Service) -> None:
    service = own_service
    service.post("/v1/page", EVENT)
    service.post("/v1/batch", {"batch": [EVENT, {"type": "track"}]})
    service.post("/v1/page", content=b"{")

    metrics = service.metrics()
    expected = {
        ("cdp_ingest_requests_total", (("path", "/v1/page"), ("status", "200"))): 1,
        ("cdp_ingest_requests_total", (("path", "/v1/page"), ("status", "400"))): 1,
        ("cdp_ingest_requests_total", (("path", "/v1/batch"), ("status", "200"))): 1,
        ("cdp_ingest_events_total", (("outcome", "accepted"), ("source", "default"))): 2,
        ("cdp_ingest_events_total", (("outcome", "missing_event"), ("source", "default"))): 1,
        ("cdp_ingest_events_total", (("outcome", "malformed_json"), ("source", "default"))): 1,
        ("cdp_ingest_commit_events_sum", ()): 4,
        ("cdp_ingest_commit_seconds_count", ()): 3,
        ("cdp_ingest_queue_events", ()): 0,
        ("cdp_ingest_database_up", ()): 1,
    }
    assert {key: metrics.get(key) for key in expected} == expected


def test_stopping_stores_what_waits(database: str) -> None:
    with running(database) as service:
        replies: list[int] = []
        with stuck_database(service):
            poster = threading.Thread(
                target=lambda: replies.append(service.post("/v1/page", EVENT).status_code)
            )
            poster.start()
            time.sleep(0.5)
            assert replies == []
            service.stop()
            time.sleep(0.5)
        poster.join(20)
    assert replies == [200]
    with psycopg.connect(database) as connection:
        assert connection.execute("select count(*) from raw.events").fetchone() == (1,)
