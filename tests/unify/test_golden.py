"""The golden files on PostgreSQL, refreshed in batches and all at once."""

import pytest

from cdp.golden import REFRESHED_AT, TABLES, Row, as_golden, expected_rows
from tests.golden_batches import land_batch
from tests.unify.conftest import UNIFY, Warehouse
from tests.warehouse import build

# One process for all of it: the builds are the dear part.
pytestmark = pytest.mark.xdist_group("golden")


@pytest.fixture(scope="module")
def database(module_database: str) -> str:
    for batch, refreshed_at in enumerate(REFRESHED_AT, start=1):
        land_batch(module_database, batch)
        command = "build" if batch == 1 else "run"
        build(module_database, select=UNIFY, as_of=refreshed_at, command=command)
    return module_database


def built(database: str, table: str) -> list[Row]:
    warehouse = Warehouse(database)
    return as_golden(
        table, {name: warehouse.rows(f"select * from unify.{name}") for name in TABLES}
    )


@pytest.mark.parametrize("table", TABLES)
def test_refreshes_in_batches_give_the_golden_rows(database: str, table: str) -> None:
    assert built(database, table) == expected_rows(table)


def test_a_full_refresh_gives_the_golden_rows(database: str) -> None:
    """Runs last: it builds all anew. The changes are history and stay as the batches made them."""
    build(database, select=UNIFY, as_of=REFRESHED_AT[-1], full_refresh=True, command="run")
    for table in TABLES:
        assert built(database, table) == expected_rows(table), table
