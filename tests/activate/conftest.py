"""An audience to deliver: the public tables that a destination reads, with rows of the test."""

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

from cdp.postgres import EmbeddedPostgres
from cdp.settings import Settings
from dagster_project.delivery import deliver
from dagster_project.destinations.bigquery_tables import BigQueryTables, open_tables
from dagster_project.destinations.destination import Delivered, Destination
from dagster_project.subscriptions import EVERY_AUDIENCE, Subscription
from tests.activate.receiver import Receiver
from tests.bigquery_emulator import Emulator, running_emulator

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
    last_seen_at timestamptz,
    phone text,
    traits jsonb not null default '{}'
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
create table segment.audience_changes (
    audience_id bigint,
    profile_id uuid,
    change text,
    changed_at timestamptz
);
"""
CHANGED = """
insert into segment.audience_changes
select %(audience_id)s, profile_id, case when is_member then 'entered' else 'exited' end, %(at)s
from (
    select profile_id, profile_id = any(%(members)s) as is_member
    from (
        select profile_id from segment.audience_members where audience_id = %(audience_id)s
        union select unnest(%(members)s::uuid[])
    ) as either
) as judged
where is_member <> exists (
    select from segment.audience_members
    where audience_members.audience_id = %(audience_id)s
        and audience_members.profile_id = judged.profile_id
)
"""


@dataclass(frozen=True)
class Person:
    """A member with the values that end up in a row of the file."""

    email: str | None = None
    user_id: str | None = None
    total_spend: Decimal | None = Decimal("10.50")
    total_orders: int = 1
    phone: str | None = None
    traits: dict[str, Any] | None = None


def profile_id(number: int, audience_id: int = 1) -> uuid.UUID:
    """The id of the person that was put as number so-and-so."""
    return uuid.UUID(int=audience_id * 1_000_000 + number)


def person(number: int) -> Person:
    return Person(f"p{number}@example.com", f"u{number}")


def people(*numbers: int) -> dict[int, Person]:
    """Persons by their number."""
    return {number: person(number) for number in numbers}


def emails(*numbers: int) -> dict[str, str]:
    """What a place holds of these persons: the e-mail by profile_id."""
    return {str(profile_id(number)): f"p{number}@example.com" for number in numbers}


@dataclass
class Tables:
    """Writes audiences into the public tables of one database."""

    database: str
    builds: int = 0

    def put(self, audience_key: str, people: Iterable[Person] = (), audience_id: int = 1) -> None:
        """Make the audience consist of exactly these people."""
        self.put_numbered(audience_key, dict(enumerate(people)), audience_id)

    def put_numbered(
        self, audience_key: str, people: dict[int, Person], audience_id: int = 1
    ) -> None:
        """The same, with the number that makes each one's profile_id."""
        built_at = BUILT_AT + timedelta(minutes=self.builds)
        self.builds += 1
        members = [profile_id(number, audience_id) for number in people]
        with psycopg.connect(self.database) as connection, connection.cursor() as cursor:
            cursor.execute(
                "insert into segment.audiences (audience_id, audience_key, last_built_at)"
                " values (%(id)s, %(key)s, %(at)s)"
                " on conflict (audience_id) do update set last_built_at = excluded.last_built_at",
                {"id": audience_id, "key": audience_key, "at": built_at},
            )
            cursor.execute(
                CHANGED, {"audience_id": audience_id, "members": members, "at": built_at}
            )
            cursor.execute(
                "delete from segment.audience_members"
                " where audience_id = %s and not profile_id = any(%s)",
                [audience_id, members],
            )
            cursor.executemany(
                "insert into unify.profiles values (%s, %s, %s, %s, %s, %s, %s, %s)"
                " on conflict (profile_id) do nothing",
                [
                    [
                        profile_id(number, audience_id),
                        person.email,
                        person.user_id,
                        person.total_spend,
                        person.total_orders,
                        SEEN_AT,
                        person.phone,
                        Jsonb(person.traits or {}),
                    ]
                    for number, person in people.items()
                ],
            )
            cursor.executemany(
                "insert into segment.audience_members values (%s, %s, %s) on conflict do nothing",
                [[audience_id, member, ADDED_AT] for member in members],
            )

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.database) as connection:
            connection.execute(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database) as connection:
            return connection.execute(query).fetchall()

    def deliveries(self) -> list[tuple[str, int | None, str | None]]:
        """Status, rows and error of every attempt, in order."""
        with psycopg.connect(self.database) as connection:
            return connection.execute(
                "select status, rows, error from activate.deliveries order by started_at"
            ).fetchall()

    def deliver(
        self,
        destination: Destination,
        audience_key: str = "vip",
        *,
        may_become_empty: bool = False,
        **subscription: Any,
    ) -> Delivered:
        """Deliver as a run would, with a subscription of these fields."""
        return deliver(
            self.database,
            destination,
            audience_key,
            subscription=Subscription(EVERY_AUDIENCE, destination.name, **subscription),
            may_become_empty=may_become_empty,
            holder="test",
            on_wait=pytest.fail,
        )


@pytest.fixture(scope="session")
def activating(cluster: EmbeddedPostgres) -> Iterator[str]:
    """One database for all tests of this folder: to make one for each would take longer."""
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        connection.execute("create database activating template migrated")
    yield make_conninfo(cluster.url("activating"))
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        connection.execute("drop database activating with (force)")


@pytest.fixture
def tables(activating: str) -> Tables:
    with psycopg.connect(activating) as connection:
        connection.execute("alter database activating reset all")
        connection.execute("set local client_min_messages = warning")
        for schema in ("unify", "segment"):
            connection.execute(f"drop schema {schema} cascade; create schema {schema}")
        connection.execute(
            "truncate activate.deliveries, activate.delivery_rows, activate.acknowledged_rows,"
            " activate.subscription_states, activate.destination_states,"
            " activate.warehouse_exports, raw.audience_definitions"
        )
        connection.execute(PUBLIC_TABLES)
    return Tables(activating)


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    with running_emulator() as running:
        yield running


@pytest.fixture
def bigquery_settings(emulator: Emulator, tables: Tables) -> Settings:
    return emulator.settings("cdp", DATABASE_URL=tables.database)


@pytest.fixture
def bigquery_tables(bigquery_settings: Settings) -> Iterator[BigQueryTables]:
    opened = open_tables(bigquery_settings)
    yield opened
    opened.client.close()  # type: ignore[no-untyped-call]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    listening = Receiver()
    with listening.running():
        yield listening
