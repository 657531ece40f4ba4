"""POST /identify and POST /track: four lines of curl."""

from datetime import UTC, datetime

from tests.collect.service import Service


def test_a_track_call_lands_with_its_columns_and_a_segment_shaped_payload(
    service: Service,
) -> None:
    reply = service.post(
        "/track",
        {
            "event_type": "Product Viewed",
            "user_id": "u1",
            "anonymous_id": "a1",
            "email": " Ada@Example.COM ",
            "properties": {"price": 12.50},
            "occurred_at": "2026-01-31T12:00:00+02:00",
        },
    )

    assert reply.status_code == 200
    answer = reply.json()
    assert answer["success"] is True
    assert datetime.fromisoformat(answer["received_at"]).tzinfo == UTC
    assert service.row(
        "select message_id, type, event, user_id, anonymous_id, email, occurred_at, source"
        " from raw.events"
    ) == (
        answer["message_id"],
        "track",
        "Product Viewed",
        "u1",
        "a1",
        "ada@example.com",
        datetime(2026, 1, 31, 10, tzinfo=UTC),
        "default",
    )
    assert service.row("select payload from raw.events") == (
        {
            "type": "track",
            "event": "Product Viewed",
            "messageId": answer["message_id"],
            "userId": "u1",
            "anonymousId": "a1",
            "timestamp": "2026-01-31T12:00:00+02:00",
            "properties": {"price": 12.50},
            "context": {"traits": {"email": " Ada@Example.COM "}},
        },
    )


def test_an_error_names_the_field_as_it_was_sent(service: Service) -> None:
    call = {"event_type": "Ping", "user_id": "u1"}

    late = service.post("/track", call | {"occurred_at": "yesterday"})
    wrong = service.post("/track", call | {"anonymous_id": ["a1"]})

    assert late.json()["message"].startswith('occurred_at is "yesterday"; give')
    assert wrong.json()["message"] == "anonymous_id is a list; give a text."


def test_a_null_beside_the_other_spelling_of_a_field_hides_nothing(service: Service) -> None:
    service.post("/track", {"event_type": "Ping", "user_id": None, "userId": "u1"})

    assert service.row("select user_id from raw.events") == ("u1",)


def test_an_identify_call_keeps_its_traits_and_reads_email_and_phone_from_them(
    service: Service,
) -> None:
    reply = service.post(
        "/identify",
        {"email": "ada@example.com", "traits": {"plan": "gold", "phone": "+49 170 1234567"}},
    )

    assert reply.status_code == 200
    assert service.row("select type, email, phone, user_id from raw.events") == (
        "identify",
        "ada@example.com",
        "+491701234567",
        None,
    )
    assert service.row("select payload->'traits' from raw.events") == (
        {"plan": "gold", "phone": "+49 170 1234567", "email": "ada@example.com"},
    )


def test_an_identify_call_without_any_identifier_is_refused(service: Service) -> None:
    reply = service.post("/identify", {"traits": {"plan": "gold"}})

    assert reply.status_code == 400
    assert reply.json()["code"] == "missing_identifier"


def test_a_track_call_without_any_identifier_is_kept(service: Service) -> None:
    assert service.post("/track", {"event_type": "Ping"}).status_code == 200
    assert service.row("select user_id, anonymous_id, email from raw.events") == (None, None, None)


def test_a_track_call_without_an_event_type_is_refused_and_kept_in_quarantine(
    service: Service,
) -> None:
    reply = service.post("/track", {"user_id": "u1"})

    assert reply.status_code == 400
    assert reply.json() == {
        "code": "missing_event_type",
        "message": 'event_type is missing; give for example "Product Viewed".',
    }
    assert service.row("select code, body, source, path from raw.rejected_events") == (
        "missing_event_type",
        '{"user_id":"u1"}',
        "default",
        "/track",
    )


def test_a_given_message_id_makes_a_repeated_call_recognisable(service: Service) -> None:
    for _ in range(2):
        reply = service.post("/track", {"event_type": "Ping", "message_id": "m1"})
        assert reply.json()["message_id"] == "m1"

    assert service.rows("select message_id from raw.events") == [("m1",), ("m1",)]


def test_fields_that_the_simple_shape_does_not_know_are_kept(service: Service) -> None:
    service.post("/track", {"event_type": "Ping", "campaign": "spring"})

    assert service.row("select payload->>'campaign' from raw.events") == ("spring",)


def test_an_amount_keeps_every_digit_that_was_sent(service: Service) -> None:
    service.post(
        "/track", content=b'{"event_type":"Pay","properties":{"amount":0.12345678901234567890}}'
    )

    assert service.row("select payload->'properties'->>'amount' from raw.events") == (
        "0.12345678901234567890",
    )
