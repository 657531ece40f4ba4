"""Incremental equals full refresh, row for row, whatever the batches, lateness and duplicates."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from cdp.postgres import EmbeddedPostgres
from tests.conftest import fresh_database
from tests.unify.conftest import UNIFY, Row, Warehouse
from tests.warehouse import build, land

FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
TABLES = {
    "unify.profiles": "profile_id",
    "unify.events": "event_id",
    "unify.sessions": "session_id",
    "unify.identifiers": "identifier_key",
    "unify.profile_changes": "run, old_profile_id, profile_id",
    "unify.unusable_amounts": "event_id",
    "unify.missing_exchange_rates": "currency",
    "collect.daily_intake": "received_on, source",
}


def snapshot(database: str) -> dict[str, list[Row]]:
    warehouse = Warehouse(database)
    return {
        table: warehouse.rows(f"select * from {table} order by {key}")
        for table, key in TABLES.items()
    }


def assert_equal(incremental: dict[str, list[Row]], full: dict[str, list[Row]]) -> None:
    for table in TABLES:
        if incremental[table] == full[table]:
            continue
        missing = [row for row in full[table] if row not in incremental[table]]
        surplus = [row for row in incremental[table] if row not in full[table]]
        assert (table, missing[:3], surplus[:3]) == (table, [], [])
        assert len(incremental[table]) == len(full[table]), table


def invented_event(chance: random.Random, number: int, received_at: datetime) -> dict[str, Any]:
    """An event of a small world in which people share browsers, addresses and bad habits."""
    event: dict[str, Any] = {
        "messageId": f"m{number if chance.random() > 0.1 else chance.randrange(number + 1):04}",
        "receivedAt": received_at.isoformat(),
        # Late by up to two months, and by minutes often enough that visits join.
        "timestamp": (
            received_at
            - chance.choice(
                [
                    timedelta(0),
                    timedelta(minutes=chance.randrange(90)),
                    timedelta(days=chance.randrange(60)),
                ]
            )
        ).isoformat(),
    }
    if chance.random() < 0.5:
        event["userId"] = chance.choice([*(f"user-{n}" for n in range(12)), "null"])
    if chance.random() < 0.8:
        event["anonymousId"] = chance.choice(
            [*(f"browser-{n}" for n in range(25)), "kiosk", "0000"]
        )
    traits: dict[str, Any] = {}
    if chance.random() < 0.3:
        traits["email"] = f"{chance.randrange(15)}@example.org"
    if chance.random() < 0.1:
        traits["phone"] = f"+49151000000{chance.randrange(5)}"
    kind = chance.random()
    if kind < 0.3:
        traits["plan"] = chance.choice(["gold", "tin", None])
        return event | {"type": "identify", "traits": traits}
    event["context"] = {"traits": traits}
    if kind < 0.35:
        return event | {"type": "alias", "previousId": f"browser-{chance.randrange(25)}"}
    if kind < 0.6:
        return event | {"type": "page", "name": "Home"}
    order: dict[str, Any] = {"order_id": f"o{chance.randrange(30)}"}
    if kind < 0.9:
        order["total"] = chance.choice([0, 5, 12.5, "7.25", "12,50", None])
        order["currency"] = chance.choice(["USD", "EUR", "XSH"])
        return event | {"type": "track", "event": "Order Completed", "properties": order}
    order |= chance.choice([{}, {"total": 3}, {"total": 100}])
    return event | {"type": "track", "event": "Order Refunded", "properties": order}


class History:
    """An invented history that goes on from batch to batch, the same for the same seed."""

    def __init__(self, database: str, seed: int) -> None:
        self.database = database
        self.chance = random.Random(seed)  # noqa: S311 - a reproducible history
        self.now = FIRST_DAY + timedelta(days=60)
        self.number = 0

    def continued(self, database: str, seed: int) -> "History":
        """What else could come after it, in a copy of its database."""
        other = History(database, seed)
        other.now, other.number = self.now, self.number
        return other

    def go_on(self) -> datetime:
        """Land a batch, each event in its own transaction; return the instant to refresh at."""
        with psycopg.connect(self.database, autocommit=True) as connection:
            for _ in range(self.chance.choice([1, 5, 30, 60])):
                self.number += 1
                self.now += timedelta(minutes=self.chance.choice([1, 5, 40]))
                land(connection, [invented_event(self.chance, self.number, self.now)])
        self.now += timedelta(days=self.chance.choice([0, 0, 1, 12]))
        return self.now


@pytest.fixture(scope="module")
def begun(module_database: str) -> History:
    """A history's first batches, built."""
    history = History(module_database, seed=10)
    history.go_on()
    build(module_database, select=UNIFY, as_of=history.go_on())
    return history


