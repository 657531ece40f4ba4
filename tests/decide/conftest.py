"""A warehouse built once from a few people, and the read side in front of it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cdp.postgres import EmbeddedPostgres
from cdp.settings import Settings
from dagster_project.serving.app import create_app
from dagster_project.serving.clock import Clock
from tests.conftest import fresh_database
from tests.warehouse import build, land

AS_OF = datetime(2026, 3, 1, 12, tzinfo=UTC)
CONCERT = {"amount": 120, "category": "Rock Concert"}


def order(user_id: str, amount: float, days_ago: int, **more: Any) -> dict[str, Any]:
    at = (AS_OF - timedelta(days=days_ago)).isoformat()
    return {
        "type": "track",
        "event": "Order Completed",
        "userId": user_id,
        "timestamp": at,
        "receivedAt": at,
        "properties": {"order_id": f"{user_id}-{days_ago}", "amount": amount},
        **more,
    }


EVENTS = [
    order("ada", 320, 3, anonymousId="ada-phone", context={"traits": {"email": "Ada@Example.org"}}),
    order("ben", 60, 40),
    *(order("cleo", 120, days_ago) for days_ago in range(1, 7)),
]


@pytest.fixture(scope="session")
def warehouse(cluster: EmbeddedPostgres) -> Iterator[str]:
    """The owner's connection string of a built warehouse. Tests do not change what it says."""
    with fresh_database(cluster, "decided") as url:
        with psycopg.connect(url) as connection:
            land(connection, EVENTS)
        build(url, as_of=AS_OF)
        yield url


@pytest.fixture
def going_on(cluster: EmbeddedPostgres, warehouse: str) -> Iterator[str]:
    """A copy of the built warehouse, to go on from."""
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        # Nobody may be connected to what is copied; the last test's service may just be leaving.
        connection.execute(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity"
            " where datname = 'decided'"
        )
    with fresh_database(cluster, "going_on", template="decided") as url:
        with psycopg.connect(url, autocommit=True) as connection:
            # What other tests asked of the warehouse that is copied.
            connection.execute("delete from decide.decisions")
        yield url


def serving_settings(url: str, **chosen: Any) -> Settings:
    """Settings of a read side that logs in as cdp_serving."""
    return Settings(serving_database_url=make_conninfo(url, user="cdp_serving"), **chosen)


@asynccontextmanager
async def serving(
    url: str, clock: Clock = lambda: AS_OF, **chosen: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the read side, started and stopped with the block, that answers for AS_OF."""
    app = create_app(serving_settings(url, **chosen), clock)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://serving") as client,
    ):
        yield client


@pytest.fixture
async def client(warehouse: str) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(warehouse) as client:
        yield client


async def decide(client: httpx.AsyncClient, **asked: Any) -> dict[str, Any]:
    answer = await client.post("/decide", json=asked)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content
