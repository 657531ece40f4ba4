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

from cdp.settings import Settings
from ingest.app import create_app


@dataclass(frozen=True)
class Service:
    """A service and the database behind it."""

    url: str
    database: str

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """POST a JSON value, or `content=` as it is."""
        if "content" not in options:
            options["json"] = body
        return httpx.post(f"{self.url}{path}", timeout=30, **options)

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


@contextlib.contextmanager
def running(database: str, **settings: Any) -> Iterator[Service]:
    """Run the service in a thread, with its settings, until the end of the block."""
    app = create_app(Settings(DATABASE_URL=database, **settings))
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, http="httptools", ws="none", log_config=None, access_log=False, lifespan="on"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    service = Service(f"http://127.0.0.1:{listener.getsockname()[1]}", database)
    try:
        wait_until_ready(service)
        yield service
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        listener.close()
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
