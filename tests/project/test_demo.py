"""The main job as a newcomer runs it: the command, real processes, real data, exact numbers."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from cdp.postgres import EmbeddedPostgres
from cdp.settings import PROJECT_DIR

DEMO_DIR = PROJECT_DIR / "seeds" / "demo"
CDNOW = json.loads((DEMO_DIR / "cdnow_sample_expected.json").read_text())
SCENARIO = json.loads((DEMO_DIR / "scenario_expected.json").read_text())

# One process runs all of these: they share the demo's result.
pytestmark = pytest.mark.xdist_group("demo")


class Home:
    """A project home of its own for the command `cdp`, with ports that nobody else uses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = EmbeddedPostgres(folder)
        self.environment = {
            **os.environ,
            "CDP_HOME": str(folder),
            "CDP_PORT": str(_free_port()),
            "CDP_DAGSTER_PORT": str(_free_port()),
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "cdp", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> str:
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
        return output

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.server.url()) as connection:
            return connection.execute(sql.encode()).fetchall()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = Home(tmp_path_factory.mktemp("home"))
    try:
        yield made
    finally:
        made.server.stop()


@pytest.fixture(scope="module")
def first_run(home: Home) -> str:
    return home.run("demo")


def test_orders_and_spend_of_every_customer_equal_the_expected_file(
    home: Home, first_run: str
) -> None:
    rows = home.query(
        "select user_id, total_orders, total_spend from unify.profiles "
        "where user_id like 'cdnow_sample-%'"
    )
    found = {user_id: (orders, spend) for user_id, orders, spend in rows}
    expected = {
        customer: (orders, Decimal(spend))
        for customer, (orders, spend, *_days) in CDNOW["per_customer"].items()
    }
    assert found == expected
    assert sum(spend for _orders, spend in found.values()) == Decimal(CDNOW["total_spend"])


def test_verify_finds_no_difference_in_what_the_demo_built(home: Home, first_run: str) -> None:
    assert home.run("verify") == "Every table equals a full refresh.\n"


def test_the_scenario_comes_out_as_worked_out_by_hand(home: Home, first_run: str) -> None:
    for user_id, expected in SCENARIO.items():
        [(profile_id, email, orders, spend)] = home.query(
            "select profile_id, email, total_orders, total_spend from unify.profiles "
            f"where user_id = '{user_id}'"
        )
        anonymous_ids = home.query(
            "select identifier_value from unify.identifiers where "
            f"profile_id = '{profile_id}' and identifier_type = 'anonymous_id' order by 1"
        )
        assert (email, orders, spend) == (
            expected["email"],
            expected["total_orders"],
            Decimal(expected["total_spend"]),
        )
        assert [value for (value,) in anonymous_ids] == expected["anonymous_ids"]


def test_the_sizes_by_spend_and_orders_are_those_of_the_source(home: Home, first_run: str) -> None:
    conditions = {
        "spend>=100": "total_spend >= 100",
        "spend>=500": "total_spend >= 500",
        "orders>=2": "total_orders >= 2",
        "orders>=10": "total_orders >= 10",
    }
    for name, condition in conditions.items():
        [(size,)] = home.query(
            "select count(*) from unify.profiles "
            f"where user_id like 'cdnow_sample-%' and {condition}"
        )
        assert size == CDNOW["audiences"][name], name


def test_every_audience_is_a_csv_file_with_a_true_manifest(home: Home, first_run: str) -> None:
    audiences = dict(home.query("select audience_key, member_count from segment.audiences"))
    assert audiences
    for key, members in audiences.items():
        manifest = json.loads((home.folder / "exports" / f"{key}.manifest.json").read_text())
        with (home.folder / "exports" / f"{key}.csv").open(newline="") as handle:
            rows = list(csv.reader(handle))
        assert len(rows) - 1 == members == manifest["rows"]
        assert rows[0][:5] == ["email", "user_id", "total_spend", "total_orders", "last_seen_at"]


def test_the_summary_tells_what_came_out(home: Home, first_run: str) -> None:
    assert "6,950 accepted, 0 rejected" in first_run
    assert "premium" in first_run
    assert str(home.folder / "exports") in first_run.replace("\n", "")


def test_a_second_run_changes_nothing(home: Home, first_run: str) -> None:
    queries = (
        "select profile_id, total_orders, total_spend from unify.profiles order by 1",
        "select audience_id, profile_id, added_at from segment.audience_members order by 1, 2",
        "select identifier_type, identifier_value, profile_id from unify.identifiers order by 1, 2",
    )
    before = [home.query(query) for query in queries]
    home.run("demo")
    assert [home.query(query) for query in queries] == before


def test_status_tells_how_far_the_batch_is(home: Home, first_run: str) -> None:
    output = home.run("status")
    assert "up to date" in output
    assert "rejected" in output


def test_ctrl_c_leaves_nothing_running_and_the_next_run_goes_on(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    process = home.start("demo")
    try:
        deadline = time.monotonic() + 120
        while not (home.folder / "service.log").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(2)
        children = psutil.Process(process.pid).children(recursive=True)
        assert children, "the demo runs a service"
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        # Python dies of the signal itself where it came in the middle of an `exec`, of imports say;
        # a shell says 130 to both.
        assert process.returncode in (130, -signal.SIGINT), output
        _gone, alive = psutil.wait_procs(children, timeout=10)
        assert alive == []
        assert not home.server.is_running()
        home.run("demo")
    finally:
        process.kill()
        home.server.stop()
