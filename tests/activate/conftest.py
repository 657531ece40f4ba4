"""An audience to deliver: the public tables that a destination reads, with rows of the test."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import psycopg
import pytest

SEEN_AT = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
ADDED_AT = datetime(2026, 2, 1, tzinfo=UTC)
BUILT_AT = datetime(2026, 3, 2, tzinfo=UTC)

# The columns that the data contract promises and a destination reads, with their types.
PUBLIC_TABLES = """
create table unify.profiles (
    profile_id uuid primary key,
    email text,
    user_id text,
    total_spend numeric,
    total_orders bigint,
    last_seen_at timestamptz
);
create table segment.audiences (
    audience_id bigint primary key,
    audience_key text not null unique,
    is_enabled boolean not null default true,
    definition_version integer not null default 1,
    built_version integer default 1,
    last_built_at timestamptz
);
create table segment.audience_members (
    audience_id bigint,
    profile_id uuid,
    added_at timestamptz not null,
    primary key (audience_id, profile_id)
);
"""


@dataclass(frozen=True)
class Person:
    """A member with the values that end up in a row of the file."""

    email: str | None = None
    user_id: str | None = None
    total_spend: Decimal | None = Decimal("10.50")
    total_orders: int = 1


@dataclass(frozen=True)
class Tables:
    """Writes audiences into the public tables of one database."""

    database: str

    def put(self, audience_key: str, people: Iterable[Person] = (), audience_id: int = 1) -> None:
        """Make the audience consist of exactly these people."""
        with psycopg.connect(self.database) as connection:
            connection.execute(
                "insert into segment.audiences (audience_id, audience_key, last_built_at)"
                " values (%s, %s, %s) on conflict do nothing",
                [audience_id, audience_key, BUILT_AT],
            )
            connection.execute(
                "delete from segment.audience_members where audience_id = %s", [audience_id]
            )
            for number, person in enumerate(people):
                profile_id = uuid.UUID(int=audience_id * 1_000_000 + number)
                connection.execute(
                    "insert into unify.profiles values (%s, %s, %s, %s, %s, %s)"
                    " on conflict (profile_id) do nothing",
                    [
                        profile_id,
                        person.email,
                        person.user_id,
                        person.total_spend,
                        person.total_orders,
                        SEEN_AT,
                    ],
                )
                connection.execute(
                    "insert into segment.audience_members values (%s, %s, %s)",
                    [audience_id, profile_id, ADDED_AT],
                )

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.database) as connection:
            connection.execute(statement)

    def deliveries(self) -> list[tuple[str, int | None, str | None]]:
        """Status, rows and error of every attempt, in order."""
        with psycopg.connect(self.database) as connection:
            return connection.execute(
                "select status, rows, error from activate.deliveries order by started_at"
            ).fetchall()


@pytest.fixture
def tables(database: str) -> Tables:
    with psycopg.connect(database) as connection:
        connection.execute(PUBLIC_TABLES)
    return Tables(database)
