"""One built warehouse and one service for all tests that only look, and a browser per module."""

from collections.abc import Iterator

import psycopg
import pytest
from playwright.sync_api import Browser, expect
from psycopg.conninfo import make_conninfo

from cdp.postgres import EmbeddedPostgres
from tests.collect.browser import chromium
from tests.collect.service import Service
from tests.console.platform import SCRIPTS, events, running_platform
from tests.warehouse import build, land

# A message that was given up, one that waits and is of an audience that is gone, and why.
UNSETTLED = """
insert into activate.delivery_rows (
    destination, audience_id, profile_id, change, sent, message_id, delivery_id, as_of, status,
    attempts, error, next_attempt_at
)
select
    'crm', audiences.audience_id, profiles.profile_id, 'entered',
    '{"email": "sent-to-nobody"}'::jsonb, 'msg_given_up', gen_random_uuid(), now(), 'dead', 12,
    'Answered 500: <b>no</b>', now()
from segment.audiences
cross join unify.profiles
where audiences.audience_key = 'high_value_last_30_days' and profiles.user_id = 'ada'
union all
select
    'crm', 7, gen_random_uuid(), 'exited', '{}'::jsonb, 'msg_waits', gen_random_uuid(), now(),
    'pending', 1, 'No answer within 10 s.', now() + interval '1 hour'
from generate_series(1, 2);
insert into activate.destination_states (destination, disabled_at, disabled_reason)
values ('crm', now(), 'Answered 410.')
"""


@pytest.fixture(scope="session")
def warehouse(cluster: EmbeddedPostgres) -> Iterator[str]:
    """The owner's connection string of a built warehouse."""
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        connection.execute("create database console template migrated")
    url = make_conninfo(cluster.url("console"))
    with psycopg.connect(url) as connection:
        land(connection, events())
        connection.execute(
            "insert into raw.audience_definitions (audience_key, name, description, definition,"
            " is_enabled) values ('hostile', %s, %s, '{\"min_total_spend\": 1}', true)",
            [SCRIPTS[1], SCRIPTS[2]],
        )
    build(url)
    with psycopg.connect(url) as connection:
        connection.execute(UNSETTLED.encode())
    yield url
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        connection.execute("drop database console with (force)")


@pytest.fixture(scope="session")
def platform(warehouse: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service on that warehouse. Two events were rejected; Dagster does not run."""
    home = tmp_path_factory.mktemp("console")
    with running_platform(warehouse, home, dagster_port=1) as service:
        service.post("/track", {"event_type": "Lost", "user_id": "u1", "occurred_at": SCRIPTS[0]})
        service.post("/track", {"user_id": "secret-of-somebody"})
        yield service


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=30_000)
    with chromium() as started:
        yield started
