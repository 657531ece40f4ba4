"""POST /decide: the four experiences, the evidence, and what is refused."""

import asyncio
import json
import threading
from datetime import timedelta
from typing import Any

import httpx
import psycopg
import pytest

from tests.decide.conftest import AS_OF, CONCERT, decide, order, serving
from tests.warehouse import build, land


@pytest.mark.parametrize(
    ("user_id", "context", "experience"),
    [
        ("ada", CONCERT, "premium"),
        ("ada", {"amount": 100, "category": "concert"}, "premium"),
        ("ada", {"amount": 99.99, "category": "concert"}, "loyalty"),
        ("ada", {"amount": 120, "category": "books"}, "loyalty"),
        ("ada", {}, "loyalty"),
        ("ben", CONCERT, "acquisition"),
        ("nobody", CONCERT, "acquisition"),
        ("ben", {"amount": "120", "category": "concert"}, "control"),
        ("ben", {}, "control"),
        ("nobody", {}, "control"),
    ],
)
async def test_profile_and_session_choose_the_experience(
    client: httpx.AsyncClient, user_id: str, context: Any, experience: str
) -> None:
    answer = await decide(client, user_id=user_id, context=context)
    assert answer["experience"] == answer["rule"] == experience
    assert answer["reason"]


async def test_an_answer_carries_its_evidence(client: httpx.AsyncClient) -> None:
    answer = await decide(client, user_id="ada", context={**CONCERT, "amount": 80})
    assert answer["experience"] == "loyalty"
    assert answer["signals"] == {
        "warehouse": [
            {
                "attribute": "total_spend",
                "operator": "$gte",
                "threshold": 300,
                "value": 320,
                "held": True,
            }
        ],
        "session": [
            {
                "attribute": "context.amount",
                "operator": "$gte",
                "threshold": 100,
                "value": 80,
                "held": False,
            },
            {
                "attribute": "context.category",
                "operator": "$regex",
                "threshold": "concert",
                "value": "Rock Concert",
                "held": True,
            },
        ],
    }
    assert answer["profile"]["email"] == "ada@example.org"
    assert answer["profile"]["total_spend"] == 320
    assert answer["as_of"] == AS_OF.isoformat().replace("+00:00", "Z")
    assert answer["audiences"] == ["high_value_last_30_days"]
    assert answer["versions"]["audiences"] == {"high_value_last_30_days": 1}


@pytest.mark.parametrize(
    "identifiers",
    [
        {"user_id": "ada"},
        {"email": " ADA@example.org "},
        {"anonymous_id": "ada-phone"},
        {"user_id": "unheard of", "email": "ada@example.org", "anonymous_id": "other"},
        {"user_id": "ada", "anonymous_id": "ben-phone", "email": "ben@example.org"},
    ],
)
async def test_the_strongest_identifier_that_is_known_finds_the_profile(
    client: httpx.AsyncClient, identifiers: dict[str, str]
) -> None:
    answer = await decide(client, **identifiers)
    assert answer["profile"]["user_id"] == "ada"
    again = await decide(client, profile_id=answer["profile"]["profile_id"])
    assert again["profile"] == answer["profile"]


@pytest.mark.parametrize(
    "asked",
    [
        {"user_id": " ada "},
        {"user_id": "", "email": " ADA@example.org "},
        {"user_id": "ada", "context": None},
    ],
)
async def test_identifiers_are_read_as_ingest_reads_them(
    client: httpx.AsyncClient, asked: dict[str, Any]
) -> None:
    assert (await decide(client, **asked))["experience"] == "loyalty"


async def test_a_numeric_user_id_is_its_text(client: httpx.AsyncClient) -> None:
    assert (await decide(client, user_id=42))["profile"] is None


