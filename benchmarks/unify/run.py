"""Identity and profiles: full resolution, and whole refreshes, on generated history.

    python benchmarks/unify/run.py [events, default 1000000, ...]

The history has power-law activity, several devices per user, shared devices and chains. Everything
runs on a server of its own that is thrown away, by the commands that a person would type. What
counts are the ratios within one run: with several sizes, those between them too.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
from dbt.cli.main import dbtRunner
from dbt_common.events.base_types import EventMsg

from cdp.database import dbt_environment, migrate
from cdp.postgres import EmbeddedPostgres
from cdp.settings import PROJECT_DIR, environment_set

BATCH = 10_000
BATCHES = 3
IDENTITY = (
    "int_identifiers__carried_together",
    "int_identifiers__linked",
    "int_identifiers__judged",
    "int_identifiers__loose",
    "int_identifiers__grouped",
    "int_identifiers__contracted",
    "int_identifiers__resolved",
)
FACTS = re.compile("int_(anchors|events|orders|refunds|traits|visits)__")

# What nobody can do without: each pair of identifiers that an event carries, once.
DISTINCT_EDGES = """
create temporary table edges as
select distinct least(key_a, key_b) as node_a, greatest(key_a, key_b) as node_b
from (
    select
        hashtextextended(user_id, 1) as user_key,
        hashtextextended(email, 2) as email_key,
        hashtextextended(phone, 3) as phone_key,
        hashtextextended(anonymous_id, 4) as browser_key
    from collect.stg_events
) as keys
cross join lateral (
    values
        (user_key, email_key), (user_key, phone_key), (user_key, browser_key),
        (email_key, phone_key), (email_key, browser_key), (phone_key, browser_key)
) as pairs (key_a, key_b)
where key_a is not null and key_b is not null
"""

# One event per number: its user by a power law, one of the user's devices, logged in or not; every
# 200th number belongs to a shared device, every 500th to a chain of e-mails and devices.
EVENTS = """
insert into raw.events
    (message_id, type, event, user_id, anonymous_id, email,
     occurred_at, received_at, source, payload)
select
    'm' || number,
    kind,
    event,
    case when is_chain or not is_logged_in then null else 'user-' || person end,
    case
        when is_chain then 'chain-' || number / 50000 || '-' || (number / 500 %% 100 + 1) / 2
        when number %% 200 = 0 then 'kiosk-' || number %% 40
        else 'device-' || person || '-' || number %% device_count
    end,
    case
        when is_chain
            then 'chain-' || number / 50000 || '-' || number / 500 %% 100 / 2 || '@example.org'
        when is_logged_in and kind = 'identify' then 'person-' || person || '@example.org'
    end,
    %(start)s::timestamptz + number * interval '1 second',
    now(),
    'benchmark',
    jsonb_build_object('type', kind, 'properties', properties)
from (
    select
        number,
        person,
        number %% 500 = 0 as is_chain,
        1 + person %% 4 as device_count,
        (number * 7919 %% 10) < 6 as is_logged_in,
        case
            when number %% 500 = 0 or number %% 23 = 0 then 'identify'
            when number %% 7 < 5 then 'page'
            else 'track'
        end as kind,
        case
            when number %% 23 = 0 then null
            when number %% 7 = 5 then 'Product Viewed'
            when number %% 7 = 6 then 'Order Completed'
        end as event,
        case
            when number %% 7 = 6
                then jsonb_build_object('order_id', 'o' || number, 'total', number %% 300)
            else jsonb_build_object('path', '/p/' || number %% 5000, 'title', number %% 5000)
        end as properties
    from (
        select
            number,
            (%(people)s * power((number * 2654435761 %% 1000003)::float8 / 1000003, 3))::bigint
                as person
        from generate_series(%(first)s::bigint, %(last)s::bigint) as number
    ) as numbers
) as events
"""


def land(connection: psycopg.Connection[Any], first: int, last: int, people: int) -> None:
    connection.execute(
        EVENTS,
        {"first": first, "last": last, "people": people, "start": "2026-01-01T00:00:00Z"},
    )
    connection.execute(
        "insert into raw.landings"
        " (received_on, source, received_count, accepted_count, rejected_count)"
        " values ((now() at time zone 'UTC')::date, 'benchmark', %(events)s, %(events)s, 0)",
        {"events": last - first + 1},
    )


@dataclass(frozen=True)
class Refresh:
    """Seconds of one `cdp refresh`, and of each dbt model in it."""

    seconds: float
    dbt_seconds: float
    models: dict[str, float]

    @property
    def parts(self) -> dict[str, float]:
        """Seconds by part. The models of a part overlap with those of others: four at a time."""
        parts = {"start-up and CSV files": self.seconds - self.dbt_seconds}
        for name, seconds in self.models.items():
            parts[_part_of(name)] = parts.get(_part_of(name), 0) + seconds
        return parts


def _part_of(name: str) -> str:
    if name in IDENTITY:
        return "identity"
    if FACTS.match(name):
        return "facts by anchor"
    if name in ("events", "stg_events"):
        return "events"
    if name in ("profiles", "sessions", "identifiers", "profile_changes", "int_profiles__touched"):
        return "profiles"
    return "audiences" if "audience" in name else "the rest"


class Peak:
    """The most disk and memory that a server used, looked at twice a second."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.disk = self.memory = 0
        self._server = server
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        postmaster = int((self._server.data_dir / "postmaster.pid").read_text().split()[0])
        while not self._stopped.wait(0.5):
            self.disk = max(self.disk, _size(self._server.data_dir))
            self.memory = max(self.memory, _memory(postmaster))


