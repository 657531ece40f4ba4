"""Orders, refunds and currencies. Each test has a user of its own in one shared history."""

from decimal import Decimal
from typing import Any

from tests.unify.conftest import Warehouse

AS_OF = "2026-03-31T12:00:00Z"
EVENTS: list[dict[str, Any]] = []


def sent(user: str, event: str, on: str = "2026-03-30", **properties: Any) -> None:
    number = len(EVENTS)
    EVENTS.append(
        {
            "type": "track",
            "event": event,
            "messageId": f"m{number}",
            "userId": user,
            "timestamp": f"{on}T10:{number // 60:02}:{number % 60:02}Z",
            "properties": properties,
        }
    )


def ordered(user: str, order_id: str | None, total: Any, **more: Any) -> None:
    identity = {"order_id": order_id} if order_id else {}
    sent(user, "Order Completed", total=total, **identity, **more)


def money(warehouse: Warehouse, user: str) -> tuple[int, Decimal]:
    profile = warehouse.profile("user_id", user)
    return profile["total_orders"], profile["total_spend"]


ordered("repeats", "o1", 10)
ordered("repeats", "o1", 10)
ordered("repeats", "o2", "0")
ordered("repeats", None, 1.5)
ordered("repeats", None, 1.5)


def test_an_order_counts_once_per_order_id_and_a_zero_order_counts(warehouse: Warehouse) -> None:
    assert money(warehouse, "repeats") == (4, Decimal("13.00"))


ordered("twin-a", "shared", 5)
ordered("twin-b", "shared", 7)


def test_one_order_id_in_two_profiles_is_two_orders(warehouse: Warehouse) -> None:
    assert money(warehouse, "twin-a") == (1, Decimal(5))
    assert money(warehouse, "twin-b") == (1, Decimal(7))


ordered("refunds", "part", 100)
sent("refunds", "Order Refunded", order_id="part", total=30)
ordered("refunds", "whole", 50)
sent("refunds", "Order Refunded", order_id="whole")
ordered("refunds", "more", 20)
sent("refunds", "Order Refunded", order_id="more", total=500)
sent("refunds", "Order Refunded", order_id="unknown", total=500)
sent("refunds", "Order Refunded", total=500)


def test_a_refund_takes_what_it_says_else_the_order_and_never_more(warehouse: Warehouse) -> None:
    assert money(warehouse, "refunds") == (3, Decimal(70))


ordered("names", "first", 3, amount=1, revenue=2)
ordered("names", "second", 9, revenue=4)
sent("names", "purchase", value="8.25")
sent("names", "Unheard Of", value="1000")


def test_the_amount_is_the_first_named_property_that_is_there(warehouse: Warehouse) -> None:
    assert money(warehouse, "names") == (3, Decimal("13.25"))


ordered("currencies", "yen", 1000, currency="jpy")
ordered("currencies", "dollar", 10, currency=" USD ")
ordered("currencies", "shell", 99, currency="XSH")


def test_other_currencies_are_converted_and_unknown_ones_left_out(warehouse: Warehouse) -> None:
    assert money(warehouse, "currencies") == (3, Decimal("16.70"))
    assert warehouse.rows("select currency, event_count from unify.missing_exchange_rates") == [
        {"currency": "XSH", "event_count": 1}
    ]


ordered("euro", "before", 10, currency="EUR", on="2023-12-31")
ordered("euro", "after", 10, currency="EUR", on="2024-01-01")


def test_the_rate_of_the_day_is_used(warehouse: Warehouse) -> None:
    assert money(warehouse, "euro") == (2, Decimal("22.50"))


ordered("unusable", "comma", "12,50")
ordered("unusable", "minus", -3)
ordered("unusable", "words", "free")
sent("unusable", "Order Completed", order_id="none")
ordered("unusable", "corrected", "7,00")
ordered("unusable", "corrected", "7.00")


def test_an_amount_that_cannot_be_used_is_reported_and_not_added(warehouse: Warehouse) -> None:
    assert money(warehouse, "unusable") == (5, Decimal(7))
    profile = warehouse.profile("user_id", "unusable")
    assert profile["average_order_value"] == Decimal(7)
    problems = warehouse.rows(
        "select amount_stated, problem from unify.unusable_amounts"
        " where event_type = 'Order Completed' order by occurred_at"
    )
    assert [(row["amount_stated"], row["problem"]) for row in problems] == [
        ("12,50", "is not a number"),
        ("-3", "is negative"),
        ("free", "is not a number"),
        (None, "is missing"),
        ("7,00", "is not a number"),
        ("1e400", "is not a number"),
    ]


ordered("window", "today", 1, on="2026-03-31")
ordered("window", "first-day", 2, on="2026-03-02")
ordered("window", "day-before", 4, on="2026-03-01")


def test_the_window_is_thirty_whole_days_with_today(warehouse: Warehouse) -> None:
    profile = warehouse.profile("user_id", "window")
    assert (profile["orders_30d"], profile["spend_30d"]) == (2, Decimal(3))
    assert (profile["total_orders"], profile["total_spend"]) == (3, Decimal(7))


ordered("unicorn", "huge", "1e400")
ordered("unicorn", "exact", "0.1")
ordered("unicorn", "exact-too", "0.2")


def test_money_is_exact(warehouse: Warehouse) -> None:
    assert money(warehouse, "unicorn") == (3, Decimal("0.3"))
