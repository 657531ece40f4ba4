"""GET /profiles, /audiences and the CSV export."""

import csv
import io

import httpx
import pytest


async def test_profiles_are_found_by_every_identifier(client: httpx.AsyncClient) -> None:
    for query in ("user_id=ada", "email=ADA@example.org", "anonymous_id=ada-phone"):
        found = (await client.get(f"/profiles?{query}")).json()["profiles"]
        assert [profile["user_id"] for profile in found] == ["ada"]
    both = (await client.get("/profiles?user_id=ada&email=ben@example.org")).json()
    assert both == {"profiles": [], "next_cursor": None}


async def test_profiles_are_found_by_audience(client: httpx.AsyncClient) -> None:
    found = (await client.get("/profiles?audience=vip")).json()["profiles"]
    assert [profile["user_id"] for profile in found] == ["cleo"]


async def test_pages_of_profiles_follow_one_another_without_gap(client: httpx.AsyncClient) -> None:
    seen, cursor = [], ""
    while True:
        page = (await client.get(f"/profiles?limit=1{cursor}")).json()
        seen += [profile["user_id"] for profile in page["profiles"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert sorted(seen) == ["ada", "ben", "cleo"]


async def test_a_profile_shows_its_identifiers_and_audiences(client: httpx.AsyncClient) -> None:
    found = (await client.get("/profiles?user_id=ada")).json()["profiles"][0]
    profile = (await client.get(f"/profiles/{found['profile_id']}")).json()
    assert profile["total_spend"] == 320
    assert {each["identifier_type"] for each in profile["identifiers"]} == {
        "user_id",
        "email",
        "anonymous_id",
    }
    assert [each["audience_key"] for each in profile["audiences"]] == ["high_value_last_30_days"]


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/profiles/00000000-0000-4000-8000-000000000000", 404),
        ("/profiles/1", 400),
        ("/profiles?cursor=x", 400),
        ("/profiles?limit=0", 400),
        ("/profiles?user_id=%00", 400),
        ("/audiences/nobody", 404),
        ("/audiences/nobody/export", 404),
        ("/audiences/%00", 400),
        ("/audiences/' or true --", 404),
        ("/audiences/99999999999999999999999", 404),
    ],
)
async def test_a_wrong_address_is_refused_in_json(
    client: httpx.AsyncClient, address: str, status: int
) -> None:
    answer = await client.get(address)
    assert answer.status_code == status, answer.text
    assert answer.json()["code"]
    assert answer.json()["message"]


async def test_audiences_are_shown_with_size_and_definition(client: httpx.AsyncClient) -> None:
    audiences = (await client.get("/audiences")).json()["audiences"]
    sizes = {audience["audience_key"]: audience["member_count"] for audience in audiences}
    assert sizes["vip"] == 1
    assert sizes["high_value_last_30_days"] == 2
    by_key = (await client.get("/audiences/vip")).json()
    assert by_key["name"] == "VIP"
    assert by_key["errors"] == []
    assert (await client.get(f"/audiences/{by_key['audience_id']}")).json() == by_key


async def test_an_export_is_csv_with_the_promised_columns_first(client: httpx.AsyncClient) -> None:
    answer = await client.get("/audiences/high_value_last_30_days/export")
    assert answer.headers["content-type"].startswith("text/csv")
    assert "high_value_last_30_days.csv" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert list(rows[0])[:5] == ["email", "user_id", "total_spend", "total_orders", "last_seen_at"]
    assert sorted(row["user_id"] for row in rows) == ["ada", "cleo"]
    empty = await client.get("/audiences/lapsed_customers/export")
    assert empty.text.count("\n") == 1


async def test_one_export_after_another_leaves_no_connection_behind(
    client: httpx.AsyncClient,
) -> None:
    for _each in range(12):
        assert (await client.get("/audiences/vip/export")).status_code == 200
    assert (await client.get("/ready")).status_code == 200


async def test_every_address_says_what_it_does(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi/serving.json")).json()["paths"]
    assert {"/decide", "/profiles", "/profiles/{profile_id}", "/audiences"} <= paths.keys()
    for path, operations in paths.items():
        for operation in operations.values():
            assert operation.get("description"), path
