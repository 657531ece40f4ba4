"""dbt's unit tests of this stage."""

from tests.warehouse import build


def test_dbt_unit_tests_pass(database: str) -> None:
    build(database, select="+audience_catalog")
    results = build(database, select="test_type:unit,models/segment", command="test")
    assert set(results.values()) == {"pass"}
