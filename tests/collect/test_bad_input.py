"""Whatever is sent: never a 5xx, never a lost neighbour, never dropped without a trace."""

import gzip
import json
import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.collect.service import Service, running

GOOD = {"type": "track", "event": "Good", "messageId": "good"}

# One event each, as it stands in a batch, with the code of its rejection.
BAD_EVENTS: list[tuple[bytes, str]] = [
    (b'{"type":"track","event":"x","properties":{"v":NaN}}', "malformed_json"),
    (b'{"type":"track","event":"x","properties":{"v":Infinity}}', "malformed_json"),
    (b'{"type":"track","event":"\xff"}', "malformed_json"),
    (b'{"type":"track","event":"\\ud800"}', "malformed_json"),
    (b'{"type":"track","event":"a\x00b"}', "malformed_json"),
    (b'{"type":"track","event":"x",}', "malformed_json"),
    (b'{"type":"track","event":"a\\u0000b"}', "nul_character"),
    (b'{"type":"track","event":"x","properties":{"k\\u0000":1}}', "nul_character"),
    (b'{"type":"track","event":"x","userId":"\\u0000"}', "nul_character"),
    (b'{"type":"track","event":"x","properties":{"v":1e400}}', "invalid_number"),
    (b'{"type":"track","event":"x","properties":{"v":1e99999999999999999999}}', "invalid_number"),
    (b'{"type":"track","event":"x","properties":{"v":' + b"9" * 5000 + b"}}", "invalid_number"),
    (
        b'{"type":"track","event":"x","properties":' + b'{"a":' * 3000 + b"1" + b"}" * 3001,
        "too_deep",
    ),
    (b'{"type":"track"}', "missing_event"),
    (b'{"type":"track","event":""}', "missing_event"),
    (b'{"type":"track","event":"  "}', "missing_event"),
    (b'{"type":"track","event":7}', "invalid_event"),
    (b'{"event":"x"}', "missing_type"),
    (b'{"type":7}', "unknown_type"),
    (b'{"type":"identify"}', "missing_identifier"),
    (b'{"type":"identify","userId":""}', "missing_identifier"),
    (b'{"type":"alias","userId":"u1"}', "missing_identifier"),
    (b'{"type":"group","userId":"u1"}', "missing_group_id"),
    (b'{"type":"page","userId":true}', "invalid_identifier"),
    (b'{"type":"page","userId":["u1"]}', "invalid_identifier"),
    (b'{"type":"page","messageId":{}}', "invalid_identifier"),
    (b'{"type":"page","userId":"' + b"u" * 513 + b'"}', "identifier_too_long"),
    (b'{"type":"page","messageId":"' + b"m" * 5000 + b'"}', "identifier_too_long"),
    (b'{"type":"page","traits":{"email":"' + b"e" * 600 + b'"}}', "identifier_too_long"),
    (b'{"type":"page","properties":[]}', "invalid_properties"),
    (b'{"type":"page","context":"web"}', "invalid_context"),
    (b'{"type":"page","context":{"traits":1}}', "invalid_traits"),
    (b'{"type":"identify","userId":"u","traits":"gold"}', "invalid_traits"),
    (b'{"type":"page","timestamp":"2026-02-30T00:00:00Z"}', "invalid_timestamp"),
    (b'{"type":"page","timestamp":"yesterday"}', "invalid_timestamp"),
    (b'{"type":"page","timestamp":"0001-01-01T00:00:00+14:00"}', "invalid_timestamp"),
    (b'{"type":"page","timestamp":1700000000}', "invalid_timestamp"),
    (b'{"type":"page","sentAt":[]}', "invalid_timestamp"),
    (b'{"type":"page","properties":{"x":"' + b"x" * 33_000 + b'"}}', "event_too_large"),
    (b"7", "malformed_json"),
    (b"null", "malformed_json"),
    (b"[]", "malformed_json"),
]  # fmt: skip


