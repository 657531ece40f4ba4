"""Raw partitions by day: created ahead, and dropped when they are old."""

from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest

from cdp.retention import drop_old_events
from tests.collect.service import Service


@pytest.fixture
def service(own_service: Service) -> Service:
    """These tests make and drop tables."""
    return own_service


OLD = date(2024, 2, 3)


def land_on(service: Service, day: date) -> None:
    with psycopg.connect(service.database) as connection:
        connection.execute("select raw.ensure_partition(%s)", [day])
        connection.execute(
            "insert into raw.events (message_id, type, occurred_at, received_at, source, payload)"
            " values ('m', 'page', %(day)s::date + time '12:00', %(day)s::date + time '12:00',"
            " 'web', '{}')",
            {"day": day},
        )
        connection.execute("insert into raw.landings values (default, %s, 'web', 1, 1, 0)", [day])
        connection.execute(
            "insert into raw.rejected_events"
            " (received_at, source, path, code, message, body, body_encoding)"
            " values (%s::date + time '12:00', 'web', '/v1/page', 'x', 'x', '{}', 'utf-8')",
            [day],
        )


def publish_watermark(service: Service) -> None:
    service.execute(
        "create table decide.watermark as select"
        " pg_snapshot_xmin(pg_current_snapshot())::text::bigint as to_xid,"
        " (select system_identifier::text from pg_control_system()) as system_identifier"
    )


def test_the_partitions_of_the_next_days_stand_ahead(service: Service) -> None:
    days = [datetime.now(UTC).date() + timedelta(days=ahead) for ahead in range(-1, 4)]
    rows = service.rows(
        "select inhrelid::regclass::text from pg_inherits"
        " where inhparent = 'raw.events'::regclass order by 1"
    )
    # More before them, when the tests began before midnight.
    assert rows[-len(days) :] == [(f"raw.events_{day:%Y%m%d}",) for day in days]


def test_a_new_partition_does_not_wait_for_readers(service: Service) -> None:
    with psycopg.connect(service.database) as reader:
        reader.execute("select count(*) from raw.events")  # and its transaction stays open
        with psycopg.connect(service.database) as creator:
            creator.execute("set lock_timeout = '2s'")
            created = creator.execute("select raw.ensure_partitions(6)").fetchone()
            assert created == (3,)
        assert service.post("/v1/page", {}).status_code == 200


def test_a_missing_partition_is_created_when_an_event_needs_it(service: Service) -> None:
    service.execute(
        "do $$ declare name text; begin for name in select inhrelid::regclass from pg_inherits"
        " where inhparent = 'raw.events'::regclass loop execute 'drop table ' || name;"
        " end loop; end $$"
    )

    assert service.post("/v1/page", {"messageId": "m1"}).status_code == 200
    assert service.row("select message_id from raw.events") == ("m1",)
    assert service.row("select count(*) from raw.rejected_events") == (0,)


def test_old_days_are_dropped_with_their_quarantine_and_accounting(service: Service) -> None:
    land_on(service, OLD)
    service.post("/v1/page", {})
    publish_watermark(service)

    assert drop_old_events(service.database, 30) == [OLD]

    assert service.row("select count(*) from raw.events") == (1,)
    assert service.row("select count(*) from raw.landings") == (1,)
    assert service.row("select count(*) from raw.rejected_events") == (0,)
    assert drop_old_events(service.database, 30) == []


def test_without_a_retention_everything_is_kept(service: Service) -> None:
    land_on(service, OLD)
    publish_watermark(service)

    assert drop_old_events(service.database, None) == []
    assert service.row("select count(*) from raw.events") == (1,)


def test_a_source_with_a_longer_term_outlives_the_others_of_its_day(service: Service) -> None:
    land_on(service, OLD)
    service.execute(
        "insert into raw.events (message_id, type, occurred_at, received_at, source, payload)"
        " select message_id, type, occurred_at, received_at, 'shop', payload from raw.events;"
        "insert into raw.landings select xid, received_on, 'shop', 1, 1, 0 from raw.landings"
    )
    publish_watermark(service)

    assert drop_old_events(service.database, None, {"shop": 100_000}) == []
    assert drop_old_events(service.database, 30, {"shop": 100_000}) == [OLD]

    assert service.rows("select source from raw.events") == [("shop",)]
    assert service.rows("select source from raw.landings") == [("shop",)]
    assert service.row("select count(*) from raw.rejected_events") == (0,)
    assert drop_old_events(service.database, 100_000, {"shop": 30}) == [OLD]
    assert service.rows("select to_regclass('raw.events_20240203')") == [(None,)]


@pytest.mark.parametrize("case", ["no run yet", "behind", "another cluster"])
def test_a_day_that_no_refresh_has_read_is_kept(service: Service, case: str) -> None:
    if case == "behind":
        publish_watermark(service)
    land_on(service, OLD)
    if case == "another cluster":
        publish_watermark(service)
        service.execute("update decide.watermark set system_identifier = '1'")

    assert drop_old_events(service.database, 30) == []
    assert service.row("select count(*) from raw.events") == (1,)


def test_a_drop_that_was_interrupted_is_finished_by_the_next(service: Service) -> None:
    land_on(service, OLD)
    publish_watermark(service)
    with psycopg.connect(service.database) as reader:
        reader.execute("select count(*) from raw.events")
        with psycopg.connect(service.database, autocommit=True) as dropper:
            dropper.execute("set statement_timeout = '300ms'")
            with pytest.raises(psycopg.errors.QueryCanceled):
                dropper.execute(
                    "alter table raw.events detach partition raw.events_20240203 concurrently"
                )

    assert drop_old_events(service.database, 30) == [OLD]
