"""The write side on a real database."""

from collections.abc import Iterator

import psycopg
import pytest

from cdp.postgres import EmbeddedPostgres
from tests.collect.service import Service, running


@pytest.fixture(scope="session")
def shared_service(cluster: EmbeddedPostgres) -> Iterator[Service]:
    """One service for all tests that change neither its settings nor its schema."""
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        connection.execute("create database collect template migrated")
    with running(cluster.url("collect")) as service:
        yield service


@pytest.fixture
def service(shared_service: Service) -> Service:
    """A service on loopback without write keys, its tables empty: every event is of `default`."""
    shared_service.execute(
        "truncate raw.events, raw.rejected_events, raw.landings restart identity"
    )
    return shared_service


@pytest.fixture
def own_service(database: str) -> Iterator[Service]:
    """The same, as the test's own: for tests that change the schema or count from zero."""
    with running(database) as service:
        yield service
