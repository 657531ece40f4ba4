"""The log of decisions while it is slow, locked, or refuses some of them."""

import asyncio
import time
from typing import LiteralString

import httpx
import psycopg
import pytest

from tests.decide.conftest import serving

DECISIONS = 40
PATIENCE_SECONDS = 60


def changed(database: str, statement: LiteralString) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(statement)


def logged(database: str) -> int:
    with psycopg.connect(database) as connection:
        [(count,)] = connection.execute("select count(*) from decide.decisions").fetchall()
    return int(count)


async def decide_often(client: httpx.AsyncClient) -> None:
    for number in range(DECISIONS):
        answer = await client.post("/decide", json={"user_id": "ada", "context": {"n": number}})
        assert answer.status_code == 200, answer.text


async def counted(client: httpx.AsyncClient, name: str) -> float:
    lines = (await client.get("/metrics")).text.splitlines()
    [value] = [line.split()[1] for line in lines if line.startswith(f"{name} ")]
    return float(value)


async def until_nothing_waits(client: httpx.AsyncClient) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while await counted(client, "cdp_serving_decisions_waiting"):
        assert time.monotonic() < deadline, "decisions still wait to be logged"
        await asyncio.sleep(0.05)


async def test_the_log_may_take_longer_than_an_answer(going_on: str) -> None:
    changed(
        going_on,
        """
        create function public.slow() returns trigger language plpgsql as $$
        begin perform pg_sleep(1); return null; end $$;
        create trigger slow after insert on decide.decisions execute function public.slow()
        """,
    )
    async with serving(going_on, serving_timeout_ms=500) as client:
        await decide_often(client)
        await until_nothing_waits(client)
        assert logged(going_on) == DECISIONS
        assert await counted(client, "cdp_serving_decisions_lost_total") == 0


async def test_of_a_group_only_the_decisions_that_are_refused_are_lost(going_on: str) -> None:
    changed(
        going_on,
        "alter table decide.decisions add check (context ->> 'n' not in ('7', '8', '31'))",
    )
    async with serving(going_on) as client:
        await decide_often(client)
        await until_nothing_waits(client)
        assert logged(going_on) == DECISIONS - 3
        assert await counted(client, "cdp_serving_decisions_lost_total") == 3


@pytest.mark.parametrize("is_stopped", [False, True])
async def test_of_a_group_that_takes_too_long_halves_are_written(
    going_on: str, monkeypatch: pytest.MonkeyPatch, is_stopped: bool
) -> None:
    """Each row takes a twentieth of a second and a transaction may take one."""
    monkeypatch.setattr(
        "dagster_project.serving.decision_log.TIMEOUTS", "set local statement_timeout = '1s'"
    )
    changed(
        going_on,
        """
        create function public.slow() returns trigger language plpgsql as $$
        begin perform pg_sleep(0.05); return null; end $$;
        create trigger slow after insert on decide.decisions
        for each row execute function public.slow()
        """,
    )
    async with serving(going_on) as client:
        await decide_often(client)
        if not is_stopped:
            await until_nothing_waits(client)
            assert await counted(client, "cdp_serving_decisions_lost_total") == 0
    assert logged(going_on) == DECISIONS


async def test_what_is_being_written_counts_as_waiting_and_outlives_a_lock(going_on: str) -> None:
    async with serving(going_on) as client:
        with psycopg.connect(going_on) as owner:
            owner.execute("lock table decide.decisions in exclusive mode")
            await decide_often(client)
            await asyncio.sleep(0.5)
            assert await counted(client, "cdp_serving_decisions_waiting") == DECISIONS
        await until_nothing_waits(client)
        assert await counted(client, "cdp_serving_decisions_lost_total") == 0
    assert logged(going_on) == DECISIONS
