"""A decision rule that cannot decide is found by dbt, before anybody asks."""

import psycopg
import pytest

from tests.decide.conftest import AS_OF, order
from tests.warehouse import BuildError, build, land


def test_a_wrong_rule_and_a_last_rule_with_a_condition_fail_the_check(database: str) -> None:
    with psycopg.connect(database) as connection:
        land(connection, [order("ada", 1, 1)])
    build(database, select="+decision_rules +campaign_rules +audience_catalog", as_of=AS_OF)
    check = "decision_rules_decide_everything"
    assert build(database, select=check, command="test") == {check: "pass"}
    with psycopg.connect(database) as connection:
        connection.execute(
            "truncate decide.decision_rules; insert into decide.decision_rules values"
            """ (1, 'wrong', '{"spend": 1}', 'a', null, 'b'),"""
            """ (2, 'last', '{"$audience": "vip"}', 'a', null, 'b')"""
        )
    with pytest.raises(BuildError, match="Got 2 results"):
        build(database, select=check, command="test")
