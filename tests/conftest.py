"""Real parts for every test: one PostgreSQL per test process, one fresh database per test."""

import itertools
import signal
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cdp.database import migrate
from cdp.postgres import EmbeddedPostgres
from tests.scratch import scratch_folder

# The server of the tests may lose its data: it is thrown away. The product's never runs like this.
FAST = (
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "off"),
    ("shared_buffers", "64MB"),
    ("max_wal_size", "256MB"),
    # As PostgreSQL has it by default, so that what locks too much is noticed.
    ("max_locks_per_transaction", "64"),
)
TEMPLATE = "migrated"
numbers = itertools.count()


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs under test.

    A shell that starts the tests in the background has them ignore SIGINT, and children inherit it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)  # after pytest-xdist has written groups into the ids
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest tests first, so that no process waits for another at the end.

    Refuse tests that share an id: in parallel only one of them would run, without a word. Refuse to
    scatter a group: every process would build what the group shares again.
    """
    items.sort(key=lambda item: not item.path.match("*/unify/*"))
    shared = [name for name, count in Counter(item.nodeid for item in items).items() if count > 1]
    if shared:
        raise pytest.UsageError(f"More than one test is called {', '.join(shared)}.")
    if getattr(config.option, "loadgroup", False):
        scattered = [
            item.nodeid
            for item in items
            if item.get_closest_marker("xdist_group") and "@" not in item.nodeid
        ]
        if scattered:
            raise pytest.UsageError(f"pytest-xdist does not see the group of {scattered[0]}.")


@pytest.fixture(scope="session")
def cluster() -> Iterator[EmbeddedPostgres]:
    """A running PostgreSQL with a migrated template database, for this test process only."""
    server = EmbeddedPostgres(scratch_folder("postgres"), settings=FAST)
    server.start()
    try:
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute(f"create database {TEMPLATE}")
        migrate(server.url(TEMPLATE))
        yield server
    finally:
        server.stop()


@pytest.fixture
def database(cluster: EmbeddedPostgres) -> Iterator[str]:
    """The owner's connection string of a fresh, migrated database."""
    with fresh_database(cluster, f"test_{next(numbers)}") as url:
        yield url


@pytest.fixture(scope="module")
def module_database(cluster: EmbeddedPostgres) -> Iterator[str]:
    """The owner's connection string of a fresh, migrated database that a test module shares."""
    with fresh_database(cluster) as url:
        yield url


@contextmanager
def fresh_database(
    cluster: EmbeddedPostgres, name: str | None = None, template: str = TEMPLATE
) -> Iterator[str]:
    """The owner's connection string of a migrated database that lives as long as the block."""
    name = name or f"fresh_{uuid.uuid4().hex}"
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        connection.execute(f"create database {name} template {template}")
    yield make_conninfo(cluster.url(name))
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)")
