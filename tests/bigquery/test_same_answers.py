"""The models give the same rows on BigQuery as on PostgreSQL, in every kind of run."""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from cdp.bigquery.comparison import TABLES
from cdp.settings import PROJECT_DIR
from tests.bigquery.both_engines import BothEngines
from tests.bigquery_emulator import Emulator
from tests.unify.test_incremental import invented_event
from tests.warehouse import land

SCENARIO = PROJECT_DIR / "seeds" / "demo" / "scenario.ndjson"
FIRST_RUN = datetime(2026, 6, 20, 12, tzinfo=UTC)
SECOND_RUN = FIRST_RUN + timedelta(days=45)
INVENTED = 120

Snapshot = dict[str, tuple[list[str], list[str]]]


def chain(length: int) -> list[dict[str, Any]]:
    """One person who is known by a chain of identifiers, each event linking two."""
    return [
        {
            "type": "identify",
            "messageId": f"chain-{number}",
            "anonymousId": f"chain-{(number + 1) // 2}",
            "traits": {"email": f"chain-{number // 2}@example.org"},
        }
        for number in range(length)
    ]


def shared_browser(users: int) -> list[dict[str, Any]]:
    """A browser that so many users log in on; beyond its limit it tells nothing."""
    return [
        {"type": "page", "messageId": f"kiosk-{n}", "userId": f"kiosk-user-{n}", "anonymousId": "k"}
        for n in range(users)
    ]


def batches() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What lands before each of two runs. The second one repeats, merges and splits."""
    scenario = [json.loads(line) for line in SCENARIO.read_text().splitlines()]
    chance = random.Random(7)  # noqa: S311 - a reproducible history
    invented = [
        invented_event(chance, number, FIRST_RUN - timedelta(hours=INVENTED - number))
        for number in range(INVENTED)
    ]
    links = chain(10)
    first = [*scenario[:20], *invented[:80], *links[:4], *links[5:], *shared_browser(5)]
    second = [*scenario[18:], *invented[75:], links[4], *shared_browser(14)]
    return first, second


@pytest.fixture(scope="module")
def snapshots(emulator: Emulator, module_database: str) -> Iterator[dict[str, Snapshot]]:
    """Every table on both sides, after each of three runs."""
    engines = BothEngines(module_database, emulator.settings("same"))
    first, second = batches()
    taken = {}

    def take(run: str) -> None:
        taken[run] = {
            table: (engines.on_postgres(table), engines.on_bigquery(table)) for table in TABLES
        }

    for run, events, as_of in (("first", first, FIRST_RUN), ("second", second, SECOND_RUN)):
        with psycopg.connect(module_database, autocommit=True) as connection:
            for event in events:
                received_at = {} if "receivedAt" in event else {"receivedAt": as_of.isoformat()}
                land(connection, [event | received_at])
        engines.refresh_both(as_of, command="build" if run == "first" else "run")
        take(run)
    engines.refresh(SECOND_RUN, full_refresh=True)
    take("full")
    yield taken
    engines.client.close()


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("run", ["first", "second", "full"])
def test_a_table_has_the_same_rows(snapshots: dict[str, Snapshot], run: str, table: str) -> None:
    on_postgres, on_bigquery = snapshots[run][table]
    assert len(on_postgres) > 0 or table == "unify.profile_changes"
    missing = [row for row in on_postgres if row not in on_bigquery]
    surplus = [row for row in on_bigquery if row not in on_postgres]
    assert (missing[:3], surplus[:3]) == ([], [])
    assert len(on_bigquery) == len(on_postgres)


def test_what_is_compared_holds_the_cases_that_matter(snapshots: dict[str, Snapshot]) -> None:
    def column(table: str, name: str) -> list[Any]:
        return [json.loads(row)[name] for row in snapshots["second"][table][1]]

    assert {"merge", "split"} <= set(column("unify.profile_changes", "kind"))
    assert True in column("unify.identifiers", "is_blocked")
    assert {"entered", "exited"} <= set(column("segment.audience_changes", "change"))
    chain_owners = {
        row["profile_id"]
        for row in map(json.loads, snapshots["second"]["unify.identifiers"][1])
        if row["identifier_value"].startswith("chain-")
    }
    assert len(chain_owners) == 1