def _size(folder: Path) -> int:
    total = 0
    for path, _folders, files in os.walk(folder):
        for name in files:
            try:
                total += (Path(path) / name).stat().st_blocks * 512
            except FileNotFoundError:  # PostgreSQL removes files while it works
                continue
    return total


def _memory(postmaster: int) -> int:
    """Bytes of a server's processes, shared memory counted once."""
    total = 0
    try:
        for process in [psutil.Process(postmaster), *psutil.Process(postmaster).children()]:
            total += process.memory_full_info().pss
    except psutil.Error:  # a backend has just ended
        return 0
    return total


def full_resolution(url: str) -> tuple[float, float, int]:
    """Seconds of the identity models over everything, of `select distinct`, and the rounds."""
    rounds = 0

    def watch(event: EventMsg) -> None:
        nonlocal rounds
        if event.info.name == "SQLQuery":
            found = re.search(r"temporary table \w+__representatives_(\d+)", event.data.sql)
            rounds = max(rounds, int(found[1])) if found else rounds

    project = str(PROJECT_DIR / "dbt_project")
    arguments = ["--quiet", "build", "--select", "+int_identifiers__resolved", "--threads", "1"]
    arguments += ["--project-dir", project, "--profiles-dir", project, "--log-level-file", "none"]
    with tempfile.TemporaryDirectory() as target, environment_set(dbt_environment(url)):
        result = dbtRunner(callbacks=[watch]).invoke([*arguments, "--target-path", target])
    if not result.success:
        raise SystemExit(f"dbt failed: {result.exception or result.result}")
    models = {each.node.name: each.execution_time for each in result.result}  # type: ignore[union-attr]
    with psycopg.connect(url) as connection:
        began = time.perf_counter()
        connection.execute(DISTINCT_EDGES)
        return sum(models[name] for name in IDENTITY), time.perf_counter() - began, rounds


def refresh(url: str, home: Path, *options: str) -> Refresh:
    """Run `cdp refresh` as a person would."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "cdp", "refresh", *options]
    variables = os.environ | {"DATABASE_URL": url, "CDP_HOME": str(home)}
    subprocess.run(command, check=True, env=variables, cwd=PROJECT_DIR, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    results = json.loads((home / "dbt" / "run_results.json").read_text())
    models = {
        each["unique_id"].split(".")[2]: each["execution_time"]
        for each in results["results"]
        if each["unique_id"].startswith("model.")
    }
    return Refresh(seconds, results["elapsed_time"], models)


def report(title: str, run: Refresh) -> None:
    print(f"\n{title}: {run.seconds:.1f} s, of it dbt {run.dbt_seconds:.1f} s")
    for name, part in sorted(run.parts.items(), key=lambda item: -item[1]):
        print(f"    {part:7.2f}  {name}")
    slowest = sorted(run.models.items(), key=lambda item: -item[1])[:8]
    print("    slowest models:", ", ".join(f"{name} {part:.2f}" for name, part in slowest))


def measure(events: int) -> float:
    """Print what one size costs; return the seconds of identity for a batch, the best of three."""
    with tempfile.TemporaryDirectory(prefix="cdp-benchmark-") as folder:
        server = EmbeddedPostgres(Path(folder) / "server")
        server.start()
        peak = Peak(server)
        try:
            url = server.url()
            migrate(url)
            with psycopg.connect(url, autocommit=True) as connection:
                land(connection, 1, events, events // 10)
                connection.execute("vacuum analyze raw.events")
                identity, distinct, rounds = full_resolution(url)
                print(
                    f"\n{events:,} events: full identity resolution {identity:.1f} s in {rounds} "
                    f"rounds, select distinct of the edges {distinct:.1f} s: "
                    f"ratio {identity / distinct:.2f}"
                )
                full = refresh(url, Path(folder) / "home", "--full")
                report(f"Full refresh of {events:,} events", full)
                later = []
                for batch in range(BATCHES):
                    first = events + 1 + batch * BATCH
                    land(connection, first, first + BATCH - 1, events // 10)
                    later.append(refresh(url, Path(folder) / "home"))
                    share = later[-1].seconds / full.seconds
                    report(f"{BATCH:,} new events over {events:,} ({share:.0%} of full)", later[-1])
        finally:
            peak.stop()
            server.stop()
        disk, memory = peak.disk / 2**30, peak.memory / 2**30
        print(f"\n    at most {disk:.1f} GiB on disk, {memory:.1f} GiB in memory")
    return min(run.parts["identity"] for run in later)


def main() -> None:
    sizes = [int(each) for each in sys.argv[1:]] or [1_000_000]
    identity = {events: measure(events) for events in sizes}
    for events, seconds in identity.items():
        ratio = seconds / identity[sizes[0]]
        print(
            f"identity of {BATCH:,} new events over {events:,}: {seconds:.2f} s, ratio {ratio:.2f}"
        )


if __name__ == "__main__":
    main()
