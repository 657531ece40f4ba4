"""Write keys: where they may be, whose they are, and what happens without one."""

import base64
import logging
import time
from typing import Any

import httpx
import psycopg
import pytest

from cdp.settings import Settings, SettingsError
from cdp.write_keys import WRITE_KEYS, WriteKeyError, create_key, list_keys, revoke_key
from tests.collect.service import Service, create_source, running

EVENT = {"type": "page", "name": "Home"}
SOON: dict[str, Any] = {"write_key_refresh_seconds": 0.1}


def basic(user: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:".encode()).decode()}


def wait_for_status(service: Service, status: int, **options: Any) -> None:
    """Post until the answer has this status: a created or revoked key takes a moment."""
    deadline = time.monotonic() + 10
    while service.post("/v1/page", EVENT, **options).status_code != status:
        assert time.monotonic() < deadline, f"no answer {status} within 10 seconds"
        time.sleep(0.05)


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/page"])
@pytest.mark.parametrize("place", ["basic", "header", "header with secret", "query", "body"])
def test_a_key_is_found_wherever_it_is(database: str, path: str, place: str) -> None:
    create_source(database, "other")
    key = create_source(database, "web")
    headers, query, body = {}, "", {}
    if place == "basic":
        headers = basic(key)
    elif place.startswith("header"):
        headers = {"X-Write-Key": key if place == "header" else f"{key}:secret"}
    elif place == "query":
        query = f"?x=1&writeKey={key}"
    else:
        body = {"writeKey": key}
    content = {"batch": [EVENT], **body} if path == "/v1/batch" else EVENT | body
    with running(database) as service:
        reply = service.post(f"{path}{query}", content, headers=headers)

        assert reply.status_code == 200
        assert service.row("select source from raw.events") == ("web",)


@pytest.mark.parametrize(
    "body",
    [
        '{"batch": [{"type": "page", "writeKey": "KEY"}]}',
        '{"batch": [{"type": "page"}], "context": {"writeKey" : "KEY"}}',
        '{"batch": [{"type": "page", "messageId": NaN}, {"type": "page"}], "writeKey": "KEY"}',
        '{"writeKey": "KEY", "batch": [{"type": "page"}, {"ty',
        '{"writeKey": "KEY", "batch": ' + "[" * 5_000,
    ],
)
def test_a_key_in_any_part_of_the_body_is_found_even_if_the_body_is_not_json(
    database: str, body: str
) -> None:
    key = create_source(database, "phone")
    with running(database) as service:
        reply = service.post("/v1/batch", content=body.replace("KEY", key).encode())

        assert reply.status_code in (200, 400)
        kept = service.rows(
            "select source from raw.events union all select source from raw.rejected_events"
        )
        assert kept
        assert {source for (source,) in kept} == {"phone"}


def test_a_body_too_large_to_look_for_its_key_is_called_too_large(database: str) -> None:
    key = create_source(database, "ios")
    with running(database, max_body_bytes=100_000) as service:
        content = f'{{"writeKey":"{key}","batch":["{"x" * 100_000}"]}}'.encode()
        reply = service.post("/v1/b", content=content)

        assert (reply.status_code, reply.json()["code"]) == (413, "body_too_large")
        assert service.row("select count(*) from raw.rejected_events") == (0,)


def test_a_key_behind_the_batch_in_the_body_is_found(database: str) -> None:
    key = create_source(database, "ios")
    with running(database) as service:
        content = f'{{"batch":[{{"type":"page"}}],"writeKey":"{key}"}}'.encode()
        assert service.post("/v1/b", content=content).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("wrong"),
        basic(""),
        {"Authorization": "Basic %%%"},
        {"Authorization": "Bearer x"},
        {"X-Write-Key": "wrong"},
    ],
    ids=str,
)
@pytest.mark.parametrize("content", [b'{"type":"page"}', b"{", b""])
def test_without_a_known_key_nothing_is_stored(
    database: str, headers: dict[str, str], content: bytes
) -> None:
    create_source(database, "web")
    with running(database) as service:
        reply = service.post("/v1/page", content=content, headers=headers)

        assert (reply.status_code, reply.json()["code"]) == (401, "invalid_write_key")
        assert service.row("select count(*) from raw.events") == (0,)
        assert service.row("select count(*) from raw.rejected_events") == (0,)


def test_keys_take_effect_and_lose_it_without_a_restart(database: str) -> None:
    with running(database, **SOON) as service:
        assert service.post("/v1/page", EVENT).status_code == 200  # open

        key = create_source(database, "web")
        wait_for_status(service, 401)
        assert service.post("/v1/page", EVENT, headers=basic(key)).status_code == 200

        with psycopg.connect(database) as connection:
            revoke_key(connection, 1)
        wait_for_status(service, 401, headers=basic(key))
        # The last key is gone; the service is closed now, not open again.
        assert service.post("/v1/page", EVENT).status_code == 401
    with running(database) as service:
        assert service.post("/v1/page", EVENT).status_code == 401


def test_an_open_service_says_so_at_its_start(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), running(database):
        pass
    assert "open: no write key exists, events land as source 'default'" in caplog.messages


def test_on_another_address_the_service_refuses_to_start_without_keys(database: str) -> None:
    settings = Settings(DATABASE_URL=database, host="0.0.0.0")  # noqa: S104 - that is the point
    with pytest.raises(SettingsError, match="cdp keys create"):
        WRITE_KEYS.require_one(settings)

    create_source(database, "web")
    WRITE_KEYS.require_one(settings)


