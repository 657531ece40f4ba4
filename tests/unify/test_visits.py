"""Visits, traits and times. Each test has a user of its own in one shared history."""

from datetime import UTC, datetime
from typing import Any

from tests.unify.conftest import Warehouse

AS_OF = "2026-03-31T12:00:00Z"
EVENTS: list[dict[str, Any]] = []


def happened(at: str, **event: Any) -> None:
    EVENTS.append({"messageId": f"m{len(EVENTS):03}", "timestamp": f"2026-03-{at}:00Z", **event})


def viewed(at: str, **identifiers: str) -> None:
    happened(at, type="page", name="Home", **identifiers)


def ordered(at: str, **identifiers: str) -> None:
    happened(at, type="track", event="Order Completed", properties={"total": 1}, **identifiers)


def visits(warehouse: Warehouse, user: str) -> list[tuple[str, str, int]]:
    sessions = warehouse.rows(
        "select started_at, ended_at, event_count from unify.sessions"
        " where profile_id = %s order by started_at",
        warehouse.profile_id("user_id", user),
    )
    return [
        (f"{row['started_at']:%d %H:%M}", f"{row['ended_at']:%d %H:%M}", row["event_count"])
        for row in sessions
    ]


viewed("01T10:00", userId="pause")
viewed("01T10:29", userId="pause")
viewed("01T10:59", userId="pause")


def test_thirty_minutes_of_inactivity_end_a_visit(warehouse: Warehouse) -> None:
    assert visits(warehouse, "pause") == [("01 10:00", "01 10:29", 2), ("01 10:59", "01 10:59", 1)]
    assert warehouse.profile("user_id", "pause")["visit_count"] == 2


viewed("01T10:00", anonymousId="two-phone", userId="two-devices")
viewed("01T10:40", anonymousId="two-phone")
viewed("01T10:20", anonymousId="two-laptop")
happened("01T12:00", type="identify", userId="two-devices", traits={"email": "two@example.org"})
happened("01T12:01", type="identify", anonymousId="two-laptop", traits={"email": "two@example.org"})


def test_events_on_two_devices_are_one_visit(warehouse: Warehouse) -> None:
    assert visits(warehouse, "two-devices") == [("01 10:00", "01 10:40", 3)]


viewed("01T10:00", userId="buyer")
ordered("01T10:10", userId="buyer")
ordered("02T10:10", userId="buyer")


def test_an_order_belongs_to_the_visit_around_it_and_makes_none_alone(warehouse: Warehouse) -> None:
    assert visits(warehouse, "buyer") == [("01 10:00", "01 10:10", 2)]
    events = warehouse.rows(
        "select session_id is not null as is_in_visit from unify.events"
        " where user_id = 'buyer' order by occurred_at"
    )
    assert [row["is_in_visit"] for row in events] == [True, True, False]


viewed("02T00:00", userId="window")
viewed("01T23:00", userId="window")


def test_visits_of_the_last_thirty_days_are_counted_by_the_day_they_began(
    warehouse: Warehouse,
) -> None:
    profile = warehouse.profile("user_id", "window")
    assert (profile["visit_count"], profile["visits_30d"]) == (2, 1)


def test_a_visit_has_as_many_events_as_it_says(warehouse: Warehouse) -> None:
    counted = warehouse.rows(
        "select session_id, count(*) as event_count from unify.events"
        " where session_id is not null group by session_id order by session_id"
    )
    assert counted == warehouse.rows(
        "select session_id, event_count from unify.sessions order by session_id"
    )


happened("03T10:00", type="identify", userId="traits", traits={"plan": "gold", "city": "Bonn"})
happened("02T10:00", type="identify", userId="traits", traits={"plan": "tin", "age": 7})
happened("04T10:00", type="identify", userId="traits", traits={"city": None, "tags": ["a"]})
happened("05T10:00", type="identify", userId="traits", context={"traits": {"lang": "de"}})
happened("05T10:00", type="track", event="Seen", userId="traits", context={"traits": {"x": 1}})


def test_the_last_writer_of_a_trait_wins_and_null_erases_nothing(warehouse: Warehouse) -> None:
    assert warehouse.profile("user_id", "traits")["traits"] == {
        "plan": "gold",
        "city": "Bonn",
        "age": 7,
        "tags": ["a"],
        "lang": "de",
    }


happened("03T10:00", type="identify", userId="tie", traits={"plan": "first"})
happened("03T10:00", type="identify", userId="tie", traits={"plan": "second"})


def test_of_two_traits_written_at_one_instant_the_greater_message_id_wins(
    warehouse: Warehouse,
) -> None:
    assert warehouse.profile("user_id", "tie")["traits"] == {"plan": "second"}


viewed("20T10:00", userId="times")
EVENTS.append(
    {
        "type": "track",
        "event": "Imported",
        "messageId": "imported",
        "userId": "times",
        "timestamp": "1999-05-05T00:00:00Z",
    }
)
happened("21T10:00", type="identify", userId="times", traits={"plan": "gold"})


def test_imported_history_sets_the_first_and_an_identify_is_no_event(warehouse: Warehouse) -> None:
    profile = warehouse.profile("user_id", "times")
    assert profile["first_seen_at"] == datetime(1999, 5, 5, tzinfo=UTC)
    assert profile["last_event_at"] == datetime(2026, 3, 20, 10, tzinfo=UTC)
    assert profile["last_seen_at"] == datetime(2026, 3, 21, 10, tzinfo=UTC)


viewed("06T10:00", anonymousId="named-1", userId="named-a")
happened("07T10:00", type="identify", userId="named-a", traits={"email": "old@example.org"})
happened("06T09:00", type="identify", userId="named-a", traits={"email": "new@example.org"})


def test_of_several_identifiers_of_a_type_the_last_to_appear_is_shown(warehouse: Warehouse) -> None:
    profile = warehouse.profile("user_id", "named-a")
    assert profile["email"] == "new@example.org"
    assert profile["anonymous_id"] == "named-1"
    assert profile["primary_identifier"] == "named-a"
