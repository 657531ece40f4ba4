"""The Segment-compatible addresses, single calls and batches."""

import base64
import gzip
import json
from typing import Any

import httpx
import pytest

from tests.collect.service import Service

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("identify", {"userId": "u1", "traits": {"email": "a@example.com"}}),
    ("track", {"userId": "u1", "event": "Signed Up"}),
    ("page", {"anonymousId": "a1", "name": "Home"}),
    ("screen", {"anonymousId": "a1", "name": "Home"}),
    ("group", {"userId": "u1", "groupId": "g1"}),
    ("alias", {"userId": "u1", "previousId": "a1"}),
]


@pytest.mark.parametrize(("kind", "body"), CALLS)
@pytest.mark.parametrize(
    "form", ["/v1/{kind}", "/v1/{letter}", "/api/s/{kind}", "/api/s/s2s/{kind}"]
)
def test_every_form_of_an_address_lands_the_same_event(
    service: Service, kind: str, body: dict[str, Any], form: str
) -> None:
    reply = service.post(form.format(kind=kind, letter=kind[0]), body | {"messageId": "m1"})

    assert (reply.status_code, reply.json()["message_id"]) == (200, "m1")
    assert service.row("select type, message_id, user_id, anonymous_id from raw.events") == (
        kind,
        "m1",
        body.get("userId"),
        body.get("anonymousId"),
    )


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/b", "/b", "/v1/import", "/api/s/batch"])
def test_a_batch_lands_every_event_with_what_the_batch_says_for_all(
    service: Service, path: str
) -> None:
    reply = service.post(
        path,
        {
            "batch": [
                {"type": "track", "event": "One", "userId": "u1", "messageId": "m1"},
                {"type": "page", "userId": "u1", "messageId": "m2", "context": {"ip": "::1"}},
            ],
            "context": {"ip": "192.0.2.1", "library": {"name": "test"}},
            "integrations": {"All": True},
            "writeKey": "secret",
        },
    )

    assert reply.json() == {"success": True, "accepted": 2, "rejected": []}
    first, second = service.rows("select payload from raw.events order by message_id")
    assert first[0]["context"] == {"ip": "192.0.2.1", "library": {"name": "test"}}
    assert second[0]["context"] == {"ip": "::1", "library": {"name": "test"}}
    assert first[0]["integrations"] == {"All": True}
    assert "secret" not in json.dumps([first, second])


def test_a_batch_answers_for_each_event_and_keeps_the_good_ones(service: Service) -> None:
    reply = service.post(
        "/v1/batch",
        {
            "batch": [
                {"type": "track", "event": "Good", "messageId": "m1"},
                {"type": "track", "messageId": "m2"},
                {"type": "teleport", "messageId": "m3"},
                {"type": "track", "event": "Good", "messageId": "m4"},
            ]
        },
    )

    assert reply.status_code == 200
    answer = reply.json()
    assert answer["accepted"] == 2
    assert [(part["index"], part["message_id"], part["code"]) for part in answer["rejected"]] == [
        (1, "m2", "missing_event"),
        (2, "m3", "unknown_type"),
    ]
    assert service.rows("select message_id from raw.events order by message_id") == [
        ("m1",),
        ("m4",),
    ]
    assert service.rows(
        "select message_id, batch_index, code from raw.rejected_events order by batch_index"
    ) == [("m2", 1, "missing_event"), ("m3", 2, "unknown_type")]


@pytest.mark.parametrize(
    "shared",
    [
        '"sentAt": "garbage"',
        '"sentAt": 5',
        '"sentAt": 1e400',
        '"context": 5',
        '"context": {"a": 1e400}',
        '"integrations": {"a": 1e400}',
    ],
)
def test_an_unusable_word_for_the_whole_batch_costs_no_event(service: Service, shared: str) -> None:
    items = json.dumps([{"type": "page", "messageId": f"m{number}"} for number in range(3)])

    reply = service.post("/v1/batch", content=f'{{"batch": {items}, {shared}}}'.encode())

    assert reply.json() == {"success": True, "accepted": 3, "rejected": []}


def test_numbers_that_a_batch_says_for_all_keep_their_digits(service: Service) -> None:
    body = b'{"batch": [{"type": "page"}], "context": {"a": 12345678901234567890.123456789}}'
    assert service.post("/v1/batch", content=body).status_code == 200

    assert service.row("select payload->'context'->>'a' from raw.events") == (
        "12345678901234567890.123456789",
    )


