"""Values that somebody will send: longer than an index takes, or held by a crowd."""

import random
import string
from typing import Any

import psycopg
import pytest

from tests.unify.conftest import UNIFY, Warehouse
from tests.unify.test_incremental import assert_equal, snapshot
from tests.warehouse import BuildError, build, land, try_build

AS_OF = "2026-03-01T00:00:00Z"
AT = {"timestamp": "2026-02-01T00:00:00Z"}
CROWD = 5_000


def noise(length: int) -> str:
    """A text that does not compress: PostgreSQL would let a long one of one letter pass."""
    chance = random.Random(length)  # noqa: S311 - the same each time
    return "".join(chance.choices(string.ascii_letters + string.digits, k=length))


def test_texts_longer_than_an_index_takes_do_not_stop_the_run(database: str) -> None:
    order: dict[str, Any] = AT | {
        "type": "track",
        "event": "Order Completed",
        "userId": "ann",
        "properties": {"order_id": noise(20_000), "total": 5, "currency": "USD"},
    }
    refund = order | {
        "event": "Order Refunded",
        "properties": {"order_id": noise(20_000), "total": 2},
    }
    shells = order | {"properties": {"order_id": "o2", "total": 5, "currency": noise(20_000)}}
    traits = AT | {"type": "identify", "userId": "ann", "traits": {noise(20_000): noise(30_000)}}
    with psycopg.connect(database) as connection:
        land(connection, [order, order, refund, shells, traits])
    build(database, select=UNIFY, as_of=AS_OF)
    with psycopg.connect(database) as connection:
        land(connection, [order, refund, shells, traits])
    build(database, select=UNIFY, as_of=AS_OF, command="run")
    [profile] = Warehouse(database).rows("select * from unify.profiles")
    assert (profile["total_orders"], profile["total_spend"]) == (2, 1)
    assert profile["traits"] == {noise(20_000): noise(30_000)}
    [missing] = Warehouse(database).rows("select * from unify.missing_exchange_rates")
    assert missing["currency"] == noise(20_000).upper()[:20]


def test_an_identifier_with_the_key_of_a_known_one_stops_a_later_run(
    database: str, weak_keys: None
) -> None:
    with psycopg.connect(database) as connection:
        land(connection, [AT | {"type": "page", "userId": "ann"}])
    build(database, select=UNIFY, as_of=AS_OF)
    with psycopg.connect(database) as connection:
        # As early as ann's own event, so that nothing else tells the two apart.
        land(connection, [AT | {"type": "page", "userId": "bob"}])
    with pytest.raises(BuildError, match="duplicate key value violates unique constraint"):
        build(database, select=UNIFY, as_of=AS_OF, command="run")
    identifiers = Warehouse(database).rows("select identifier_value from unify.identifiers")
    assert identifiers == [{"identifier_value": "ann"}]


def crowd(connection: psycopg.Connection[Any], user_id: str | None, email: str | None) -> None:
    """One event of each of CROWD browsers, all with the same user_id or e-mail."""
    land(connection, [])
    connection.execute(
        "insert into raw.events (message_id, type, user_id, email, anonymous_id, occurred_at,"
        " received_at, source, payload)"
        " select coalesce(%(user)s, %(email)s) || number, 'page', %(user)s, %(email)s,"
        " coalesce(%(user)s, %(email)s) || number, '2026-02-01', now(), 'test',"
        ' \'{"type": "page"}\''
        " from generate_series(1, %(count)s) as number",
        {"user": user_id, "email": email, "count": CROWD},
    )
    connection.execute(
        "insert into raw.landings"
        " (received_on, source, received_count, accepted_count, rejected_count)"
        " values ((now() at time zone 'UTC')::date, 'test', %(count)s, %(count)s, 0)",
        {"count": CROWD},
    )


def warnings(database: str) -> set[str]:
    result = try_build(
        database, select="large_profiles identifiers_near_limit", command="test", as_of=AS_OF
    )
    return {each.node.name for each in result.result if each.status == "warn"}


def analyzed(warehouse: Warehouse) -> int:
    """How often dbt has had int_identifiers__resolved analyzed."""
    [found] = warehouse.rows(
        "select analyze_count from pg_stat_user_tables where relname = 'int_identifiers__resolved'"
    )
    return int(found["analyze_count"])


def test_a_crowd_in_one_profile_is_reported_and_parted_when_the_value_is_blocked(
    database: str,
) -> None:
    warehouse = Warehouse(database)
    with psycopg.connect(database) as connection:
        crowd(connection, "bot", None)
        crowd(connection, None, "noreply@example.org")
        for user in ("ann", "bob", "cleo", "dora"):
            family = {"userId": user, "traits": {"email": "family@example.org"}}
            land(connection, [AT | family | {"type": "identify"}])
    build(database, select=UNIFY, as_of=AS_OF)
    large = warehouse.rows(
        "select identifier_count, widest_identifier_value, widest_link_count"
        " from unify.large_profiles order by 2"
    )
    assert [tuple(row.values()) for row in large] == [
        (CROWD + 1, "bot", CROWD),
        (CROWD + 1, "noreply@example.org", CROWD),
    ]
    near = warehouse.rows("select identifier_value, user_count from unify.identifiers_near_limit")
    assert near == [{"identifier_value": "family@example.org", "user_count": 4}]
    assert len(warnings(database)) == 2
    with psycopg.connect(database) as connection:
        connection.execute(
            "insert into unify.blocked_identifiers values ('email', 'noreply@.*', 'a machine')"
        )
    assert analyzed(warehouse) == 1
    build(database, select=UNIFY, as_of=AS_OF, command="run")
    # With the numbers of before, the models that follow would compare each of the crowd with each.
    assert analyzed(warehouse) == 2
    assert len(warehouse.rows("select profile_id from unify.profiles")) == CROWD + 2
    assert len(warehouse.rows("select profile_id from unify.large_profiles")) == 1
    incremental = snapshot(database)
    build(database, select=UNIFY, as_of=AS_OF, full_refresh=True, command="run")
    assert_equal(incremental, snapshot(database))
    with psycopg.connect(database) as connection:
        connection.execute("delete from unify.blocked_identifiers where pattern = 'noreply@.*'")
    build(database, select=UNIFY, as_of=AS_OF, command="run")
    assert len(warehouse.rows("select profile_id from unify.large_profiles")) == 2
    incremental = snapshot(database)
    build(database, select=UNIFY, as_of=AS_OF, full_refresh=True, command="run")
    assert_equal(incremental, snapshot(database))
