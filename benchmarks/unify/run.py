"""Identity and profiles: full resolution, and whole refreshes, on generated history.

    python -m benchmarks.unify.run [events ...] [--events-per-visit 1]

The history (benchmarks/unify/history.py) has power-law activity, several devices per user, shared
devices and chains, and hardly two events in one visit, unless asked for more. Everything runs on a
server of its own that is thrown away, by the commands that a person would type. What counts are the
ratios within one run: with several sizes, those between them too.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
from dbt.cli.main import dbtRunner
from dbt_common.events.base_types import EventMsg

from benchmarks.unify.history import generate, land
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
# How the server logs a statement of a model: dbt says in a comment which one it is.
LOGGED = re.compile(r'duration: ([\d.]+) ms .*"node_id": "model\.cdp\.(\w+)"')

# What nobody can do without: each pair of identifiers that an event carries, once. A key is the
# project's own, which is the same on every warehouse, or the cheapest hash that PostgreSQL has.
DISTINCT_EDGES = """
create temporary table edges on commit drop as
select distinct least(key_a, key_b) as node_a, greatest(key_a, key_b) as node_b
from (
    select
        {user_id} as user_key,
        {email} as email_key,
        {phone} as phone_key,
        {anonymous_id} as browser_key
    from collect.stg_events
) as keys
cross join lateral (
    values
        (user_key, email_key), (user_key, phone_key), (user_key, browser_key),
        (email_key, phone_key), (email_key, browser_key), (phone_key, browser_key)
) as pairs (key_a, key_b)
where key_a is not null and key_b is not null
"""
CARRIED = ("user_id", "email", "phone", "anonymous_id")
PROJECT_KEYS = {
    name: f"('x' || left(md5('{name}:' || {name}), 16))::bit(64)::bigint" for name in CARRIED
}
CHEAPEST_KEYS = {name: f"hashtextextended({name}, {number})" for number, name in enumerate(CARRIED)}


@dataclass
class FullResolution:
    """The identity models over everything, in seconds."""

    models: float = 0
    queries: float = 0
    """Of that, the calls that compute, which take along the statistics of scratch tables; the rest
    is indexes, statistics of models, commits and dbt.
    """
    rounds: int = 0

    def __post_init__(self) -> None:
        self._sent = ""

    def watch(self, event: EventMsg) -> None:
        """A callback of dbt."""
        if event.info.name == "SQLQuery":
            self._sent = event.data.sql
            found = re.search(r"temporary table \w+__representatives_(\d+)", event.data.sql)
            self.rounds = max(self.rounds, int(found[1])) if found else self.rounds
        elif event.info.name == "SQLQueryStatus":
            is_query = re.search(r"\bcreate\s+(temporary\s+)?table\b.* as\b", self._sent, re.DOTALL)
            if is_query and event.data.node_info.node_name in IDENTITY:
                self.queries += event.data.elapsed


@dataclass(frozen=True)
class Refresh:
    """Seconds of one `cdp refresh`, of each dbt model in it, and of each model's statements."""

    seconds: float
    dbt_seconds: float
    models: dict[str, float]
    statements: dict[str, float]

    @property
    def identity_statements(self) -> float:
        return sum(self.statements.get(name, 0) for name in IDENTITY)

    @property
    def parts(self) -> dict[str, float]:
        """Seconds by part. Models may overlap, where there are processors for several at a time."""
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


def run_dbt(url: str, *arguments: str, watch: Callable[[EventMsg], None] | None = None) -> Any:
    """What dbt found for `arguments`; `watch` is told each of its events. Exits when it fails."""
    project = str(PROJECT_DIR / "dbt_project")
    options = ["--project-dir", project, "--profiles-dir", project, "--log-level-file", "none"]
    with tempfile.TemporaryDirectory() as target, environment_set(dbt_environment(url)):
        runner = dbtRunner(callbacks=[watch] if watch else [])
        result = runner.invoke(["--quiet", *arguments, *options, "--target-path", target])
    if not result.success:
        raise SystemExit(f"dbt failed: {result.exception or result.result}")
    return result.result


def full_resolution(url: str) -> FullResolution:
    """Run the identity models, one after the other."""
    resolution = FullResolution()
    selected = ("build", "--select", "+int_identifiers__resolved", "--threads", "1")
    results = run_dbt(url, *selected, watch=resolution.watch).results
    resolution.models = sum(each.execution_time for each in results if each.node.name in IDENTITY)
    return resolution


