"""The golden files on BigQuery, refreshed in batches and all at once."""

from datetime import datetime

import pytest

from tests.bigquery.both_engines import BothEngines
from tests.bigquery_emulator import Emulator
from tests.golden import REFRESHED_AT, TABLES, Row, as_golden, expected_rows, land_batch

pytestmark = pytest.mark.long


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


@pytest.mark.parametrize("table", TABLES)
def test_refreshes_in_batches_give_the_golden_rows(engines: BothEngines, table: str) -> None:
    assert built(engines, table) == expected_rows(table)


def test_a_full_refresh_gives_the_golden_rows(engines: BothEngines) -> None:
    """Runs last: it builds all anew. The changes are history and stay as the batches made them."""
    engines.refresh(datetime.fromisoformat(REFRESHED_AT[-1]), full_refresh=True)
    for table in TABLES:
        assert built(engines, table) == expected_rows(table), table