def test_on_another_address_no_request_is_taken_without_a_key(database: str) -> None:
    with running(database, host="192.0.2.1") as service:
        assert service.post("/v1/page", EVENT).status_code == 401


def test_a_key_is_kept_only_as_a_hash_and_listed_without_it(database: str) -> None:
    with psycopg.connect(database) as connection:
        first = create_key(connection, "web")
        second = create_key(connection, "web")
        assert first != second
        revoke_key(connection, 1)
        stored = connection.execute("select * from raw.write_keys").fetchall()
        assert first not in str(stored)
        keys = list_keys(connection)
    assert [(key.write_key_id, key.source, key.revoked_at is None) for key in keys] == [
        (1, "web", False),
        (2, "web", True),
    ]


def test_a_bad_source_name_and_an_unknown_key_are_named(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        with pytest.raises(WriteKeyError, match='The source is "My Web"'):
            create_key(connection, "My Web")
        with pytest.raises(WriteKeyError, match="no write key 7"):
            revoke_key(connection, 7)


def test_the_write_role_can_insert_into_raw_and_nothing_else(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("set role cdp_ingest")
        forbidden = [
            "select * from raw.events",
            "select * from raw.rejected_events",
            "select * from raw.write_keys",
            "insert into raw.write_keys (source, key_hash) values ('x', 'x')",
            "update raw.events set user_id = 'x'",
            "delete from raw.events",
            "truncate raw.events",
            "drop table raw.events",
            "create table raw.mine (id int)",
            "create table public.mine (id int)",
        ]
        for statement in forbidden:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
        computed = connection.execute(
            "select count(*) from pg_class join pg_namespace on pg_namespace.oid = relnamespace"
            " where nspname in ('collect', 'unify', 'segment', 'activate', 'decide')"
            " and relkind in ('r', 'p', 'v') and has_table_privilege(pg_class.oid, 'select')"
        ).fetchone()
        assert computed == (0,)


def test_neither_keys_nor_bodies_are_logged(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    key = create_source(database, "web")
    with caplog.at_level(logging.DEBUG), running(database, **SOON) as service:
        service.post("/v1/page", {"name": "body-text"}, headers=basic(key))
        service.post("/v1/page", content=b'{"name":"body-text"', headers=basic(key))
        service.post(
            "/v1/page", {"name": "body-text", "timestamp": "body-text"}, headers=basic(key)
        )
        service.post("/v1/page", {"name": "body-text"}, headers=basic("wrong-key-text"))
    log = " ".join(record.getMessage() for record in caplog.records if "ingest" in record.name)
    assert key not in log
    assert "body-text" not in log
    assert "wrong-key-text" not in log


def test_a_source_beyond_its_rate_is_told_when_to_come_back(database: str) -> None:
    key, other = create_source(database, "web"), create_source(database, "ios")
    with running(database, rate_limit_events=50) as service:
        batch = {"batch": [EVENT] * 40}
        # Two windows may meet between the first two requests, never between all four.
        replies = [service.post("/v1/batch", batch, headers=basic(key)) for _ in range(4)]
        refused = [reply for reply in replies if reply.status_code == 429]

        assert refused
        assert refused[0].json()["code"] == "rate_limited"
        assert refused[0].headers["Retry-After"] == "1"
        assert service.post("/v1/page", EVENT, headers=basic(other)).status_code == 200
        accepted = 40 * (4 - len(refused)) + 1
        assert service.row("select count(*) from raw.events") == (accepted,)


@pytest.mark.parametrize(
    "path", ["/v1/track", "/v1/batch", "/v1/t", "/b", "/api/s/track", "/track"]
)
def test_a_browser_on_another_origin_may_send_and_read_the_answer(
    service: Service, path: str
) -> None:
    origin = "https://shop.example"
    preflight = httpx.options(
        f"{service.url}{path}",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": (
                "authorization,content-type,anonymousid,sentat,x-write-key,x-retry-count"
            ),
        },
    )
    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == origin
    allowed = preflight.headers["Access-Control-Allow-Headers"].lower()
    for name in ("authorization", "content-type", "anonymousid", "sentat", "x-write-key"):
        assert name in allowed

    for body in (b'{"batch":[],"event":"x","event_type":"x"}', b"{"):
        reply = service.post(path, content=body, headers={"Origin": origin})
        assert reply.headers["Access-Control-Allow-Origin"] == origin
        assert "Retry-After" in reply.headers["Access-Control-Expose-Headers"]


def test_the_settings_point_a_browser_sdk_back_at_this_service(service: Service) -> None:
    host = service.url.removeprefix("http://")
    settings = httpx.get(f"{service.url}/v1/projects/some-key/settings").json()
    assert settings["integrations"]["Segment.io"] == {
        "apiKey": "some-key",
        "apiHost": f"{host}/v1",
        "protocol": "http",
    }

    behind_proxy = httpx.get(
        f"{service.url}/v1/projects/some-key/settings",
        headers={"X-Forwarded-Proto": "https", "X-Forwarded-Host": "events.example"},
    ).json()
    assert behind_proxy["integrations"]["Segment.io"]["apiHost"] == "events.example/v1"
    assert behind_proxy["integrations"]["Segment.io"]["protocol"] == "https"

    for path in ("/sourceConfig/?writeKey=k", "/sourceConfig?writeKey=k"):
        config = httpx.get(f"{service.url}{path}").json()
        assert (config["source"]["writeKey"], config["source"]["enabled"]) == ("k", True)
