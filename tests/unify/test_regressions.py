"""Bugs of the demo that this replaces, each a test: over HTTP in, read from the public tables.

Each bug has users of its own in one history.
"""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.collect.service import Service, running
from tests.unify.conftest import UNIFY, Row, Warehouse
from tests.warehouse import build

TODAY = datetime.now(UTC)
AT_ONCE = 16


def identify(service: Service, **identity: Any) -> None:
    assert service.post("/identify", identity).status_code == 200


def track(service: Service, event_type: str, days_ago: int = 1, **event: Any) -> None:
    at = {"occurred_at": (TODAY - timedelta(days=days_ago)).isoformat()}
    assert service.post("/track", {"event_type": event_type} | at | event).status_code == 200


def purchase(service: Service, user_id: str | int, order_id: str, amount: Any, **more: Any) -> None:
    name = more.pop("event_type", "purchase")
    properties = {"order_id": order_id, "amount": amount} | more
    track(service, name, user_id=user_id, properties=properties)


@pytest.fixture(scope="module")
def warehouse(module_database: str) -> Warehouse:
    with running(module_database) as service:
        identify(service, user_id="two-1", email="two@example.org")
        track(service, "page_view", anonymous_id="two-browser")
        identify(service, user_id="two-2", anonymous_id="two-browser")
        identify(service, user_id="two-2", email="two@example.org")

        track(service, "page_view", anonymous_id="login-browser", days_ago=3)
        track(service, "page_view", anonymous_id="login-browser", user_id="login", days_ago=2)

        identify(service, user_id="shared-ann", anonymous_id="shared", email="ann@example.org")
        identify(service, user_id="shared-bob", anonymous_id="shared", email="bob@example.org")
        purchase(service, "shared-bob", "shared-order", 10)

        identify(service, user_id="case-1", email="  Case@Example.ORG ")
        identify(service, user_id="case-2", email="case@example.org")

        purchase(service, "repeat", "repeat-order", 10)
        purchase(service, "repeat", "repeat-order", 10)

        purchase(service, "refund", "refund-order", 50)
        purchase(service, "refund", "refund-order", 20, event_type="refund")

        purchase(service, "yen", "yen-order", 1000, currency="JPY")
        purchase(service, "yen", "dollar-order", 10, currency="USD")

        with ThreadPoolExecutor(AT_ONCE) as threads:
            for number in range(AT_ONCE):
                threads.submit(purchase, service, "concurrent", f"concurrent-{number}", 1)

        purchase(service, 12345, "numeric-order", 7)
        track(service, "page_view", user_id="12345")

        track(service, "page_view", user_id="history", days_ago=0)
        track(service, "page_view", user_id="history", days_ago=3000)

        track(service, "page_view", user_id="future", occurred_at="2099-01-01T00:00:00Z")

        purchase(service, "comma", "comma-order", "12,50")
        purchase(service, "comma", "point-order", "12.50")

        purchase(service, "zero", "zero-order", 0)

        purchase(service, "names", "names-1", 3, event_type="Order Completed")
        purchase(service, "names", "names-2", 4, event_type="order_completed")
        track(service, "signup", user_id="names", properties={"amount": 1000})
    build(module_database, select=UNIFY)
    return Warehouse(module_database)


def orders(profile: Row) -> tuple[int, Decimal]:
    return profile["total_orders"], profile["total_spend"]


def test_an_identify_that_joins_two_existing_profiles_joins_them(warehouse: Warehouse) -> None:
    joined = warehouse.profile_id("user_id", "two-1")
    assert joined is not None
    assert warehouse.profile_id("user_id", "two-2") == joined
    assert warehouse.profile_id("anonymous_id", "two-browser") == joined


def test_anonymous_history_comes_along_at_login(warehouse: Warehouse) -> None:
    profile = warehouse.profile("user_id", "login")
    assert profile["visit_count"] == 2
    assert profile["first_seen_at"] == TODAY - timedelta(days=3)


def test_two_users_on_one_browser_keep_their_own_names_and_orders(warehouse: Warehouse) -> None:
    ann, bob = (warehouse.profile("user_id", f"shared-{name}") for name in ("ann", "bob"))
    assert (ann["email"], bob["email"]) == ("ann@example.org", "bob@example.org")
    assert (ann["total_orders"], bob["total_orders"]) == (0, 1)


def test_the_case_and_spaces_of_an_email_do_not_matter(warehouse: Warehouse) -> None:
    profile = warehouse.profile("user_id", "case-1")
    assert profile["email"] == "case@example.org"
    assert warehouse.profile_id("user_id", "case-2") == profile["profile_id"]


def test_the_same_order_twice_counts_once(warehouse: Warehouse) -> None:
    assert orders(warehouse.profile("user_id", "repeat")) == (1, Decimal(10))


def test_a_refund_is_taken_off(warehouse: Warehouse) -> None:
    assert orders(warehouse.profile("user_id", "refund")) == (1, Decimal(30))


def test_yen_are_not_added_to_dollars(warehouse: Warehouse) -> None:
    assert orders(warehouse.profile("user_id", "yen")) == (2, Decimal("16.70"))


def test_concurrent_first_events_of_one_user_make_one_profile(warehouse: Warehouse) -> None:
    profile = warehouse.profile("user_id", "concurrent")
    assert orders(profile) == (AT_ONCE, Decimal(AT_ONCE))


def test_a_numeric_user_id_is_the_same_user_as_its_text(warehouse: Warehouse) -> None:
    profile = warehouse.profile("user_id", "12345")
    assert (profile["total_orders"], profile["visit_count"]) == (1, 1)


def test_imported_history_sets_when_somebody_was_first_seen(warehouse: Warehouse) -> None:
    profile = warehouse.profile("user_id", "history")
    assert profile["first_seen_at"] == TODAY - timedelta(days=3000)
    assert profile["last_seen_at"] == TODAY


def test_a_date_in_2099_is_no_later_than_its_receipt(warehouse: Warehouse) -> None:
    [event] = warehouse.rows(
        "select occurred_at <= received_at as is_past from unify.events where user_id = 'future'"
    )
    assert event["is_past"]
    assert warehouse.profile("user_id", "future")["last_event_at"] < TODAY + timedelta(days=1)


def test_an_amount_with_a_comma_is_reported_and_not_added(warehouse: Warehouse) -> None:
    assert orders(warehouse.profile("user_id", "comma")) == (2, Decimal("12.50"))
    unusable = warehouse.rows("select amount_stated, problem from unify.unusable_amounts")
    assert unusable == [{"amount_stated": "12,50", "problem": "is not a number"}]


def test_a_purchase_of_value_zero_is_an_order(warehouse: Warehouse) -> None:
    assert orders(warehouse.profile("user_id", "zero")) == (1, Decimal(0))


def test_other_names_of_an_order_count_and_other_events_do_not(warehouse: Warehouse) -> None:
    assert orders(warehouse.profile("user_id", "names")) == (2, Decimal(7))