async def test_somebody_unknown_gets_a_decision_without_a_profile(
    client: httpx.AsyncClient,
) -> None:
    answer = await decide(client, user_id='it\'s "nobody"; drop table unify.profiles')
    assert answer["profile"] is None
    assert answer["audiences"] == []
    assert [signal["value"] for signal in answer["signals"]["warehouse"]] == [None]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b'{"user_id": "a", "context": {"amount": NaN}}', None),
        (b'{"user_id": "a", "context": {"amount": 1e400}}', "context[...]"),
        (b'{"user_id": "a", "context": {"\\ud800": 1}}', None),
        (b'\xff\xfe{"user_id": "a"}', None),
        (b'{"user_id": ""}', None),
        (b'{"user_id": null}', None),
        (b"{}", None),
        (b'{"user_id": "a", "userid": "b"}', None),
        (b'{"profile_id": "1"}', "profile_id"),
        (b'{"user_id": "a", "context": []}', "context"),
        (b'{"user_id": "a", "context": "x"}', "context"),
        (b'{"user_id": "a\\u0000b"}', "user_id"),
        (b'{"user_id": "a", "context": {"items": ["\\u0000"]}}', "context.items[0]"),
        (b'{"user_id": "a", "context": {"a": ' + b"[" * 20_000, None),
        (b'{"user_id": "a", "context": {"a": ' + b"[" * 99 + b"]" * 99 + b"}}", None),
        (b'{"user_id": "' + b"a" * 513 + b'"}', "user_id"),
    ],
)
async def test_a_wrong_body_is_refused_with_the_path(
    client: httpx.AsyncClient, body: bytes, path: str | None
) -> None:
    answer = await client.post("/decide", content=body)
    content = answer.json()
    assert answer.status_code == 400, content
    assert content["code"] in ("bad_request", "not_json")
    assert content["message"]
    assert content.get("path") == path


@pytest.mark.parametrize("innermost", [b'"x"', b'"\\u0000"'])
async def test_at_every_depth_a_body_is_answered_or_refused(
    client: httpx.AsyncClient, innermost: bytes
) -> None:
    statuses = {}
    for depth in (97, 98, 99, *range(900, 1_000)):
        context = b'{"category":' + b"[" * depth + innermost + b"]" * depth + b"}"
        body = b'{"user_id":"ada","context":%b}' % context
        answer = await client.post("/decide", content=body)
        statuses[depth] = answer.status_code
    taken = {depth for depth, status in statuses.items() if status == 200}
    # With the context and the body these are a hundred levels.
    assert taken == ({97, 98} if b"u0000" not in innermost else set())
    assert set(statuses.values()) <= {200, 400}


async def test_a_body_beyond_the_limit_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post("/decide", content=b'{"context": {"a": "' + b"x" * 70_000)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    "context",
    [
        {"amount": "' or true --", "category": {"$gt": ""}},
        {"amount": [50, 150], "category": ["books", "CONCERT"]},
        {"total_spend": 1_000_000, "profiles": {"total_spend": 1_000_000}},
        {"a" * 20_000: "b"},
        {"amount": int("9" * 300)},
    ],
)
async def test_no_context_is_taken_for_anything_but_a_value(
    client: httpx.AsyncClient, context: dict[str, Any]
) -> None:
    answer = await decide(client, user_id="ben", context=context)
    assert answer["experience"] == (
        "acquisition" if isinstance(context.get("amount"), list) else "control"
    )
    assert answer["profile"]["total_spend"] == 60


