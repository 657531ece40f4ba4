"""Kill -9 at random moments under load: what was acknowledged is there."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from cdp.database import migrate
from cdp.postgres import EmbeddedPostgres
from tests.collect.load import Load
from tests.collect.service import Service, wait_until_ready

ROUNDS = 5
MOMENTS = random.Random()  # noqa: S311 - no secret depends on it


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of this test alone, durable as in production, because it will be killed."""
    server = EmbeddedPostgres(tmp_path / "pg")
    server.start()
    migrate(server.url())
    try:
        yield server
    finally:
        server.stop()


class Process:
    """`python -m ingest` as a process of its own that can be killed and started again."""

    def __init__(self, database: str, log: Path, **environment: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.service = Service(f"http://127.0.0.1:{self._port}", database)
        self._environment = environment
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator["Process"]:
        self.start()
        try:
            yield self
        finally:
            self.kill()

    def start(self) -> None:
        """Start it and wait until it is ready."""
        environment = os.environ | self._environment
        environment |= {"DATABASE_URL": self.service.database, "CDP_PORT": str(self._port)}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ingest"], env=environment, stderr=log, stdout=log
            )
        wait_until_ready(self.service, seconds=60)

    def kill(self) -> None:
        """Kill -9, workers included."""
        assert self._process
        children = _children(self._process.pid)
        for pid in (self._process.pid, *children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(10)

    def stop(self) -> int:
        """SIGTERM, and wait for the end."""
        assert self._process
        self._process.terminate()
        return self._process.wait(40)


def _children(pid: int) -> list[int]:
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in found.stdout.split()]


def assert_nothing_was_lost(service: Service, load: Load) -> None:
    landed = {message_id for (message_id,) in service.rows("select message_id from raw.events")}
    assert load.acknowledged, "nothing was acknowledged, so nothing was tested"
    assert load.acknowledged - landed == set()
    counted = service.row(
        "select sum(received_count), sum(accepted_count), sum(rejected_count) from raw.landings"
    )
    stored = service.row("select count(*) from raw.events")[0]
    assert counted == (stored, stored, 0)


def test_kill_9_of_the_service_loses_nothing_acknowledged(
    own_cluster: EmbeddedPostgres, tmp_path: Path
) -> None:
    process = Process(own_cluster.url(), tmp_path / "log")
    with process.running():
        load = Load(process.service.url)
        with load.running():
            for _ in range(ROUNDS):
                time.sleep(MOMENTS.uniform(0.2, 0.9))
                process.kill()
                process.start()
            time.sleep(0.5)

        assert load.failures > 0
        assert_nothing_was_lost(process.service, load)


def test_kill_9_of_postgresql_loses_nothing_acknowledged_and_the_service_recovers_by_itself(
    own_cluster: EmbeddedPostgres, tmp_path: Path
) -> None:
    process = Process(own_cluster.url(), tmp_path / "log")
    with process.running():
        load = Load(process.service.url)
        with load.running():
            for _ in range(ROUNDS):
                time.sleep(MOMENTS.uniform(0.2, 0.9))
                pid = own_cluster.server_pid()
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                time.sleep(0.3)
                own_cluster.start()
                wait_until_ready(process.service, seconds=30)
            time.sleep(0.5)

        assert load.statuses == {200, 503}
        assert load.failures == 0, "every request gets an answer while the database is away"
        assert_nothing_was_lost(process.service, load)


def test_sigterm_answers_what_was_received(own_cluster: EmbeddedPostgres, tmp_path: Path) -> None:
    process = Process(own_cluster.url(), tmp_path / "log")
    with process.running():
        load = Load(process.service.url)
        with load.running():
            time.sleep(1)
            assert process.stop() in (0, -signal.SIGTERM)

        landed = process.service.row("select count(distinct message_id) from raw.events")[0]
        # Every event that landed was also acknowledged: no answer was cut off.
        assert landed == len(load.acknowledged)
        assert load.statuses <= {200, 503}


def test_two_workers_share_the_work_and_lose_nothing(
    own_cluster: EmbeddedPostgres, tmp_path: Path
) -> None:
    process = Process(own_cluster.url(), tmp_path / "log", CDP_INGEST_WORKERS="2")
    with process.running():
        load = Load(process.service.url)
        with load.running(clients=16):
            time.sleep(3)

        assert load.failures == 0
        assert load.statuses == {200}
        assert_nothing_was_lost(process.service, load)
        with psycopg.connect(own_cluster.url()) as connection:
            writers = connection.execute(
                "select count(*) from pg_stat_activity where usename = 'cdp'"
                " and application_name = 'cdp_ingest'"
            ).fetchone()
        assert writers == (2,)
        answered = len(load.acknowledged)
        for _scrape in range(6):
            assert events_counted(process.service) == answered
        assert process.stop() in (0, -signal.SIGTERM)


def events_counted(service: Service) -> int:
    """What one scrape of the metrics says: each may be answered by another worker."""
    lines = httpx.get(f"{service.url}/metrics").text.splitlines()
    counts = [
        line.rpartition(" ")[2] for line in lines if line.startswith("cdp_ingest_events_total{")
    ]
    return int(sum(map(float, counts)))
