"""The demo's own scenario: two devices, a login, an order twice, a refund, a shared browser."""

import json
from decimal import Decimal

from cdp.settings import PROJECT_DIR
from tests.unify.conftest import Warehouse

DEMO = PROJECT_DIR / "seeds" / "demo"
AS_OF = "2026-07-01T00:00:00Z"
EVENTS = [json.loads(line) for line in (DEMO / "scenario.ndjson").read_text().splitlines()]


def test_the_profiles_say_what_was_worked_out_by_hand(warehouse: Warehouse) -> None:
    for user, expected in json.loads((DEMO / "scenario_expected.json").read_text()).items():
        profile = warehouse.profile("user_id", user)
        assert profile["email"] == expected["email"]
        assert profile["total_orders"] == expected["total_orders"]
        assert profile["total_spend"] == Decimal(expected["total_spend"])
        anonymous_ids = warehouse.rows(
            "select identifier_value from unify.identifiers"
            " where identifier_type = 'anonymous_id' and profile_id = %s order by 1",
            profile["profile_id"],
        )
        assert [row["identifier_value"] for row in anonymous_ids] == expected["anonymous_ids"]
