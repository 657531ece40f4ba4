"""`cdp replay-rejected`: what was rejected comes back after a fix."""

import json
from datetime import UTC, datetime

from cdp.replay import replay_rejected
from cdp.settings import Settings
from tests.collect.service import Service, running


def settings_of(service: Service, **changed: int) -> Settings:
    return Settings(DATABASE_URL=service.database, **changed)  # type: ignore[arg-type]


def test_a_batch_that_was_too_large_lands_once_the_limit_is_raised(database: str) -> None:
    batch = [{"type": "page", "messageId": f"m{number}"} for number in range(4)]
    with running(database, max_batch_events=3) as service:
        assert service.post("/v1/batch", {"batch": [*batch, {"type": "track"}]}).status_code == 413

        refused = replay_rejected(database, settings_of(service, max_batch_events=3))
        assert (refused.replayed, refused.still_rejected) == (0, 1)
        assert refused.reasons == {"too_many_events": 1}

        result = replay_rejected(database, settings_of(service))

        assert (result.replayed, result.accepted_events, result.still_rejected) == (1, 4, 0)
        assert service.rows("select message_id from raw.events order by 1") == [
            ("m0",),
            ("m1",),
            ("m2",),
            ("m3",),
        ]
        assert service.rows(
            "select code, batch_index, replayed_at is null from raw.rejected_events"
            " order by rejected_id"
        ) == [("too_many_events", None, False), ("missing_event", 4, True)]
        again = replay_rejected(database, settings_of(service))
        assert (again.replayed, again.still_rejected) == (0, 1)


def test_a_replayed_event_keeps_its_source_its_context_and_the_time_it_was_received(
    database: str,
) -> None:
    event = {"type": "page", "messageId": "m1", "name": "n" * 2_000}
    with running(database, max_event_bytes=1_024) as service:
        service.post("/v1/batch", {"batch": [event], "context": {"ip": "192.0.2.1"}})
        received_at = service.row("select received_at from raw.rejected_events")[0]

        replay_rejected(database, settings_of(service))

        assert service.row(
            "select message_id, source, received_at, occurred_at, payload->>'name' from raw.events"
        ) == ("m1", "default", received_at, received_at, "n" * 2_000)


def test_a_replayed_call_of_the_simple_shape_is_translated(database: str) -> None:
    with running(database, max_event_bytes=1_024) as service:
        service.post("/track", {"event_type": "Buy", "user_id": "u1", "note": "n" * 2_000})

        replay_rejected(database, settings_of(service))

        assert service.row("select event, user_id from raw.events") == ("Buy", "u1")


def test_only_the_chosen_reason_is_replayed(database: str) -> None:
    with running(database, max_identifier_bytes=64) as service:
        service.post("/v1/page", {"userId": "u" * 100})
        service.post("/v1/track", {"event": 7})

        result = replay_rejected(database, settings_of(service), code="invalid_event")
        assert (result.replayed, result.still_rejected) == (0, 1)
        result = replay_rejected(database, settings_of(service), code="identifier_too_long")
        assert (result.replayed, result.still_rejected) == (1, 0)


def test_an_event_of_a_day_without_a_partition_gets_one(service: Service) -> None:
    service.execute(
        "insert into raw.rejected_events"
        " (received_at, source, path, code, message, body, body_encoding)"
        " values ('2020-05-05T10:00:00Z', 'web', '/v1/page', 'x', 'x', '{}', 'utf-8')"
    )

    replay_rejected(service.database, settings_of(service))

    assert service.row("select received_at from raw.events_20200505") == (
        datetime(2020, 5, 5, 10, tzinfo=UTC),
    )


def test_the_accounting_still_adds_up_after_a_replay(database: str) -> None:
    with running(database, max_batch_events=2) as service:
        body = json.dumps({"batch": [{"type": "page"}, {"type": "page"}, {"type": "track"}]})
        service.post("/v1/batch", content=body.encode())
        replay_rejected(database, settings_of(service))

        received, accepted, rejected = service.row(
            "select sum(received_count), sum(accepted_count), sum(rejected_count) from raw.landings"
        )
        assert received == accepted + rejected
        assert service.row("select count(*) from raw.events") == (accepted,)
        assert service.row("select count(*) from raw.rejected_events") == (rejected,)


def test_what_can_never_be_accepted_stays(service: Service) -> None:
    service.post("/v1/page", content=b"\xff\x00")
    service.post("/v1/page", content=b'{"name":"\\u0000"}')

    result = replay_rejected(service.database, settings_of(service))

    assert (result.replayed, result.still_rejected) == (0, 2)
    assert service.row("select count(*) from raw.rejected_events where replayed_at is null") == (2,)
