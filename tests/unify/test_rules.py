"""A changed rule re-derives what it concerns, and says what a full refresh would."""

from typing import Any

import psycopg

from tests.unify.conftest import UNIFY, Warehouse
from tests.unify.test_incremental import assert_equal, snapshot
from tests.warehouse import build, land

AS_OF = "2026-03-01T00:00:00Z"


def change_rules(database: str, statement: str) -> None:
    """Change a seed where it is loaded."""
    with psycopg.connect(database) as connection:
        connection.execute(statement)


def refresh(database: str, full: bool = False) -> None:
    """A run that leaves the seeds as they are in the database."""
    build(database, select=UNIFY, as_of=AS_OF, full_refresh=full, command="run")


def identify(email: str, **identifiers: str) -> dict[str, Any]:
    return {
        "type": "identify",
        "traits": {"email": email},
        "timestamp": "2026-02-01T00:00:00Z",
        **identifiers,
    }


def test_blocking_an_identifier_parts_what_it_joined_and_unblocking_joins_again(
    database: str,
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        land(connection, [identify("info@example.org", userId="ann")])
        land(connection, [identify("info@example.org", userId="bob", anonymousId="bobs")])
    build(database, select=UNIFY, as_of=AS_OF, exclude="test_type:data")
    warehouse = Warehouse(database)
    together = warehouse.profile_id("user_id", "bob")
    assert together == warehouse.profile_id("user_id", "ann")
    change_rules(
        database,
        "insert into unify.blocked_identifiers values ('email', 'info@.*', 'an office')",
    )
    refresh(database)
    assert warehouse.profile_id("email", "info@example.org") is None
    assert warehouse.profile_id("user_id", "ann") == together
    apart = warehouse.profile_id("user_id", "bob")
    assert apart not in (None, together)
    assert warehouse.profile_id("anonymous_id", "bobs") == apart
    [split] = warehouse.rows("select * from unify.profile_changes")
    assert (split["old_profile_id"], split["profile_id"], split["kind"]) == (
        together,
        apart,
        "split",
    )
    change_rules(database, "delete from unify.blocked_identifiers where reason = 'an office'")
    refresh(database)
    assert warehouse.profile_id("user_id", "bob") == together
    changes = warehouse.rows("select kind from unify.profile_changes order by run")
    assert [change["kind"] for change in changes] == ["split", "merge"]
    incremental = snapshot(database)
    refresh(database, full=True)
    assert_equal(incremental, snapshot(database))


def test_raising_and_lowering_a_limit_joins_and_parts(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        for user in ("ann", "bob", "cleo"):
            land(connection, [identify(f"{user}@example.org", userId=user, anonymousId="tablet")])
    build(database, select=UNIFY, as_of=AS_OF, exclude="test_type:data")
    warehouse = Warehouse(database)
    assert len(warehouse.rows("select * from unify.profiles")) == 3
    for limit, profiles in ((3, 1), (2, 3)):
        change_rules(
            database,
            f"update unify.identifier_types set max_user_ids = {limit}"
            " where identifier_type = 'anonymous_id'",
        )
        refresh(database)
        assert len(warehouse.rows("select * from unify.profiles")) == profiles
        incremental = snapshot(database)
        refresh(database, full=True)
        assert_equal(incremental, snapshot(database))


def test_a_rule_about_what_an_event_means_rebuilds_everything(database: str) -> None:
    sold = {"type": "track", "event": "Sold", "userId": "ann", "properties": {"total": 5}}
    with psycopg.connect(database, autocommit=True) as connection:
        land(connection, [sold | {"timestamp": "2026-02-01T00:00:00Z"}])
    build(database, select=UNIFY, as_of=AS_OF, exclude="test_type:data")
    change_rules(
        database,
        "insert into unify.event_semantics values ('Sold', 'order', 'total', 'order_id')",
    )
    refresh(database)
    [profile] = Warehouse(database).rows("select total_orders, total_spend from unify.profiles")
    assert profile == {"total_orders": 1, "total_spend": 5}


def test_blocking_a_user_id_moves_its_events_to_what_else_they_carry(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        land(connection, [identify("ann@example.org", userId="test", anonymousId="anns")])
        land(connection, [identify("bob@example.org", userId="test", anonymousId="bobs")])
    build(database, select=UNIFY, as_of=AS_OF, exclude="test_type:data")
    warehouse = Warehouse(database)
    assert len(warehouse.rows("select * from unify.profiles")) == 1
    change_rules(
        database,
        "insert into unify.blocked_identifiers values ('user_id', 'test', 'a test account')",
    )
    refresh(database)
    assert len(warehouse.rows("select * from unify.profiles")) == 2
    incremental = snapshot(database)
    refresh(database, full=True)
    assert_equal(incremental, snapshot(database))


def test_an_id_leads_to_who_is_left_of_it_even_if_blocked_in_between(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        land(connection, [identify("ann@example.org", anonymousId="anns")])
    build(database, select=UNIFY, as_of=AS_OF, exclude="test_type:data")
    warehouse = Warehouse(database)
    issued = warehouse.profile_id("email", "ann@example.org")
    block = "insert into unify.blocked_identifiers values ('{}', '{}', 'a test')"
    change_rules(database, block.format("anonymous_id", "anns"))
    refresh(database)
    assert warehouse.profile_id("email", "ann@example.org") == issued
    change_rules(database, "delete from unify.blocked_identifiers where reason = 'a test'")
    change_rules(database, block.format("email", "ann@example.org"))
    refresh(database)
    [change] = warehouse.rows("select old_profile_id, profile_id, kind from unify.profile_changes")
    assert change == {
        "old_profile_id": issued,
        "profile_id": warehouse.profile_id("anonymous_id", "anns"),
        "kind": "rename",
    }
    incremental = snapshot(database)
    refresh(database, full=True)
    assert_equal(incremental, snapshot(database))