async def test_what_is_not_there_is_a_json_404(client: httpx.AsyncClient) -> None:
    answer = await client.get("/nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    answer = await client.get("/decide")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


async def test_before_the_first_refresh_it_says_what_to_do(database: str) -> None:
    async with serving(database) as client:
        assert (await client.get("/ready")).status_code == 200
        answer = await client.post("/decide", json={"user_id": "ada"})
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert answer.json()["code"] == "not_built"
    assert "cdp refresh" in answer.json()["message"]


async def test_a_database_that_is_away_is_a_503_and_comes_back(database: str) -> None:
    async with serving("host=/nonexistent dbname=nothing") as client:
        assert (await client.get("/health")).status_code == 200
        for answer in (
            await client.get("/ready"),
            await client.post("/decide", json={"user_id": "ada"}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
            assert answer.headers["Retry-After"] == "1"
    async with serving(database) as client:
        assert (await client.get("/ready")).status_code == 200
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where usename = 'cdp_serving' and datname = current_database()"
            )
        assert (await client.get("/ready")).status_code == 200


async def test_changed_rules_count_from_the_next_decision(database: str) -> None:
    with psycopg.connect(database) as connection:
        land(connection, [order("ada", 320, 3)])
    build(database, as_of=AS_OF, exclude="test_type:data")
    async with serving(database) as client:
        before = await decide(client, user_id="ada")
        assert before["experience"] == "loyalty"
        with psycopg.connect(database) as connection:
            connection.execute(
                "create temp table kept as select * from decide.decision_rules;"
                "truncate decide.decision_rules; insert into decide.decision_rules"
                " select priority, rule_key, case rule_key when 'loyalty'"
                """ then '{"$audience": "vip"}' else condition end, experience, offer, reason"""
                " from kept"
            )
        after = await decide(client, user_id="ada")
        assert after["experience"] == "control"
        assert after["versions"]["rules"] != before["versions"]["rules"]

        with psycopg.connect(database) as connection:
            connection.execute(
                """update decide.decision_rules set condition = '{"spend": 1}'"""
                " where rule_key = 'loyalty'; create temp table kept as"
                " select * from decide.decision_rules; truncate decide.decision_rules;"
                " insert into decide.decision_rules select * from kept"
            )
        answer = await client.post("/decide", json={"user_id": "ada"})
        assert (answer.status_code, answer.json()["code"]) == (503, "rules_invalid")
        assert "loyalty: spend: unknown attribute" in answer.json()["message"]
        profile_id = after["profile"]["profile_id"]
        shown = await client.get(f"/profiles/{profile_id}")
        assert (shown.status_code, shown.json()["total_spend"]) == (200, 320)
        with psycopg.connect(database) as connection:
            connection.execute(
                "create temp table kept as select * from decide.decision_rules;"
                "truncate decide.decision_rules; insert into decide.decision_rules"
                " select priority, rule_key, nullif(condition, '{\"spend\": 1}'), experience,"
                " offer, reason from kept where rule_key in ('loyalty', 'control')"
            )
        assert (await decide(client, user_id="ada"))["experience"] == "loyalty"


async def test_readers_never_fail_while_dbt_replaces_the_tables(database: str) -> None:
    with psycopg.connect(database) as connection:
        land(connection, [order("ada", 320, 3), *(order("cleo", 120, day) for day in range(6))])
    build(database, as_of=AS_OF, exclude="test_type:data")

    async def ask_until(stop: threading.Event, client: httpx.AsyncClient) -> list[tuple[int, str]]:
        answers = []
        while not stop.is_set():
            answer = await client.post("/decide", json={"user_id": "cleo", "context": CONCERT})
            answers.append((answer.status_code, answer.json().get("experience", answer.text)))
        return answers

    async with serving(database) as client:
        stop = threading.Event()
        readers = [asyncio.create_task(ask_until(stop, client)) for _reader in range(3)]
        for hours in (1, 2):
            at = AS_OF + timedelta(hours=hours)
            await asyncio.to_thread(build, database, as_of=at, full_refresh=hours == 2)
        stop.set()
        answers = [answer for reader in readers for answer in await reader]
    assert len(answers) > 50
    assert set(answers) == {(200, "premium")}


async def test_every_decision_is_logged_with_what_it_used(database: str) -> None:
    with psycopg.connect(database) as connection:
        land(connection, [order("ada", 320, 3)])
    build(database, as_of=AS_OF, exclude="test_type:data")
    asked = {"user_id": "ada", "context": {"amount": 5, "note": 'a "quoted"\ttext\\'}}
    async with serving(database) as client:
        answers = [await decide(client, **asked) for _each in range(20)]
        unknown = await decide(client, user_id="nobody")
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "select decision_id::text, profile_id, experience, rule_key, audience_keys, context,"
            " is_holdout, rule_version from decide.decisions"
        ).fetchall()
    logged = {row[0]: row[1:] for row in rows}
    assert len(logged) == 21
    for answer in answers:
        assert logged[answer["decision_id"]] == (
            answer["profile"]["profile_id"],
            "loyalty",
            "loyalty",
            answer["audiences"],
            json.loads(json.dumps(asked["context"])),
            False,
            answer["versions"]["rules"],
        )
    assert logged[unknown["decision_id"]][0] is None
