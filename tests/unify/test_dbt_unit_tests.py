"""dbt's unit tests: cases, windows and joins, each on a few rows."""

from tests.unify.conftest import UNIFY
from tests.warehouse import build


def test_dbt_unit_tests_pass(database: str) -> None:
    build(database, select=UNIFY)
    results = build(database, select="test_type:unit,models/unify", command="test")
    assert set(results.values()) == {"pass"}