@pytest.mark.parametrize(
    ("seed", "last_model"),
    [
        (11, "stg_events"),
        (12, "int_identifiers__judged"),
        (13, "int_identifiers__resolved"),
        (14, "int_events__anchored"),
        (15, "int_anchors__resolved"),
        (16, "int_visits__joined"),
        (17, "events"),
    ],
)
def test_a_run_that_ended_early_is_made_good_by_the_next(
    cluster: EmbeddedPostgres, begun: History, seed: int, last_model: str
) -> None:
    template = str(conninfo_to_dict(begun.database)["dbname"])
    with fresh_database(cluster, template=template) as database:
        history = begun.continued(database, seed)
        # Everything up to the model stands, nothing that comes after it.
        build(database, select=f"+{last_model}", as_of=history.go_on(), command="run")
        now = history.go_on()
        build(database, select=UNIFY, as_of=now, command="run")
        incremental = snapshot(database)
        build(database, select=UNIFY, as_of=now, full_refresh=True, command="run")
        assert_equal(incremental, snapshot(database))


def test_a_full_run_that_was_cut_off_is_made_good_by_one_that_is_not_full(database: str) -> None:
    at = {"timestamp": "2026-01-01T00:00:00Z"}
    login = {"timestamp": "2026-01-02T00:00:00Z", "type": "identify", "userId": "ada"}
    with psycopg.connect(database, autocommit=True) as connection:
        land(connection, [at | {"type": "page", "userId": "ada"}])
        land(connection, [at | {"type": "page", "anonymousId": "browser"}])
        build(database, select=UNIFY, exclude="test_type:data")
        land(connection, [login | {"anonymousId": "browser"}])
    build(database, select="+int_anchors__resolved", command="run", full_refresh=True)
    build(database, select=UNIFY, as_of=FIRST_DAY, command="run")
    incremental = snapshot(database)
    assert len({row["profile_id"] for row in incremental["unify.sessions"]}) == 1
    build(database, select=UNIFY, as_of=FIRST_DAY, command="run", full_refresh=True)
    assert_equal(incremental, snapshot(database))


@pytest.mark.parametrize(
    ("kind", "cut"),
    [("email", "int_identifiers__judged"), ("user_id", "int_events__anchored")],
)
def test_rules_that_a_run_was_cut_off_under_leave_nothing_when_they_are_taken_back(
    database: str, kind: str, cut: str
) -> None:
    """Blocked users change every event's anchor, blocked addresses only what they name."""
    office = {"type": "identify", "traits": {"email": "office@example.org"}}
    with psycopg.connect(database, autocommit=True) as connection:
        for user in ("ada", "ben"):
            land(connection, [office | {"userId": user, "timestamp": "2026-01-01T00:00:00Z"}])
        build(database, select=UNIFY, exclude="test_type:data")
        connection.execute(
            "insert into unify.blocked_identifiers values (%s, 'ben|office@.*', 'a test')", [kind]
        )
        build(database, select=f"+{cut}", command="run")
        connection.execute("delete from unify.blocked_identifiers where reason = 'a test'")
    build(database, select=UNIFY, as_of=FIRST_DAY, command="run")
    incremental = snapshot(database)
    assert len(incremental["unify.profiles"]) == 1
    build(database, select=UNIFY, as_of=FIRST_DAY, command="run", full_refresh=True)
    assert_equal(incremental, snapshot(database))