def test_received_equals_accepted_plus_rejected_in_the_accounting(service: Service) -> None:
    service.post("/v1/batch", {"batch": [{"type": "page"}, {"type": "track"}]})
    service.post("/track", {"event_type": "Ping"})
    service.post("/track", {})

    assert service.row(
        "select sum(received_count), sum(accepted_count), sum(rejected_count) from raw.landings"
    ) == (4, 2, 2)
    assert service.row("select count(*) from raw.events") == (2,)
    assert service.row("select count(*) from raw.rejected_events") == (2,)


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", ""],
)
def test_json_is_parsed_whatever_the_content_type_says(service: Service, content_type: str) -> None:
    reply = service.post(
        "/v1/track", content=b'{"event":"Ping"}', headers={"Content-Type": content_type}
    )

    assert reply.status_code == 200


@pytest.mark.parametrize("says_so", [True, False])
def test_a_gzip_body_is_inflated(service: Service, says_so: bool) -> None:
    body = gzip.compress(b'{"batch":[{"type":"track","event":"Ping"}]}')
    headers = {"Content-Encoding": "gzip"} if says_so else {}

    reply = service.post("/v1/batch", content=body, headers=headers)

    assert reply.json()["accepted"] == 1


@pytest.mark.parametrize(
    "path", ["//v1/batch", "/v1/batch/", "//b", "///v1//import/", "//beacon/v1/batch"]
)
def test_a_slash_too_many_in_a_configured_host_or_path_costs_nothing(
    service: Service, path: str
) -> None:
    reply = httpx.post(f"{service.url}{path}", content=b'{"batch":[{"type":"page"}]}')

    assert (reply.status_code, reply.json()["accepted"]) == (200, 1)
    config = httpx.get(f"{service.url}//v1/projects/k/settings")
    assert config.status_code == 200


def test_traits_may_be_only_in_the_context(service: Service) -> None:
    service.post("/v1/identify", {"userId": "u1", "context": {"traits": {"email": "A@B.example"}}})

    assert service.row("select email from raw.events") == ("a@b.example",)


def test_the_traits_of_a_group_are_not_the_persons(service: Service) -> None:
    service.post(
        "/v1/group",
        {"userId": "u1", "groupId": "g1", "traits": {"email": "office@example.com"}},
    )

    assert service.row("select email from raw.events") == (None,)


def test_the_other_id_of_an_alias_is_landed(service: Service) -> None:
    service.post("/v1/alias", {"userId": "u1", "previousId": "a1"})

    assert service.row("select user_id, previous_id from raw.events") == ("u1", "a1")


def test_the_write_key_is_neither_in_the_payload_nor_in_the_quarantine(service: Service) -> None:
    service.post("/v1/track", {"event": "Ping", "writeKey": "secret-1"})
    service.post("/v1/track", {"writeKey": "secret-2"})
    service.post("/v1/track", content=b'{"writeKey" : "secret-3", "event": ')
    service.post("/v1/batch", {"batch": [{"type": "track", "writeKey": "secret-4"}]})
    service.post("/v1/track", {"write_key": "secret-5"})

    kept = service.rows("select payload::text from raw.events")
    kept += service.rows("select body from raw.rejected_events")
    assert len(kept) == 5
    assert "secret" not in str(kept)


def test_a_property_called_write_key_is_kept_for_a_replay(service: Service) -> None:
    """Only the event's own is a secret; what customers call their data is theirs."""
    own = {"userId": "u1", "properties": {"a": [{"writeKey": "mine"}]}, "writeKey": "secret-1"}
    service.post("/v1/track", own)
    service.post("/v1/batch", {"batch": [own | {"type": "track"}], "writeKey": "secret-2"})
    service.post("/v1/batch", {"writeKey": "secret-3", "batch": own})

    kept = [body for (body,) in service.rows("select body from raw.rejected_events")]
    assert [(body.count("mine"), body.count("secret")) for body in kept] == [(1, 0)] * 3


def test_a_body_that_is_not_text_is_kept_as_base64(service: Service) -> None:
    service.post("/v1/track", content=b"\xff\xfe\x00")

    body, encoding = service.row("select body, body_encoding from raw.rejected_events")
    assert (base64.b64decode(body), encoding) == (b"\xff\xfe\x00", "base64")
