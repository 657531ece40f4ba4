"""DELETE /profiles/{id}, POST /erasures and the export: asked here, carried out by Dagster."""

import uuid
from typing import Any

import httpx
import psycopg
import pytest


def recorded(warehouse: str, request_id: str) -> dict[str, Any]:
    """What the owner finds in the request."""
    with psycopg.connect(warehouse) as connection:
        row = connection.execute(
            "select to_jsonb(erasure_requests) from raw.erasure_requests where request_id = %s",
            [request_id],
        ).fetchone()
    assert row is not None
    return dict(row[0])


async def ada(client: httpx.AsyncClient) -> str:
    found = (await client.get("/profiles?user_id=ada")).json()["profiles"]
    return str(found[0]["profile_id"])


async def test_deleting_a_profile_is_recorded(client: httpx.AsyncClient, warehouse: str) -> None:
    profile_id = await ada(client)
    answer = await client.delete(f"/profiles/{profile_id}")
    assert (answer.status_code, answer.json()["status"]) == (202, "requested")
    asked = recorded(warehouse, answer.json()["request_id"])
    assert (asked["profile_id"], asked["mode"]) == (profile_id, "both")
    assert asked["is_whole_profile"]


async def test_nobody_can_be_deleted_whom_nobody_knows(client: httpx.AsyncClient) -> None:
    answer = await client.delete(f"/profiles/{uuid.uuid4()}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "body",
    [
        {"email": "ada@example.org"},
        {"identifiers": [{"identifier_type": "email", "identifier_value": "ada@example.org"}]},
    ],
)
async def test_an_erasure_is_recorded_and_its_state_can_be_read(
    client: httpx.AsyncClient, warehouse: str, body: dict[str, Any]
) -> None:
    answer = await client.post("/erasures", json=body | {"mode": "delete"})
    assert answer.status_code == 202
    request_id = answer.json()["request_id"]
    asked = recorded(warehouse, request_id)
    assert asked["identifiers"] == [
        {"identifier_type": "email", "identifier_value": "ada@example.org"}
    ]
    assert (asked["mode"], asked["is_whole_profile"]) == ("delete", False)
    state = (await client.get(f"/erasures/{request_id}")).json()
    assert (state["status"], state["certificate"]) == ("requested", None)
    said = str(state | {"request_id": None})  # a random id may hold any three of its digits
    assert "ada" not in said, "who may ask need not read whom others named"
    assert (await client.get(f"/erasures/{uuid.uuid4()}")).status_code == 404


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "identifiers"),
        ({"email": "  "}, "identifiers"),
        ({"email": "a", "mode": "forget"}, "mode"),
        ({"identifiers": [{"identifier_type": "shoe", "identifier_value": "1"}]}, "identifiers"),
        ({"mail": "ada@example.org"}, None),
    ],
)
async def test_what_names_nobody_is_refused_with_its_path(
    client: httpx.AsyncClient, body: dict[str, Any], path: str | None
) -> None:
    answer = await client.post("/erasures", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert str(answer.json().get("path") or "").startswith(path or "")


async def test_the_export_holds_everything_about_one_profile(client: httpx.AsyncClient) -> None:
    profile_id = await ada(client)
    answer = await client.get(f"/profiles/{profile_id}/export")
    assert answer.headers["content-disposition"] == f'attachment; filename="{profile_id}.json"'
    exported = answer.json()
    assert exported["profile"]["user_id"] == "ada"
    assert {each["identifier_value"] for each in exported["identifiers"]} == {
        "ada",
        "ada-phone",
        "ada@example.org",
    }
    [event] = exported["events"]
    assert event["properties"]["amount"] == 320
    assert [each["audience_key"] for each in exported["audiences"]] == ["high_value_last_30_days"]
    assert {each["change"] for each in exported["audience_changes"]} == {"entered"}
    assert set(exported) >= {"sessions", "decisions"}
    assert (await client.get(f"/profiles/{uuid.uuid4()}/export")).status_code == 404
