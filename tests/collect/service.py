"""A running write side for tests: the real application on a real port."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, LiteralString

import httpx
import psycopg
import uvicorn
from prometheus_client.parser import text_string_to_metric_families

from cdp.settings import Settings
from cdp.write_keys import create_key
from ingest.app import create_app
from ingest.protocol import BoundedProtocol


@dataclass(frozen=True)
class Service:
    """A service and the database behind it."""

    url: str
    database: str
    server: uvicorn.Server | None = None

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """POST a JSON value, or `content=` as it is."""
        if "content" not in options:
            options["json"] = body
        return httpx.post(f"{self.url}{path}", timeout=30, **options)

    def stop(self) -> None:
        """Ask it to stop, as SIGTERM does."""
        assert self.server
        self.server.should_exit = True

    def execute(self, statement: LiteralString) -> None:
        """Change the database as its owner."""
        with psycopg.connect(self.database) as connection:
            connection.execute(statement)

    def rows(self, query: LiteralString, *parameters: Any) -> list[tuple[Any, ...]]:
        """Query the database as its owner."""
        with psycopg.connect(self.database) as connection:
            return connection.execute(query, parameters).fetchall()

    def row(self, query: LiteralString, *parameters: Any) -> tuple[Any, ...]:
        """The only row of a query."""
        (row,) = self.rows(query, *parameters)
        return row

    def wait_for_events(self, count: int, seconds: float = 20) -> None:
        """Wait until at least so many events have landed."""
        deadline = time.monotonic() + seconds
        while self.row("select count(*) from raw.events")[0] < count:
            assert time.monotonic() < deadline, f"fewer than {count} events in {seconds} seconds"
            time.sleep(0.05)

    def metrics(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """What /metrics says, by name and sorted labels."""
        text = httpx.get(f"{self.url}/metrics").text
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@contextlib.contextmanager
def running(
    database: str, *, test_port: int = 0, until_ready: bool = True, **settings: Any
) -> Iterator[Service]:
    """Run the service in a thread, with its settings, until the end of the block."""
    app = create_app(Settings(DATABASE_URL=database, **settings))
    with (
        listening(test_port) as listener,
        served(app, listener, database, until_ready=until_ready) as service,
    ):
        yield service


@contextlib.contextmanager
def listening(port: int = 0) -> Iterator[socket.socket]:
    """A socket on a port of this machine, a free one unless told."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        yield listener


@contextlib.contextmanager
def served(
    app: Any, listener: socket.socket, database: str, *, until_ready: bool = True
) -> Iterator[Service]:
    """Serve an application in a thread until the end of the block."""
    config = uvicorn.Config(
        app, http=BoundedProtocol, ws="none", log_config=None, access_log=False, lifespan="on"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    service = Service(f"http://127.0.0.1:{listener.getsockname()[1]}", database, server)
    try:
        if until_ready:
            wait_until_ready(service)
        yield service
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        assert not thread.is_alive(), "the service did not stop within 30 seconds"


def wait_until_ready(service: Service, seconds: float = 20) -> None:
    """Wait for /ready to answer 200."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{service.url}/ready").status_code == 200:
                return
        time.sleep(0.02)
    raise AssertionError(f"the service was not ready within {seconds} seconds")


def create_source(database: str, source: str) -> str:
    """Make a write key for a source and return it."""
    with psycopg.connect(database) as connection:
        return create_key(connection, source)
