"""What a run reads: everything that had landed when it began, once."""

import psycopg

from tests.warehouse import build, land


def test_of_a_message_sent_twice_the_first_to_land_is_kept(database: str) -> None:
    event = {"type": "track", "event": "Page Viewed", "messageId": "m1", "userId": "u1"}
    with psycopg.connect(database) as connection:
        land(connection, [event, {**event, "userId": "u2"}])
    build(database, select="+stg_events")
    with psycopg.connect(database) as connection:
        rows = connection.execute("select message_id, user_id from collect.stg_events").fetchall()
    assert rows == [("m1", "u1")]


def test_an_event_whose_transaction_is_open_waits_for_the_next_run(database: str) -> None:
    with psycopg.connect(database) as late, psycopg.connect(database) as connection:
        land(late, [{"type": "track", "event": "Page Viewed", "messageId": "late"}])
        land(connection, [{"type": "track", "event": "Page Viewed", "messageId": "after"}])
        connection.commit()
        build(database, select="+stg_events")
        staged = "select message_id from collect.stg_events order by message_id"
        assert connection.execute(staged).fetchall() == []
        connection.rollback()
        late.commit()
        build(database, select="+stg_events")
        assert connection.execute(staged).fetchall() == [("after",), ("late",)]
