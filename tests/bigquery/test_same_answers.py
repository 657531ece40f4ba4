"""The models give the same rows on BigQuery as on PostgreSQL, in every kind of run."""

import json
import random
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from cdp.bigquery.comparison import TABLES
from cdp.bigquery.connection import BigQueryError
from cdp.bigquery.publish import PublishedTable, publish
from cdp.settings import PROJECT_DIR
from tests.bigquery.both_engines import BothEngines
from tests.bigquery_analyser import analysed
from tests.bigquery_emulator import Emulator
from tests.unify.test_incremental import invented_event
from tests.warehouse import land

pytestmark = pytest.mark.long
SCENARIO = PROJECT_DIR / "seeds" / "demo" / "scenario.ndjson"
FIRST_RUN = datetime(2026, 6, 20, 12, tzinfo=UTC)
SECOND_RUN = FIRST_RUN + timedelta(days=45)
INVENTED = 120

Snapshot = dict[str, tuple[list[str], list[str]]]


@dataclass
class Taken:
    """What the engines held after each run, and the statements that dbt sent to BigQuery."""

    engines: BothEngines
    began: datetime
    tables: dict[str, Snapshot] = field(default_factory=dict)
    statements: dict[str, str] = field(default_factory=dict)

    def take(self, run: str) -> None:
        self.tables[run] = {
            table: (self.engines.on_postgres(table), self.engines.on_bigquery(table))
            for table in TABLES
        }
        # What was selected, and what was done with it.
        for folder in ("compiled", "run"):
            below = self.engines.target_folder / folder / "cdp"
            self.statements |= {
                f"{run}/{folder}/{path.relative_to(below)}": path.read_text()
                for path in below.rglob("*.sql")
            }


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
def taken(emulator: Emulator, module_database: str) -> Taken:
    """Every table on both sides, after each of three runs."""
    engines = BothEngines(module_database, emulator.settings("same"))
    taken = Taken(engines, datetime.now(UTC))
    first, second = batches()
    for run, events, as_of in (("first", first, FIRST_RUN), ("second", second, SECOND_RUN)):
        with psycopg.connect(module_database, autocommit=True) as connection:
            for event in events:
                received_at = {} if "receivedAt" in event else {"receivedAt": as_of.isoformat()}
                land(connection, [event | received_at])
        engines.refresh_both(as_of, command="build" if run == "first" else "run")
        taken.take(run)
    engines.refresh(SECOND_RUN, full_refresh=True)
    taken.take("full")
    return taken


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("run", ["first", "second", "full"])
def test_a_table_has_the_same_rows(taken: Taken, run: str, table: str) -> None:
    on_postgres, on_bigquery = taken.tables[run][table]
    assert len(on_postgres) > 0 or table == "unify.profile_changes"
    missing = [row for row in on_postgres if row not in on_bigquery]
    surplus = [row for row in on_bigquery if row not in on_postgres]
    assert (missing[:3], surplus[:3]) == ([], [])
    assert len(on_bigquery) == len(on_postgres)


def test_what_is_compared_holds_the_cases_that_matter(taken: Taken) -> None:
    def column(table: str, name: str) -> list[Any]:
        return [json.loads(row)[name] for row in taken.tables["second"][table][1]]

    assert {"merge", "split"} <= set(column("unify.profile_changes", "kind"))
    assert True in column("unify.identifiers", "is_blocked")
    assert {"entered", "exited"} <= set(column("segment.audience_changes", "change"))
    chain_owners = {
        row["profile_id"]
        for row in map(json.loads, taken.tables["second"]["unify.identifiers"][1])
        if row["identifier_value"].startswith("chain-")
    }
    assert len(chain_owners) == 1


def test_bigquery_would_take_every_statement(taken: Taken) -> None:
    sent = taken.engines.sent(taken.began)
    assert len(sent) > 350
    found = analysed(sent, taken.engines.client, taken.engines.settings.bigquery_dataset)
    assert {each.statement: each.problem for each in found if each.problem} == {}


def test_a_later_run_asks_raw_for_no_more_than_what_is_new(taken: Taken) -> None:
    for model in ("stg_events", "int_intake__by_run"):
        sent = taken.statements[f"second/compiled/models/collect/{model}.sql"]
        [bound] = set(re.findall(r"received_at >= timestamp '([^']+)'", sent))
        assert bound == "2026-06-18T00:00:00Z"
        assert re.search(r"and xid >= [1-9]\d* and xid < \d+", sent)


def test_publishing_makes_postgresql_what_bigquery_is_and_writes_only_what_differs(
    taken: Taken,
) -> None:
    engines = taken.engines
    tables = [PublishedTable(*table.split(".")) for table in TABLES]
    runs = publish(engines.settings, engines.database, tables, client=engines.client)
    # The number of a run is the only thing that the engines do not share.
    changes = PublishedTable("unify", "profile_changes")
    assert {table for table, each in runs.items() if each.written} <= {changes}

    with psycopg.connect(engines.database) as connection:
        connection.execute("delete from unify.profiles where total_orders > 0")
        connection.execute("update unify.sessions set event_count = -1")
        connection.execute(
            "insert into segment.audience_members select 1, profile_id, now()"
            " from unify.profiles limit 1"
        )
    mended = publish(engines.settings, engines.database, tables, client=engines.client)
    for table in ("unify.profiles", "unify.sessions", "segment.audience_members"):
        on_bigquery = taken.tables["full"][table][1]
        assert engines.on_postgres(table) == on_bigquery
        result = mended[PublishedTable(*table.split("."))]
        assert result.rows == len(on_bigquery)
        assert 0 < result.written <= len(on_bigquery)


def test_a_run_that_did_not_end_is_not_published(taken: Taken) -> None:
    engines = taken.engines
    window = f"{engines.settings.bigquery_dataset}_collect.refresh_window"
    engines.client.query_and_wait(f"update `{window}` set run = run + 1 where true")
    with psycopg.connect(engines.database) as connection:
        connection.execute("delete from unify.sessions")
    table = PublishedTable("unify", "sessions")
    try:
        with pytest.raises(BigQueryError, match="did not end, so nothing was published"):
            publish(engines.settings, engines.database, [table], client=engines.client)
        assert engines.on_postgres("unify.sessions") == []
    finally:
        engines.client.query_and_wait(f"update `{window}` set run = run - 1 where true")


def test_a_table_with_other_columns_is_named_and_nothing_is_published(taken: Taken) -> None:
    engines = taken.engines
    with psycopg.connect(engines.database) as connection:
        connection.execute("alter table unify.identifiers drop column user_count")
        connection.execute("delete from unify.sessions")
    tables = [PublishedTable("unify", "sessions"), PublishedTable("unify", "identifiers")]
    with pytest.raises(BigQueryError, match="different columns: user_count"):
        publish(engines.settings, engines.database, tables, client=engines.client)
    assert engines.on_postgres("unify.sessions") == []