def distinct_edges(url: str, keys: dict[str, str]) -> float:
    """Seconds of one `select distinct` of the edges."""
    with psycopg.connect(url) as connection:
        began = time.perf_counter()
        connection.execute(DISTINCT_EDGES.format(**keys))
        return time.perf_counter() - began


def refresh(server: EmbeddedPostgres, home: Path, *options: str) -> Refresh:
    """Run `cdp refresh` as a person would, on a server that logs each statement."""
    url = server.url()
    logged = server.log_file.stat().st_size
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
    return Refresh(seconds, results["elapsed_time"], models, _statements(server.log_file, logged))


def _statements(log: Path, begin: int) -> dict[str, float]:
    """Seconds of the statements of each model that a server has logged since `begin`, in bytes."""
    seconds: dict[str, float] = {}
    with log.open(encoding="utf-8", errors="replace") as lines:
        lines.seek(begin)
        for found in filter(None, map(LOGGED.search, lines)):
            seconds[found[2]] = seconds.get(found[2], 0) + float(found[1]) / 1000
    return seconds


def report_resolution(url: str, events: int) -> None:
    full = full_resolution(url)
    print(
        f"\n{events:,} events: full identity resolution {full.models:.1f} s, "
        f"{full.rounds} rounds, of it the statements that compute {full.queries:.1f} s"
    )
    for said, keys in (("the project's keys", PROJECT_KEYS), ("the cheapest", CHEAPEST_KEYS)):
        distinct = distinct_edges(url, keys)
        print(
            f"    select distinct of the edges with {said} {distinct:.1f} s: "
            f"ratio {full.models / distinct:.2f}, computing alone {full.queries / distinct:.2f}"
        )


def report(title: str, run: Refresh) -> None:
    print(
        f"\n{title}: {run.seconds:.1f} s, of it dbt {run.dbt_seconds:.1f} s; "
        f"statements of models {sum(run.statements.values()):.1f} s, "
        f"of identity {run.identity_statements:.2f} s"
    )
    for name, part in sorted(run.parts.items(), key=lambda item: -item[1]):
        print(f"    {part:7.2f}  {name}")
    slowest = sorted(run.models.items(), key=lambda item: -item[1])[:8]
    print("    slowest models:", ", ".join(f"{name} {part:.2f}" for name, part in slowest))


def measure(events: int, events_per_visit: int) -> float:
    """Print what one size costs; return the seconds of identity's statements for a batch, the best
    of three.
    """
    with tempfile.TemporaryDirectory(prefix="cdp-benchmark-") as folder:
        server = EmbeddedPostgres(Path(folder) / "server")
        server.start()
        peak = Peak(server)
        try:
            url = server.url()
            migrate(url)
            history = generate(events + BATCHES * BATCH, events_per_visit)
            with psycopg.connect(url, autocommit=True) as connection:
                land(connection, history[:events])
                connection.execute("vacuum analyze raw.events")
                report_resolution(url, events)
                connection.execute("alter system set log_min_duration_statement = 0")
                connection.execute("select pg_reload_conf()")
                full = refresh(server, Path(folder) / "home", "--full")
                report(f"Full refresh of {events:,} events", full)
                later = []
                for first in range(events, len(history), BATCH):
                    land(connection, history[first : first + BATCH])
                    later.append(refresh(server, Path(folder) / "home"))
                    share = later[-1].seconds / full.seconds
                    report(f"{BATCH:,} new events over {events:,} ({share:.0%} of full)", later[-1])
        finally:
            peak.stop()
            server.stop()
        disk, memory = peak.disk / 2**30, peak.memory / 2**30
        print(f"\n    at most {disk:.1f} GiB on disk, {memory:.1f} GiB in memory")
    return min(run.identity_statements for run in later)


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of identity, profiles and whole refreshes.")
    parser.add_argument("events", type=int, nargs="*", default=[1_000_000], help="1000000 if none")
    parser.add_argument("--events-per-visit", type=int, default=1, help="1 is the worst case")
    options = parser.parse_args()
    identity = {events: measure(events, options.events_per_visit) for events in options.events}
    for events, seconds in identity.items():
        ratio = seconds / identity[options.events[0]]
        print(
            f"identity of {BATCH:,} new events over {events:,}: statements {seconds:.2f} s, "
            f"ratio {ratio:.2f}"
        )


if __name__ == "__main__":
    main()