@pytest.mark.parametrize(("bad", "code"), BAD_EVENTS, ids=lambda value: str(value)[:60])
def test_a_bad_event_in_a_batch_is_quarantined_and_its_neighbours_land(
    service: Service, bad: bytes, code: str
) -> None:
    before = service.row("select count(*) from raw.events")[0]
    good = json.dumps(GOOD).encode()

    reply = service.post("/v1/batch", content=b'{"batch":[%b, %b ,%b]}' % (good, bad, good))

    assert reply.status_code == 200
    answer = reply.json()
    assert answer["accepted"] == 2
    assert [(part["index"], part["code"]) for part in answer["rejected"]] == [(1, code)]
    assert service.row("select count(*) from raw.events")[0] == before + 2
    assert (
        service.rows("select code from raw.rejected_events order by rejected_id desc limit 1")
        == [(code,)]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed_json"),
        (b"{", 400, "malformed_json"),
        (b"[1,2]", 400, "malformed_json"),
        (b'"text"', 400, "malformed_json"),
        (b'{"event":"x"} {"event":"y"}', 400, "malformed_json"),
        (b'{"event":"' + b"x" * 40_000 + b'"}', 413, "event_too_large"),
        (b'{"event":"x","properties":' + b"[" * 5000 + b"]" * 5000 + b"}", 400, "too_deep"),
        (b'{"event":"x","userId":"\\ud800"}', 400, "malformed_json"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_bad_single_call_is_answered_with_code_and_message_and_kept(
    service: Service, body: bytes, status: int, code: str
) -> None:
    reply = service.post("/v1/track", content=body)

    assert reply.status_code == status
    assert reply.json()["code"] == code
    assert reply.json()["message"]
    kept = service.rows(
        "select code, body from raw.rejected_events order by rejected_id desc limit 1"
    )
    assert kept == [(code, body.decode())]


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"batch":{}}', b'{"batch":null}', b'"x"', b"7"])
def test_a_batch_without_a_batch_is_refused(service: Service, body: bytes) -> None:
    reply = service.post("/v1/batch", content=body)

    assert (reply.status_code, reply.json()["code"]) == (400, "missing_batch")


@pytest.mark.parametrize(
    "body",
    [b"", b'{"batch":[{"type":"page"}', b'{"batch":[{"type":"page"}]', b"<html>", b'{"batch":["'],
)
def test_a_batch_that_was_cut_off_is_refused_and_kept(service: Service, body: bytes) -> None:
    reply = service.post("/v1/batch", content=body)

    assert (reply.status_code, reply.json()["code"]) == (400, "malformed_json")
    assert service.rows(
        "select body from raw.rejected_events order by rejected_id desc limit 1"
    ) == [(body.decode(),)]


@pytest.mark.parametrize("path", ["/v1/track", "/v1/batch"])
def test_at_every_depth_an_event_is_stored_or_refused(service: Service, path: str) -> None:
    codes = {}
    for depth in (98, 99, 100, 101, *range(900, 1_100, 7)):
        event = (
            b'{"type":"track","event":"x","properties":' + b'{"a":' * depth + b"1" + b"}" * depth
        )
        event += b"}"
        body = b'{"batch":[%b]}' % event if path == "/v1/batch" else event
        reply = service.post(path, content=body)
        answer = reply.json()
        parts = answer.get("rejected") or [answer]
        codes[depth] = parts[0].get("code", "stored")
    # With the event itself these are a hundred levels.
    assert {depth for depth, code in codes.items() if code == "stored"} == {98, 99}
    assert set(codes.values()) == {"stored", "too_deep"}


def test_what_a_batch_says_for_all_events_is_not_deeper_than_they_may_be(service: Service) -> None:
    for depth, is_kept in ((99, True), (100, False)):
        context = b'{"a":' * depth + b"1" + b"}" * depth
        body = b'{"batch":[{"type":"page","messageId":"%d"}],"context":%b}' % (depth, context)
        assert service.post("/v1/batch", content=body).json()["accepted"] == 1
        query = "select payload ? 'context' from raw.events where message_id = %s"
        assert service.row(query, str(depth)) == (is_kept,)


@pytest.mark.parametrize("name", ["Origin", "Authorization", "X-Write-Key", "Content-Encoding"])
def test_no_header_can_break_the_answer(service: Service, name: str) -> None:
    address = urlsplit(service.url)
    for byte in range(1, 256):
        if bytes([byte]) in (b"\r", b"\n"):
            continue
        with socket.create_connection((str(address.hostname), int(address.port or 0))) as client:
            client.sendall(
                b"POST /v1/page HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n%b: a%b\r\n\r\n{}"
                % (name.encode(), bytes([byte]))
            )
            status = client.recv(4_096).split(b" ")[1]
        assert status in (b"200", b"400", b"415"), (name, byte)


def test_an_empty_batch_is_fine(service: Service) -> None:
    assert service.post("/v1/batch", {"batch": []}).json() == {
        "success": True,
        "accepted": 0,
        "rejected": [],
    }


def test_a_text_that_only_looks_like_a_nul_escape_is_accepted(service: Service) -> None:
    reply = service.post("/v1/track", content=b'{"event":"x","properties":{"p":"C:\\\\u0000"}}')

    assert reply.status_code == 200
    assert service.row("select payload->'properties'->>'p' from raw.events") == ("C:\\u0000",)


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("7", "7"),
        (str(2**63), str(2**63)),
        ("1e2", "100"),
        (str(2**64 + 1), str(2**64 + 1)),
        (str(-(2**63) - 1), str(-(2**63) - 1)),
        ("12.50", "12.50"),
        ('" 7 "', "7"),
        ('"null"', "null"),
        ('""', None),
        ('"  "', None),
        ("null", None),
        (r'"a\tb\\c\nd"', "a\tb\\c\nd"),
        (r'"\\N"', r"\N"),
        (r'"\\."', r"\."),
        ('"ünï \U0001f600"', "ünï \U0001f600"),
    ],
)
def test_an_id_is_kept_as_text(service: Service, sent: str, stored: str | None) -> None:
    body = f'{{"name":"x","userId":{sent},"messageId":"m1"}}'
    assert service.post("/v1/page", content=body.encode()).status_code == 200

    assert service.rows("select user_id from raw.events order by xid desc, seq desc limit 1") == [
        (stored,)
    ]


