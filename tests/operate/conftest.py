"""A platform with its own database and folder, refreshed by Dagster's own jobs."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from cdp.postgres import EmbeddedPostgres
from cdp.settings import Settings
from tests.conftest import TEMPLATE


@dataclass(frozen=True)
class Platform:
    """A database and a folder, as one installation."""

    settings: Settings

    @property
    def url(self) -> str:
        return str(self.settings.database_url)

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            return connection.execute(query, parameters or None).fetchall()

    def value(self, query: str, *parameters: Any) -> Any:
        """The only value of the only row."""
        [row] = self.rows(query, *parameters)
        [value] = row.values()
        return value

    def execute(self, statement: str, *parameters: Any) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(statement, parameters)


@pytest.fixture(scope="session")
def new_database(cluster: EmbeddedPostgres) -> Iterator[Callable[[], str]]:
    """Makes fresh, migrated databases that go with the test process."""
    made: list[str] = []

    def make() -> str:
        made.append(f"operate_{uuid.uuid4().hex}")
        with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
            connection.execute(f"create database {made[-1]} template {TEMPLATE}")
        return make_conninfo(cluster.url(made[-1]))

    yield make
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        for name in made:
            connection.execute(f"drop database {name} with (force)")


@pytest.fixture(scope="module")
def platform(new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Platform:
    home = tmp_path_factory.mktemp("home")
    return Platform(Settings(home=home, DATABASE_URL=new_database(), private_webhooks=True))
