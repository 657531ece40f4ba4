"""The process killed in the middle of a delivery: the next run leaves exactly the audience there.

Where it is killed is no matter of time: it waits for a lock in the database that the test holds.
The same for webhooks is in test_webhook.py.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from cdp.settings import PROJECT_DIR, Settings
from dagster_project.destinations.bigquery_tables import BigQueryTables
from tests.activate.conftest import Tables, emails, people
from tests.activate.places import BigQueryPlace, CsvPlace, Place

PROGRAM = """
import sys
from cdp.settings import load_settings
from dagster_project.delivery import deliver
from dagster_project.destinations.configured import make_destination
from dagster_project.subscriptions import OPTIONS, DestinationRow, Subscription
database, kind, address, mode = sys.argv[1:]
row = DestinationRow(kind, kind, address, "", OPTIONS[kind]())
deliver(
    database, make_destination(row, load_settings()), "vip",
    subscription=Subscription("*", kind, mode), holder="killed", on_wait=print,
)
"""
WAIT_SECONDS = 120
# Reading the last member waits for whoever holds the advisory lock 42.
LAST_ROW_WAITS = """
create function unify.after_lock(amount numeric) returns numeric language plpgsql volatile as
    'begin perform pg_advisory_xact_lock_shared(42); return amount; end';
alter table unify.profiles rename to profiles_stored;
create view unify.profiles as
select
    profile_id, email, user_id,
    case
        when profile_id = (select max(profile_id::text)::uuid from unify.profiles_stored)
            then unify.after_lock(total_spend)
        else total_spend
    end as total_spend,
    total_orders, last_seen_at, phone, traits
from unify.profiles_stored
"""


@dataclass(frozen=True)
class Killing:
    """A destination of one kind, and a process that delivers to it until it is killed."""

    tables: Tables
    kind: str
    exports: Path
    opened: BigQueryTables | None
    environment: dict[str, str]

    def place(self, mode: str) -> Place:
        if self.opened is not None:
            return BigQueryPlace(self.opened, mode)
        return CsvPlace(str(self.exports), mode)

    @contextmanager
    def holding(self, lock: str) -> Iterator[None]:
        """Whoever wants the lock waits in the block."""
        with psycopg.connect(self.tables.database) as connection:
            connection.execute(lock.encode())
            yield

    def kill_while_it_waits(self, mode: str) -> None:
        """Deliver, kill -9 the process once it waits for a lock, and see its own locks gone."""
        address = str(self.exports) if self.kind == "csv" else ""
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, self.tables.database, self.kind, address, mode],
            cwd=PROJECT_DIR,
            env=os.environ | self.environment,
        )
        waiting = "select from pg_locks where not granted limit 1"
        try:
            wait_until(lambda: process.poll() is not None or bool(self.tables.rows(waiting)))
            assert process.poll() is None, "it ended before it came to the lock"
            process.send_signal(signal.SIGKILL)
        finally:
            process.kill()
            process.wait(WAIT_SECONDS)
        of_killed = "select from pg_stat_activity where application_name = 'killed'"
        wait_until(lambda: not self.tables.rows(of_killed))

    def statuses(self) -> list[str]:
        return [status for status, _rows, _error in self.tables.deliveries()]


@pytest.fixture(params=["csv", "bigquery"])
def killing(request: pytest.FixtureRequest, tables: Tables, tmp_path: Path) -> Killing:
    environment, opened = {"PYTHONPATH": str(PROJECT_DIR)}, None
    if request.param == "bigquery":
        opened = request.getfixturevalue("bigquery_tables")
        settings: Settings = request.getfixturevalue("bigquery_settings")
        environment |= {
            "BIGQUERY_API_ENDPOINT": str(settings.bigquery_api_endpoint),
            "BIGQUERY_PROJECT_ID": str(settings.bigquery_project_id),
            "BIGQUERY_DATASET": settings.bigquery_dataset,
        }
    return Killing(tables, request.param, tmp_path / "exports", opened, environment)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_killed_while_it_reads_the_members(killing: Killing) -> None:
    tables, place = killing.tables, killing.place("full")
    tables.put_numbered("vip", people(1, 2))
    tables.deliver(place.destination, mode="full")
    # More than one block of a file, so that some of it has been written.
    tables.put_numbered("vip", people(*range(2, 10_000)))
    tables.execute(LAST_ROW_WAITS)
    partial = killing.exports / ".vip.csv.partial"
    with killing.holding("select pg_advisory_lock(42)"):
        killing.kill_while_it_waits("full")
        assert place.holdings() == emails(1, 2)
    assert partial.exists() == (killing.kind == "csv")
    tables.deliver(place.destination, mode="full")
    assert place.holdings() == emails(*range(2, 10_000))
    assert killing.statuses() == ["succeeded", "failed", "succeeded"]
    assert not partial.exists()


@pytest.mark.parametrize("changes_back", [True, False])
def test_killed_after_the_changes_have_arrived_and_before_that_is_known(
    killing: Killing, changes_back: bool
) -> None:
    tables, place = killing.tables, killing.place("delta")
    tables.put_numbered("vip", people(1, 2))
    tables.deliver(place.destination, mode="delta")
    tables.put_numbered("vip", people(1, 2, 3))
    tables.execute("update unify.profiles set email = 'new@example.com' where user_id = 'u2'")
    with killing.holding("lock table activate.acknowledged_rows in share mode"):
        killing.kill_while_it_waits("delta")
        told = place.holdings()
    assert sorted(told.values()) == ["new@example.com", "p1@example.com", "p3@example.com"]
    if changes_back:
        # As it was before: by what was acknowledged nothing differs, and yet much is to be undone.
        tables.put_numbered("vip", people(1, 2))
        tables.execute("update unify.profiles set email = 'p2@example.com' where user_id = 'u2'")
    tables.deliver(place.destination, mode="delta")
    assert place.holdings() == (emails(1, 2) if changes_back else told)
    assert killing.statuses() == ["succeeded", "failed", "succeeded"]
    before = place.traffic()
    tables.deliver(place.destination, mode="delta")
    assert place.traffic() == before