def test_an_event_that_commits_late_is_found_by_the_next_run(database: str) -> None:
    """Its transaction began before others that the run in between had already counted."""
    event = {"type": "page", "timestamp": "2026-01-01T00:00:00Z"}
    with psycopg.connect(database) as late, psycopg.connect(database, autocommit=True) as prompt:
        land(prompt, [event | {"userId": "before"}])
        land(late, [event | {"userId": "late"}])
        land(prompt, [event | {"userId": "after"}])
        build(database, select=UNIFY, exclude="test_type:data")
        late.commit()
        users = "select user_id from unify.profiles order by user_id"
        assert [row["user_id"] for row in Warehouse(database).rows(users)] == ["before"]
        build(database, select=UNIFY, command="run")
    assert [row["user_id"] for row in Warehouse(database).rows(users)] == [
        "after",
        "before",
        "late",
    ]


@pytest.mark.parametrize(("kind", "partings"), [("email", 1), ("user_id", 0)])
def test_new_rules_hold_at_once_behind_a_transaction_that_is_open_for_long(
    database: str, kind: str, partings: int
) -> None:
    """Two runs in a row read up to the same transaction, and still are two."""
    office = {"type": "identify", "traits": {"email": "office@example.org"}}
    with psycopg.connect(database) as long, psycopg.connect(database, autocommit=True) as prompt:
        for user in ("ada", "ben"):
            land(prompt, [office | {"userId": user, "timestamp": "2026-01-01T00:00:00Z"}])
        long.execute("select pg_current_xact_id()")
        build(database, select=UNIFY, as_of=FIRST_DAY, exclude="test_type:data")
        warehouse = Warehouse(database)
        bounds = "select to_xid, run from decide.watermark"
        [first] = warehouse.rows(bounds)
        prompt.execute(
            "insert into unify.blocked_identifiers values (%s, 'ben|office@.*', 'a test')", [kind]
        )
        build(database, select=UNIFY, as_of=FIRST_DAY, command="run")
        [second] = warehouse.rows(bounds)
        assert second["to_xid"] == first["to_xid"]
        assert second["run"] > first["run"]
        changes = warehouse.rows("select run from unify.profile_changes")
        assert [change["run"] for change in changes] == [second["run"]] * partings
        long.rollback()
    incremental = snapshot(database)
    build(database, select=UNIFY, as_of=FIRST_DAY, command="run", full_refresh=True)
    assert_equal(incremental, snapshot(database))


def test_ids_of_merged_profiles_resolve_and_the_merging_event_is_named(database: str) -> None:
    browser = {"type": "page", "anonymousId": "browser", "timestamp": "2026-01-01T00:00:00Z"}
    user = {"type": "page", "userId": "ann", "timestamp": "2026-01-01T00:00:00Z"}
    login = browser | user | {"messageId": "login"}
    warehouse = Warehouse(database)
    with psycopg.connect(database, autocommit=True) as connection:
        land(connection, [browser])
        land(connection, [user])
        build(database, select=UNIFY, exclude="test_type:data")
        older = warehouse.profile_id("anonymous_id", "browser")
        younger = warehouse.profile_id("user_id", "ann")
        land(connection, [login])
        build(database, select=UNIFY, command="run")
    [change] = warehouse.rows(
        "select old_profile_id, profile_changes.profile_id, kind, message_id"
        " from unify.profile_changes inner join unify.events on event_id = evidence"
    )
    assert change == {
        "old_profile_id": younger,
        "profile_id": older,
        "kind": "merge",
        "message_id": "login",
    }
    assert warehouse.profile_id("user_id", "ann") == older