def test_of_a_duplicate_key_the_last_value_counts(service: Service) -> None:
    service.post("/v1/track", content=b'{"event":"x","userId":"u1","userId":"u2"}')

    assert service.row("select user_id, payload->>'userId' from raw.events") == ("u2", "u2")


@pytest.mark.parametrize("amount", [b"-5", b'"a lot"', b"null", b"{}", b"1e300"])
def test_an_amount_of_any_kind_is_accepted_raw(service: Service, amount: bytes) -> None:
    reply = service.post(
        "/track", content=b'{"event_type":"Order Completed","properties":{"amount":%b}}' % amount
    )

    assert reply.status_code == 200


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"event_type": ""}, "missing_event_type"),
        ({"event_type": None}, "missing_event_type"),
        ({"event_type": 7}, "invalid_event_type"),
        ({"event_type": "x", "email": 7}, "invalid_email"),
        ({"event_type": "x", "email": "a@b", "context": []}, "invalid_context"),
        ({"event_type": "x", "occurred_at": "2026-13-01"}, "invalid_timestamp"),
        ({"event_type": "x", "user_id": "u" * 600}, "identifier_too_long"),
    ],
)
def test_a_bad_simple_call_says_what_is_wrong(
    service: Service, body: dict[str, Any], code: str
) -> None:
    reply = service.post("/track", body)

    assert (reply.status_code, reply.json()["code"]) == (400, code)


def test_a_batch_beyond_the_limits_is_refused_and_kept_whole(database: str) -> None:
    with running(database, max_batch_events=3, max_batch_bytes=2_000) as service:
        many = service.post("/v1/batch", {"batch": [GOOD] * 4})
        large = service.post("/v1/batch", {"batch": [GOOD | {"name": "n" * 2_000}]})

        assert (many.status_code, many.json()["code"]) == (413, "too_many_events")
        assert (large.status_code, large.json()["code"]) == (413, "batch_too_large")
        assert service.row("select count(*) from raw.events") == (0,)
        bodies = service.rows("select body from raw.rejected_events order by rejected_id")
        assert [len(json.loads(body)["batch"]) for (body,) in bodies] == [4, 1]


