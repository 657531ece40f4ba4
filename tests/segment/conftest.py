"""Tables that rules read, made by hand where a test needs no dbt."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cdp.postgres import EmbeddedPostgres
from tests.segment.people import create_tables


@pytest.fixture(scope="session")
def rule_tables(cluster: EmbeddedPostgres) -> Iterator[str]:
    """A database with empty unify.profiles and unify.events; tests replace their rows."""
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        connection.execute("create database rule_tables template migrated")
    url = make_conninfo(cluster.url("rule_tables"))
    with psycopg.connect(url) as connection:
        create_tables(connection)
    yield url
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        connection.execute("drop database rule_tables with (force)")
