"""`CDP_ENGINE=bigquery` as a person uses it: the commands, in processes of their own."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cdp.settings import PROJECT_DIR
from tests.bigquery.both_engines import BothEngines
from tests.bigquery_emulator import Emulator
from tests.decide.conftest import serving
from tests.warehouse import land

pytestmark = pytest.mark.long
SCENARIO = PROJECT_DIR / "seeds" / "demo" / "scenario.ndjson"
NOW = datetime.now(UTC)


class Installation:
    """A database, a folder and the data sets `shop_*`, with the command `cdp` for them."""

    def __init__(self, emulator: Emulator, database: str, home: Path) -> None:
        self.database = database
        self.home = home
        self.client = emulator.client()
        self.engines = BothEngines(database, emulator.settings("shop"))
        self._environment = {
            **os.environ,
            "CDP_ENGINE": "bigquery",
            "CDP_HOME": str(home),
            "DATABASE_URL": database,
            "BIGQUERY_API_ENDPOINT": emulator.endpoint,
            "BIGQUERY_PROJECT_ID": emulator.project,
            "BIGQUERY_DATASET": "shop",
        }

    def cdp(self, *arguments: str, exit_status: int = 0) -> str:
        ended = subprocess.run(
            [sys.executable, "-m", "cdp", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        assert ended.returncode == exit_status, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    def land(self, *events: dict[str, Any]) -> None:
        with psycopg.connect(self.database) as connection:
            land(connection, [event | {"receivedAt": NOW.isoformat()} for event in events])


@pytest.fixture(scope="module")
def installation(
    emulator: Emulator, module_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Installation:
    return Installation(emulator, module_database, tmp_path_factory.mktemp("shop"))


def order(order_id: str, total: int) -> dict[str, Any]:
    at = (NOW - timedelta(hours=1)).isoformat()
    properties = {"order_id": order_id, "total": total}
    base = {"type": "track", "event": "Order Completed", "userId": "zoe", "timestamp": at}
    return {**base, "messageId": order_id, "properties": properties}


def test_a_refresh_without_data_sets_says_how_to_make_them(installation: Installation) -> None:
    assert "cdp bigquery setup" in installation.cdp("refresh", exit_status=1)


async def test_a_refresh_computes_there_and_is_delivered_and_decided_here(
    installation: Installation,
) -> None:
    assert "cdp.shop_unify" in installation.cdp("bigquery", "setup")
    installation.land(*map(json.loads, SCENARIO.read_text().splitlines()), order("z1", 900))

    assert "refreshed in" in installation.cdp("refresh")

    for table in ("unify.profiles", "unify.events", "segment.audience_members"):
        assert (
            installation.engines.on_postgres(table) == installation.engines.on_bigquery(table) != []
        )
    assert "zoe" in (installation.home / "exports" / "high_value_last_30_days.csv").read_text()
    async with serving(make_conninfo(installation.database), clock=lambda: NOW) as client:
        decision = (await client.post("/decide", json={"user_id": "zoe"})).json()
    assert decision["experience"] == "loyalty"


def test_a_later_refresh_publishes_what_changed(installation: Installation) -> None:
    installation.land(order("z2", 50))

    installation.cdp("refresh")

    spent = "select total_spend, total_orders from unify.profiles where user_id = 'zoe'"
    with psycopg.connect(installation.database) as connection:
        assert connection.execute(spent).fetchone() == (950, 2)
    assert installation.engines.on_postgres("unify.profiles") == installation.engines.on_bigquery(
        "unify.profiles"
    )


def test_the_smoke_check_compares_both_engines_and_leaves_nothing(
    installation: Installation,
) -> None:
    output = installation.cdp("bigquery", "smoke")

    assert "rows alike  unify.profiles" in output
    assert not [each for each in installation.client.list_datasets() if "smoke" in each.dataset_id]
