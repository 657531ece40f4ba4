"""POST /audiences/{id}/rebuild while Dagster is away, and what GET says of an audience's state.

That a run begins is tested with Dagster's own programs in tests/project/test_compose.py.
"""

import httpx
import psycopg

from tests.decide.conftest import serving

# Nobody listens there.
AWAY = "http://127.0.0.1:9"


async def test_a_rebuild_is_kept_for_the_next_refresh_while_dagster_is_away(
    warehouse: str,
) -> None:
    async with serving(warehouse, dagster_url=AWAY) as client:
        before = (await client.get("/audiences/vip")).json()
        assert (before["state"], before["run"]) == ("built", None)
        assert (before["entered_count"], before["exited_count"]) == (before["member_count"], 0)
        answer = await client.post("/audiences/vip/rebuild")
        assert answer.status_code == 202, answer.text
        asked = answer.json()
        assert (asked["audience_key"], asked["run_id"], asked["run_url"]) == ("vip", None, None)
        assert f"Dagster does not answer at {AWAY}" in asked["message"]
        after = (await client.get(f"/audiences/{before['audience_id']}")).json()
        assert after["state"] == "waiting"
        assert after["run"] == {
            "run_id": None,
            "run_url": None,
            "status": None,
            "requested_at": asked["requested_at"],
        }
    with psycopg.connect(warehouse) as connection:
        kept = connection.execute("delete from raw.audience_rebuilds returning audience_key")
        assert kept.fetchall() == [("vip",)]


async def test_an_audience_sent_a_moment_ago_can_be_rebuilt(warehouse: str) -> None:
    sent = {"audience_key": "new-one", "name": "New", "definition": {"min_total_orders": 1}}
    async with serving(warehouse, dagster_url=AWAY) as client:
        assert (await client.post("/audiences", json=sent)).status_code == 201
        assert (await client.post("/audiences/new-one/rebuild")).status_code == 202
        disabled = sent | {"is_enabled": False}
        assert (await client.post("/audiences", json=disabled)).status_code == 201
        refused = await client.post("/audiences/new-one/rebuild")
        assert (refused.status_code, refused.json()["code"]) == (409, "disabled")
    with psycopg.connect(warehouse) as connection:
        connection.execute("delete from raw.audience_rebuilds")
        connection.execute("delete from raw.audience_definitions where audience_key = 'new-one'")


async def test_only_known_audiences_can_be_rebuilt(client: httpx.AsyncClient) -> None:
    for name in ("nobody", "'; drop table raw.audience_rebuilds; --", "0"):
        answer = await client.post(f"/audiences/{name}/rebuild")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
