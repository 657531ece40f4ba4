"""The golden files on BigQuery, refreshed in batches and all at once.

On every run in two refreshes, beside PostgreSQL, without the checks of the data; `make test-long`
refreshes after every batch, with them.
"""

from datetime import UTC, datetime

import pytest

from cdp.bigquery.comparison import TABLES as PUBLIC_TABLES
from cdp.bigquery.comparison import comparable
from cdp.golden import REFRESHED_AT, TABLES, Row, as_golden, expected_rows
from dagster_project.dbt_manifest import load_manifest
from dagster_project.published_tables import published_tables
from tests.bigquery.both_engines import BothEngines
from tests.bigquery_analyser import analysed
from tests.bigquery_emulator import Emulator
from tests.golden_batches import land_batch

# What the online store, and with it every decision, is made from.
DECIDED_FROM = (
    "collect.stg_events",
    "segment.audience_builds",
    "segment.audience_errors",
    "unify.identifiers_near_limit",
    "unify.int_anchors__resolved",
    "unify.int_anchors__seen",
    "unify.int_anchors__touched",
    "unify.int_events__anchored",
    "unify.int_identifiers__judged",
    "unify.int_identifiers__linked",
    "unify.int_identifiers__resolved",
    "unify.int_orders__by_anchor",
    "unify.int_orders__by_profile",
    "unify.int_profiles__touched",
    "unify.int_refunds__by_anchor",
    "unify.int_traits__by_anchor",
    "unify.int_visits__by_anchor",
    "unify.large_profiles",
)

# Which profile changed into which depends on the refreshes in between.
HISTORY = "profile_changes"


@pytest.fixture(scope="module")
def engines(emulator: Emulator, module_database: str) -> BothEngines:
    engines = BothEngines(module_database, emulator.settings("golden"))
    for batch, refreshed_at in enumerate(REFRESHED_AT, start=1):
        land_batch(module_database, batch)
        command = "build" if batch == 1 else "run"
        engines.refresh(datetime.fromisoformat(refreshed_at), command=command)
    return engines


def built(engines: BothEngines, table: str) -> list[Row]:
    return as_golden(table, {name: engines.rows(f"unify.{name}") for name in TABLES})


def test_a_first_and_a_later_refresh_give_the_golden_rows_and_postgresqls(
    emulator: Emulator, database: str
) -> None:
    engines = BothEngines(database, emulator.settings("golden_twice"))
    began = datetime.now(UTC)
    *earlier, last = range(1, len(REFRESHED_AT) + 1)
    first_at, second_at = (datetime.fromisoformat(each) for each in REFRESHED_AT[-2:])
    for batch in earlier:
        land_batch(database, batch)
    engines.refresh_both(first_at, command="seed")
    engines.refresh_both(first_at)
    land_batch(database, last)
    engines.refresh_both(second_at)
    for table in TABLES:
        if table != HISTORY:
            assert built(engines, table) == expected_rows(table), table
    for public_table in PUBLIC_TABLES:
        assert engines.on_bigquery(public_table) == engines.on_postgres(public_table), public_table

    for table in DECIDED_FROM:
        assert decided_from(engines.rows(table)) == decided_from(engines.postgres_rows(table)), (
            table
        )
    assert_bigquery_takes(engines.sent(began), engines)


def assert_bigquery_takes(sent: list[str], engines: BothEngines) -> None:
    """Beyond the emulator, which takes much of PostgreSQL's syntax and does not mind types."""
    assert len(sent) > 190
    found = analysed(sent, engines.client, engines.settings.bigquery_dataset)
    assert {each.statement: each.problem for each in found if each.problem} == {}


def decided_from(rows: list[Row]) -> list[str]:
    """Rows without numbers of runs and digests of an engine's SQL, landing as a number."""
    said = [row | ({"landing": int(row["landing"])} if "landing" in row else {}) for row in rows]
    numbers_of_runs = {
        name for row in rows for name in row if name == "run" or name.endswith("_in")
    }
    return comparable(said, numbers_of_runs | {"rule_digest"})


def test_decisions_are_made_from_nothing_else() -> None:
    read = {f"{each.stage}.{each.name}" for each in published_tables(load_manifest())}
    assert read - {"collect.refresh_window"} <= {*DECIDED_FROM, *PUBLIC_TABLES}


@pytest.mark.long
@pytest.mark.parametrize("table", TABLES)
def test_refreshes_in_batches_give_the_golden_rows(engines: BothEngines, table: str) -> None:
    assert built(engines, table) == expected_rows(table)


@pytest.mark.long
def test_a_full_refresh_gives_the_golden_rows(engines: BothEngines) -> None:
    """Runs last: it builds all anew. The changes are history and stay as the batches made them."""
    engines.refresh(datetime.fromisoformat(REFRESHED_AT[-1]), full_refresh=True)
    for table in TABLES:
        assert built(engines, table) == expected_rows(table), table