def test_what_a_batch_says_for_all_counts_for_each_event(database: str) -> None:
    with running(database, max_event_bytes=2_000, max_body_bytes=20_000) as service:
        for said in ("context", "integrations"):
            shared = {said: {"a": "s" * 1_500}}
            fits = service.post("/v1/batch", {"batch": [GOOD], **shared})
            many = service.post("/v1/batch", {"batch": [GOOD] * 20, **shared})
            large = service.post(
                "/v1/batch", {"batch": [GOOD | {"name": "n" * 600, "messageId": said}], **shared}
            )

            assert fits.json() == {"success": True, "accepted": 1, "rejected": []}
            assert (many.status_code, many.json()["code"]) == (413, "batch_too_large")
            assert "Send fewer at a time" in many.json()["message"]
            [rejected] = large.json()["rejected"]
            assert (rejected["code"], rejected["message_id"]) == ("event_too_large", said)
        [kept] = service.row(
            "select body from raw.rejected_events where code = 'event_too_large' limit 1"
        )
        assert json.loads(kept)["context"] == {"a": "s" * 1_500}


def test_a_body_beyond_the_hard_limit_is_recorded_without_being_kept(database: str) -> None:
    with running(database, max_body_bytes=100_000) as service:
        plain = service.post("/v1/batch", content=b"x" * 100_001)
        bomb = service.post(
            "/v1/batch",
            content=gzip.compress(b" " * 50_000_000),
            headers={"Content-Encoding": "gzip"},
        )

        for reply in (plain, bomb):
            assert (reply.status_code, reply.json()["code"]) == (413, "body_too_large")
        assert service.rows("select code, body from raw.rejected_events") == [
            ("body_too_large", ""),
            ("body_too_large", ""),
        ]


@pytest.mark.parametrize(
    ("body", "encoding", "status", "code"),
    [
        (gzip.compress(b'{"batch":[]}')[:-9], "gzip", 400, "malformed_gzip"),
        (b"\x1f\x8b not gzip", "gzip", 400, "malformed_gzip"),
        (gzip.compress(b"") * 100_000, "gzip", 400, "malformed_gzip"),
        (b"{}", "br", 415, "unsupported_encoding"),
    ],
    ids=["cut off", "not gzip", "too many members", "brotli"],
)
def test_a_body_that_cannot_be_inflated_is_refused_and_kept(
    service: Service, body: bytes, encoding: str, status: int, code: str
) -> None:
    reply = service.post("/v1/batch", content=body, headers={"Content-Encoding": encoding})

    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert service.row("select code from raw.rejected_events") == (code,)


def test_a_row_that_postgresql_refuses_is_quarantined_alone(database: str) -> None:
    with running(database, max_identifier_bytes=2_000) as service:
        service.execute("alter table raw.events add check (user_id <> 'forbidden')")
        batch = [{"type": "page", "userId": user} for user in ("a", "forbidden", "b", "forbidden")]
        reply = service.post("/v1/batch", {"batch": batch})

        answer = reply.json()
        assert (reply.status_code, answer["accepted"]) == (200, 2)
        assert [(part["index"], part["code"]) for part in answer["rejected"]] == [
            (1, "not_storable"),
            (3, "not_storable"),
        ]
        assert service.rows("select user_id from raw.events order by 1") == [("a",), ("b",)]
        assert service.row("select count(*) from raw.rejected_events") == (2,)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/track", 405, "method_not_allowed"),
        ("PUT", "/v1/batch", 405, "method_not_allowed"),
        ("POST", "/v1/nothing", 404, "not_found"),
        ("GET", "/nothing", 404, "not_found"),
    ],
)
def test_other_errors_have_code_and_message_too(
    service: Service, method: str, path: str, status: int, code: str
) -> None:
    reply = httpx.request(method, f"{service.url}{path}")

    assert (reply.status_code, reply.json()["code"]) == (status, code)
