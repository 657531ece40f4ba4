"""Members and their history over a series of refreshes."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.warehouse import build, land

DAY = timedelta(days=1)
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def define(
    connection: psycopg.Connection[Any], key: str, rule: Any, is_enabled: bool = True
) -> None:
    """Define an audience as POST /audiences does."""
    connection.execute(
        "insert into raw.audience_definitions (audience_key, name, definition, is_enabled)"
        " values (%s, %s, %s, %s)",
        [key, key, rule if isinstance(rule, str) else json.dumps(rule), is_enabled],
    )
    connection.commit()


def order(user_id: str, amount: float, at: datetime) -> dict[str, Any]:
    return {
        "type": "track",
        "event": "Order Completed",
        "userId": user_id,
        "timestamp": at.isoformat(),
        "receivedAt": at.isoformat(),
        "properties": {"order_id": f"{user_id}-{at}", "amount": amount},
    }


def members(connection: psycopg.Connection[Any], key: str) -> dict[str, datetime]:
    """added_at by user_id."""
    rows = connection.execute(
        "select profiles.user_id, audience_members.added_at from segment.audience_members"
        " join segment.audiences using (audience_id) join unify.profiles using (profile_id)"
        " where audience_key = %s",
        [key],
    ).fetchall()
    connection.rollback()
    return dict(rows)


def history(connection: psycopg.Connection[Any], key: str) -> list[tuple[Any, ...]]:
    rows = connection.execute(
        "select changed_at, change, audience_changes.definition_version, reason"
        " from segment.audience_changes join segment.audiences using (audience_id)"
        " where audience_key = %s order by changed_at, profile_id",
        [key],
    ).fetchall()
    connection.rollback()
    return rows


def first_refresh(database: str, at: datetime, **chosen: Any) -> None:
    """Without the checks of the data, which other tests run on every table."""
    build(database, as_of=at, exclude="test_type:data", **chosen)


def refresh(database: str, at: datetime, **chosen: Any) -> None:
    build(database, as_of=at, command="run", **chosen)


def test_members_enter_leave_and_return_with_reasons(database: str) -> None:
    with psycopg.connect(database) as connection:
        define(connection, "recent", {"days_since_last_event": 10})
        land(connection, [order("ada", 10, START), order("ben", 10, START - 8 * DAY)])
        connection.commit()
        first_refresh(database, START)
        assert members(connection, "recent") == {"ada": START, "ben": START}

        refresh(database, START + 5 * DAY)
        assert members(connection, "recent") == {"ada": START}

        land(connection, [order("ben", 10, START + 6 * DAY)])
        connection.commit()
        refresh(database, START + 6 * DAY)
        assert members(connection, "recent") == {"ada": START, "ben": START + 6 * DAY}

        define(connection, "recent", {"days_since_last_event": 2})
        refresh(database, START + 7 * DAY)
        assert members(connection, "recent") == {"ben": START + 6 * DAY}

        define(connection, "recent", {"days_since_last_event": 2}, is_enabled=False)
        refresh(database, START + 8 * DAY)
        assert members(connection, "recent") == {}
        assert history(connection, "recent") == [
            (START, "entered", 1, "definition"),
            (START, "entered", 1, "definition"),
            (START + 5 * DAY, "exited", 1, "time"),
            (START + 6 * DAY, "entered", 1, "events"),
            (START + 7 * DAY, "exited", 2, "definition"),
            (START + 8 * DAY, "exited", 2, "definition"),
        ]


def test_a_wrong_definition_keeps_its_last_good_members_and_stops_no_other(database: str) -> None:
    with psycopg.connect(database) as connection:
        define(connection, "buyers", {"min_total_orders": 1})
        define(connection, "spenders", {"min_total_spend": 50})
        land(connection, [order("ada", 10, START)])
        connection.commit()
        first_refresh(database, START)

        define(connection, "buyers", {"min_total_orders": "1", "$or": []})
        land(connection, [order("ada", 90, START + DAY), order("ben", 5, START + DAY)])
        connection.commit()
        statuses = build(database, as_of=START + DAY)
        assert members(connection, "buyers") == {"ada": START}
        assert members(connection, "spenders") == {"ada": START + DAY}
        assert connection.execute(
            "select audience_key, definition_version, path from segment.audience_errors"
            " order by error_number"
        ).fetchall() == [("buyers", 2, "min_total_orders"), ("buyers", 2, "$or")]
        assert statuses["every_audience_definition_is_understood"] == "warn"
        assert connection.execute(
            "select definition_version, built_version, member_count, last_built_at"
            " from segment.audiences where audience_key = 'buyers'"
        ).fetchone() == (2, 1, 1, START)

        define(connection, "buyers", {"min_total_orders": 1})
        refresh(database, START + 2 * DAY)
        assert members(connection, "buyers") == {"ada": START, "ben": START + 2 * DAY}


def test_added_at_and_history_survive_a_full_refresh(database: str) -> None:
    with psycopg.connect(database) as connection:
        define(connection, "buyers", {"min_total_orders": 1})
        land(connection, [order("ada", 10, START)])
        connection.commit()
        first_refresh(database, START)
        before = history(connection, "buyers")
        refresh(database, START + DAY, full_refresh=True)
        assert members(connection, "buyers") == {"ada": START}
        assert history(connection, "buyers") == before
        assert connection.execute(
            "select created_at, definition_version from segment.audiences"
            " where audience_key = 'buyers'"
        ).fetchone() == (START, 1)


def test_a_merge_moves_a_member_and_keeps_added_at(database: str) -> None:
    def saw(at: datetime, **who: str) -> dict[str, Any]:
        return {
            "type": "track",
            "event": "Product Viewed",
            "timestamp": at.isoformat(),
            "receivedAt": at.isoformat(),
            **who,
        }

    with psycopg.connect(database) as connection:
        define(connection, "viewers", {"$event": {"name": "Product Viewed"}})
        land(connection, [order("ada", 10, START)])
        connection.commit()
        first_refresh(database, START)
        land(connection, [saw(START + DAY, anonymousId="phone")])
        connection.commit()
        refresh(database, START + DAY)
        assert members(connection, "viewers") == {None: START + DAY}

        land(connection, [saw(START + 2 * DAY, anonymousId="phone", userId="ada")])
        connection.commit()
        refresh(database, START + 2 * DAY)
        assert members(connection, "viewers") == {"ada": START + DAY}
        moved = [row[1:] for row in history(connection, "viewers") if row[0] == START + 2 * DAY]
        assert sorted(moved) == [("entered", 1, "identity"), ("exited", 1, "identity")]


@pytest.mark.parametrize("lost", ["audience_members", "audience_catalog audience_builds"])
def test_a_run_that_dies_after_the_changes_is_made_good_by_the_next(
    database: str, lost: str
) -> None:
    with psycopg.connect(database) as connection:
        define(connection, "recent", {"days_since_last_event": 10})
        land(connection, [order("ada", 10, START)])
        connection.commit()
        first_refresh(database, START)
        refresh(database, START + 20 * DAY, exclude=f"{lost} watermark")
        land(connection, [order("ada", 10, START + 21 * DAY)])
        connection.commit()
        refresh(database, START + 21 * DAY)
        assert members(connection, "recent") == {"ada": START + 21 * DAY}
        assert [row[1] for row in history(connection, "recent")] == ["entered", "exited", "entered"]


def test_ids_are_made_of_the_key_and_never_change(database: str) -> None:
    with psycopg.connect(database) as connection:
        define(connection, "b", {"min_total_orders": 1})
        land(connection, [order("ada", 10, START)])
        connection.commit()
        first_refresh(database, START, select="+audience_catalog")
        query = "select audience_id from segment.audiences where audience_key = 'b'"
        before = connection.execute(query).fetchone()
        define(connection, "a", {"min_total_orders": 1})
        refresh(database, START + DAY, select="+audience_catalog")
        assert connection.execute(query).fetchone() == before == (int("92eb5ffe", 16),)


def test_an_audience_that_empties_unexpectedly_is_reported(database: str) -> None:
    with psycopg.connect(database) as connection:
        define(connection, "recent", {"days_since_last_event": 3})
        land(connection, [order("ada", 10, START), order("ben", 10, START)])
        connection.commit()
        check = "audiences_do_not_jump"
        for days in (0, 9):
            first_refresh(database, START + days * DAY, select="+audience_catalog")
        for least, status in ((2, "warn"), (3, "pass")):
            variables = {"audience_jump_members": least}
            found = build(database, select=check, variables=variables, command="test")
            assert found[check] == status
