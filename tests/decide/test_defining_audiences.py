"""POST /audiences and previews: checked at once, and evaluated by the next refresh."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import pytest
from typer.testing import CliRunner

from cdp.audience_rules import compile_audiences
from cdp.cli import app as command
from cdp.settings import PROJECT_DIR
from dagster_project.serving.audience_definitions import audience_id
from tests.decide.conftest import AS_OF, EVENTS, order, serving
from tests.warehouse import build, land

BUYERS = {"audience_key": "buyers", "name": "Buyers", "definition": {"min_total_orders": 1}}


async def test_a_preview_tells_size_samples_and_overlaps_as_the_batch_would(
    client: httpx.AsyncClient, warehouse: str
) -> None:
    definition = {"$audience": "high_value_last_30_days", "total_orders": {"$lt": 100}}
    answer = await client.post("/audiences/preview", json={"definition": definition})
    found = answer.json()
    assert answer.status_code == 200, found
    assert (found["member_count"], found["profile_count"]) == (2, 3)
    assert found["share"] == pytest.approx(2 / 3, abs=1e-6)
    assert sorted(each["user_id"] for each in found["sample"]) == ["ada", "cleo"]
    overlaps = {each["audience_key"]: each["shared_count"] for each in found["overlaps"]}
    assert overlaps["high_value_last_30_days"] == 2
    assert overlaps["vip"] == 1
    assert overlaps["lapsed_customers"] == 0


async def test_every_audience_previews_to_exactly_its_members(client: httpx.AsyncClient) -> None:
    audiences = (await client.get("/audiences")).json()["audiences"]
    assert sum(audience["member_count"] for audience in audiences) >= 3
    for audience in audiences:
        definition = json.loads(audience["definition"])
        found = (await client.post("/audiences/preview", json={"definition": definition})).json()
        assert found["member_count"] == audience["member_count"], audience["audience_key"]


@pytest.mark.parametrize(
    ("definition", "path"),
    [
        ('{"spend": 1}', "definition.spend"),
        ('{"$or": [{"total_spend": "x"}]}', "definition.$or[0].total_spend"),
        ('{"total_spend": 1, "total_spend": 2}', "definition"),
        ("[]", "definition"),
        ('"total_spend"', "definition"),
        ('{"email": "\\u0000"}', "definition.email"),
        ('{"$audience": "nobody"}', "definition.$audience"),
    ],
)
async def test_a_wrong_definition_is_refused_with_the_path(
    client: httpx.AsyncClient, definition: str, path: str
) -> None:
    wrapped = '"definition": ' + definition + "}"
    for address, body in (
        ("/audiences/preview", "{" + wrapped),
        ("/audiences", '{"audience_key": "a", "name": "A", ' + wrapped),
    ):
        answer = await client.post(address, content=body)
        assert answer.status_code == 400, answer.text
        assert answer.json()["path"] == path


@pytest.mark.parametrize(
    "body",
    [
        {},
        BUYERS | {"audience_key": "It's"},
        BUYERS | {"audience_key": "a" * 101},
        BUYERS | {"name": ""},
        BUYERS | {"surprise": 1},
        BUYERS | {"is_enabled": "yes"},
    ],
)
async def test_a_wrong_audience_is_refused(client: httpx.AsyncClient, body: Any) -> None:
    answer = await client.post("/audiences", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


async def test_what_is_defined_in_git_is_not_changed_over_http(client: httpx.AsyncClient) -> None:
    answer = await client.post("/audiences", json=BUYERS | {"audience_key": "vip"})
    assert (answer.status_code, answer.json()["code"]) == (409, "defined_elsewhere")


async def test_a_key_whose_number_is_taken_is_refused(database: str) -> None:
    numbers: dict[int, str] = {}
    for attempt in range(1_000_000):
        key = f"key-{attempt}"
        other = numbers.setdefault(audience_id(key), key)
        if other != key:
            break
    with psycopg.connect(database) as connection:
        land(connection, EVENTS)
    build(database, select="+audience_catalog", as_of=AS_OF, exclude="test_type:data")
    async with serving(database) as client:
        answer = await client.post("/audiences", json=BUYERS | {"audience_key": other})
        assert answer.status_code == 201
        answer = await client.post("/audiences", json=BUYERS | {"audience_key": key})
        assert (answer.status_code, answer.json()["code"]) == (409, "number_taken")


async def test_an_audience_over_http_is_built_changed_and_paged(database: str) -> None:
    with psycopg.connect(database) as connection:
        land(connection, EVENTS)
    build(database, as_of=AS_OF, exclude="test_type:data")
    async with serving(database) as client:
        answer = await client.post("/audiences", json=BUYERS)
        assert answer.status_code == 201
        assert answer.json()["audience_id"] == audience_id("buyers")
        # Another one may name it before it is built.
        refers = {"audience_key": "others", "name": "O", "definition": {"$audience": "buyers"}}
        assert (await client.post("/audiences", json=refers)).status_code == 201
        build(database, as_of=AS_OF + timedelta(hours=1), command="run")
        built = (await client.get(f"/audiences/{audience_id('buyers')}")).json()
        assert (built["member_count"], built["definition_version"]) == (3, 1)

        spenders = BUYERS | {"definition": {"min_total_spend": 100}}
        assert (await client.post("/audiences", json=spenders)).status_code == 201
        with psycopg.connect(database) as connection:
            land(connection, [order("dora", 500, 0)])
        build(database, as_of=AS_OF + timedelta(hours=2), command="run")
        built = (await client.get("/audiences/buyers")).json()
        assert (built["member_count"], built["definition_version"]) == (3, 2)

        first = (await client.get("/audiences/buyers/changes?limit=3")).json()
        assert [each["change"] for each in first["changes"]] == ["entered"] * 3
        rest = (await client.get(f"/audiences/buyers/changes?cursor={first['next_cursor']}")).json()
        assert sorted(each["change"] for each in rest["changes"]) == ["entered", "exited"]
        end = (await client.get(f"/audiences/buyers/changes?cursor={rest['next_cursor']}")).json()
        assert end == {"changes": [], "next_cursor": rest["next_cursor"]}
        later = (AS_OF + timedelta(hours=2)).isoformat().replace("+00:00", "Z")
        since = (await client.get(f"/audiences/buyers/changes?since={later}")).json()
        assert since["changes"] == rest["changes"]
        wrong = await client.get("/audiences/buyers/changes?cursor=abc")
        assert (wrong.status_code, wrong.json()["path"]) == (400, "cursor")


async def test_no_hostile_definition_reads_or_writes_anything_else(
    client: httpx.AsyncClient, warehouse: str
) -> None:
    hostile = (Path(__file__).parent / "hostile_texts.txt").read_text().splitlines()
    texts = [json.loads(line) for line in hostile]
    assert len(texts) > 25
    with psycopg.connect(warehouse) as connection:
        before = connection.execute("select count(*) from unify.profiles").fetchone()
    for text in texts:
        rules: list[Any] = [
            {text: 1},
            {f"traits.{text}": {"$exists": True}},
            {"traits.a": text},
            {"email": text},
            {"email": {"$contains": text}},
            {"email": {"$regex": text}},
            {"traits.a": {"$regex": text}},
            {"traits.a": {"$in": [text, {"b": text}]}},
            {"traits.a": {"$elemMatch": {text: text}}},
            {"last_event_at": {"$before": text}},
            {"$event": {"name": text, "where": {f"properties.{text}": text}}},
            {"$event": {"name": "a", "sum": {f"properties.{text}": {"$gt": 1}}}},
            {"$sequence": {"steps": [{"name": text}, {"name": text}]}},
            {"$bucket": {"split": text, "from": 0, "to": 100}},
            {"$audience": text},
        ]
        for rule in rules:
            answer = await client.post("/audiences/preview", json={"definition": rule})
            assert answer.status_code in (200, 400), (rule, answer.text)
            if rule in ({"email": text}, {"traits.a": text}) and answer.status_code == 200:
                assert answer.json()["member_count"] == 0, rule
        for address in (f"/audiences/{quote(text)}", "/audiences/a/changes", "/profiles"):
            found = await client.get(address, params={"cursor": text, "user_id": text})
            assert found.status_code in (200, 307, 400, 404), found.text
        decided = await client.post(
            "/decide", json={"user_id": text or "x", "context": {text: text}}
        )
        assert decided.status_code in (200, 400)
    with psycopg.connect(warehouse) as connection:
        after = connection.execute("select count(*) from unify.profiles").fetchone()
    assert before == after


def test_the_command_shows_the_sql_that_the_batch_runs(tmp_path: Path) -> None:
    shown = CliRunner().invoke(command, ["audience", "sql", "vip"])
    assert shown.exit_code == 0
    definition = '{"total_spend": {"$gte": 500}, "total_orders": {"$gte": 5}}'
    assert compile_audiences({"vip": definition}, "now()")["vip"].predicate in shown.output


def test_the_command_checks_every_definition_in_git() -> None:
    checked = CliRunner().invoke(command, ["audience", "check"])
    assert checked.exit_code == 0, checked.output
    assert "definitions are understood" in checked.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sql", "nobody"], "Nobody defines an audience 'nobody'"),
        (["sql", "vip", "--warehouse", "oracle"], "give postgres or bigquery"),
        (["preview"], "Give the key of an audience"),
        (["preview", "-d", '{"spend": 1}'], "spend: unknown attribute"),
    ],
)
def test_the_command_says_what_to_do(
    arguments: list[str], message: str, warehouse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", warehouse)
    refused = CliRunner().invoke(command, ["audience", *arguments])
    assert refused.exit_code != 0
    assert message in str(refused.exception)


def test_the_command_previews_what_the_file_says(
    warehouse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", warehouse)
    shown = CliRunner().invoke(command, ["audience", "preview", "vip"])
    assert shown.exit_code == 0, shown.output
    assert "1 of 3 profiles (33.3%)" in shown.output
    assert "cleo" in shown.output
    assert (PROJECT_DIR / "seeds" / "audiences.csv").exists()
