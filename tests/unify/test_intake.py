"""The accounting: nothing is lost, and a loss would be seen."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.unify.conftest import UNIFY, Warehouse
from tests.warehouse import BuildError, build, land

MONDAY = datetime(2026, 3, 2, 12, tzinfo=UTC)
TUESDAY = datetime(2026, 3, 3, 12, tzinfo=UTC)


def test_received_is_accepted_and_rejected_and_accepted_is_kept_and_repeated(database: str) -> None:
    event = {"type": "page", "userId": "u1", "messageId": "m1"}
    with psycopg.connect(database) as connection:
        land(connection, [event, event, {**event, "messageId": "m2"}], received_at=MONDAY)
        land(connection, [event], received_at=TUESDAY, source="shop")
        connection.execute(
            "insert into raw.landings"
            " (received_on, source, received_count, accepted_count, rejected_count)"
            " values (%s, 'test', 3, 0, 3)",
            [MONDAY.date()],
        )
    build(database, select=UNIFY)
    rows = Warehouse(database).rows("select * from collect.daily_intake order by received_on")
    assert [tuple(row.values()) for row in rows] == [
        (MONDAY.date(), "test", 6, 3, 3, 2, 1, 0, 0),
        (TUESDAY.date(), "shop", 1, 1, 0, 0, 1, 0, 0),
    ]


def test_a_lost_event_fails_the_run(database: str) -> None:
    with psycopg.connect(database) as connection:
        land(connection, [{"type": "page", "userId": "u1"}, {"type": "page", "userId": "u2"}])
        connection.execute("delete from raw.events where user_id = 'u2'")
    with pytest.raises(BuildError, match="accepted_is_kept_plus_duplicates"):
        build(database, select=UNIFY)


def test_a_source_that_fell_silent_is_reported(database: str) -> None:
    sent = {
        "fell-silent": range(2, 9),
        "sends": range(1, 9),
        "sends-now-and-then": (2, 4, 6, 8),
    }
    with psycopg.connect(database) as connection:
        connection.execute(
            "create table collect.daily_intake"
            " (received_on date, source text, received_count bigint)"
        )
        for source, days in sent.items():
            for days_ago in days:
                connection.execute(
                    "insert into collect.daily_intake values (%s, %s, 5)",
                    [TUESDAY.date() - timedelta(days=days_ago), source],
                )
        connection.commit()
        check = "sources_keep_sending"
        assert build(database, select=check, as_of=TUESDAY, command="test")[check] == "warn"
        connection.execute("delete from collect.daily_intake where source = 'fell-silent'")
        connection.commit()
        assert build(database, select=check, as_of=TUESDAY, command="test")[check] == "pass"
