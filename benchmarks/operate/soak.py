"""kill -9 at random moments under load with refreshes: nothing acknowledged is lost.

    python benchmarks/operate/soak.py --seconds 600

Runs the whole platform in a folder of its own, with this script in the place of docker's
`restart: unless-stopped`: HTTP service, Dagster's code server and daemon, the embedded PostgreSQL,
and the runs that the sensor starts. Clients send events all the time. Every few seconds one process
of a kind chosen at random is killed: service, daemon, run worker or PostgreSQL. At the end each
acknowledged event has to be in raw.events and the accounting has to add up, a refresh has to have
succeeded between the kills and one after them, and `verify` has to find no difference. Exits with 1
where one of it does not hold.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import httpx
import psutil
import psycopg

from cdp.database import start_database
from cdp.postgres import EmbeddedPostgres, PostgresError
from cdp.service import base_url, running_instance
from cdp.settings import Settings, load_settings
from dagster_project.instance import open_instance
from dagster_project.run import refresh, verify
from dagster_project.stack import code_socket, dagster_environment, dagster_processes

# Between two kills. Long enough that some refreshes end, short enough that most are hit.
PAUSE_SECONDS = (10.0, 60.0)
KINDS = ("service", "daemon", "run worker", "PostgreSQL")


class Platform:
    """The processes of an installation, and the supervisor that starts again what ended."""

    def __init__(self, settings: Settings, log_folder: Path) -> None:
        self.settings = settings
        self.server = EmbeddedPostgres(settings.home)
        self.restarts: Counter[str] = Counter()
        programs = dagster_processes(settings)
        self._commands = {
            "service": [sys.executable, "-m", "cdp.local"],
            "code": programs["dagster-code"],
            "daemon": programs["dagster-daemon"],
        }
        self._environment = os.environ | dagster_environment(settings)
        self._environment |= {"CDP_PORT": str(settings.port), "CDP_REFRESH_CRON": "* * * * *"}
        self._logs = log_folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._is_stopping = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise)

    def start(self) -> None:
        start_database(self.settings)
        self._start("service")
        self._start("code")
        while not code_socket(self.settings).exists():
            time.sleep(0.2)
        self._supervisor.start()

    def stop(self) -> None:
        self._is_stopping.set()
        self._supervisor.join()
        for process in self._processes.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
            process.kill()
            process.wait()

    def kill(self, kind: str) -> bool:
        """Kill -9 one process of a kind; False where there is none at the moment."""
        pids = self._run_workers() if kind == "run worker" else self._pids_of(kind)
        for pid in pids[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return True
        return False

    def _pids_of(self, kind: str) -> list[int]:
        if kind == "PostgreSQL":
            pid = self.server.server_pid()
            return [pid] if pid else []
        process = self._processes.get(kind)
        return [process.pid] if process else []

    def _run_workers(self) -> list[int]:
        code = psutil.Process(self._processes["code"].pid)
        with contextlib.suppress(psutil.Error):
            return [child.pid for child in code.children(recursive=True) if _executes_a_run(child)]
        return []

    def _start(self, name: str) -> None:
        with (self._logs / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                self._commands[name], env=self._environment, stdout=log, stderr=log
            )

    def _supervise(self) -> None:
        while not self._is_stopping.wait(0.5):
            if not self.server.is_running():
                self.restarts["PostgreSQL"] += 1
                with contextlib.suppress(PostgresError):
                    self.server.start()
            for name in self._commands:
                process = self._processes.get(name)
                if process is None or process.poll() is not None:
                    self.restarts[name] += process is not None
                    self._start(name)


def _executes_a_run(process: psutil.Process) -> bool:
    command = " ".join(process.cmdline())
    return "execute_run" in command or "multiprocessing.spawn" in command


@contextlib.contextmanager
def load(url: str, acknowledged: set[str], clients: int) -> Iterator[None]:
    """Send events from so many threads; note the ids that were answered 200."""
    is_over = threading.Event()

    def send(number: int) -> None:
        chance = random.Random(number)
        while not is_over.is_set():
            ids = [str(uuid.uuid4()) for _each in range(5)]
            events = [
                {
                    "type": "page",
                    "messageId": message_id,
                    "userId": f"user-{chance.randrange(500)}",
                    "anonymousId": f"browser-{chance.randrange(800)}",
                }
                for message_id in ids
            ]
            with contextlib.suppress(httpx.HTTPError):
                answer = httpx.post(f"{url}/v1/batch", json={"batch": events}, timeout=20)
                if answer.status_code == 200:
                    acknowledged.update(ids)
            time.sleep(0.05)

    threads = [threading.Thread(target=send, args=[number]) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def soak(seconds: float, clients: int, settings: Settings, logs: Path) -> dict[str, object]:
    platform = Platform(settings, logs)
    platform.start()
    acknowledged: set[str] = set()
    kills: Counter[str] = Counter()
    chance = random.Random()
    try:
        while running_instance(settings) is None:
            time.sleep(0.2)
        ends_at = time.monotonic() + seconds
        with load(base_url(settings), acknowledged, clients):
            while (left := ends_at - time.monotonic()) > 0:
                time.sleep(min(chance.uniform(*PAUSE_SECONDS), left))
                kind = chance.choice(KINDS)
                kills[kind] += platform.kill(kind)
    finally:
        platform.stop()
    start_database(settings)
    runs, reasons = _refreshes(settings)
    return {
        "seconds": seconds,
        "kills": dict(kills),
        "restarts": dict(platform.restarts),
        "acknowledged": len(acknowledged),
        "refreshes": runs,
        "why they failed": reasons,
        **_judged(settings, acknowledged, runs.get("success", 0)),
    }


def _refreshes(settings: Settings) -> tuple[dict[str, int], dict[str, int]]:
    """How the runs that Dagster started ended, or where they were cut off; and why they failed."""
    statuses: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    with open_instance(settings) as instance:
        for run in instance.get_runs(dg.RunsFilter(job_name="refresh")):
            statuses[run.status.value.lower()] += 1
            failures = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
            reasons.update(each.message.strip().split("\n")[0] for each in failures)
    return dict(statuses), dict(reasons)


def _judged(
    settings: Settings, acknowledged: set[str], succeeded_between: int
) -> dict[str, object]:
    with psycopg.connect(EmbeddedPostgres(settings.home).url()) as connection:
        landed = {row[0] for row in connection.execute("select message_id from raw.events")}
        accounting = connection.execute(
            "select sum(accepted_count) = (select count(*) from raw.events) from raw.landings"
        ).fetchone()
    refreshed, verified = refresh(settings), verify(settings)
    return {
        "lost": len(acknowledged - landed),
        "accounting adds up": bool(accounting and accounting[0]),
        "refresh": refreshed.message or "succeeded",
        "verify": list(verified.failures or verified.notes),
        "is good": not acknowledged - landed
        and succeeded_between > 0
        and bool(accounting and accounting[0])
        and refreshed.success
        and verified.success,
    }


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=600)
    arguments.add_argument("--clients", type=int, default=4)
    arguments.add_argument("--port", type=int, default=3170)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="cdp-soak-", ignore_cleanup_errors=True) as folder:
        settings = load_settings(home=Path(folder), port=chosen.port)
        try:
            result = soak(chosen.seconds, chosen.clients, settings, Path(folder))
            sys.stdout.write(json.dumps(result, indent=2) + "\n")
            sys.stdout.flush()
        finally:
            EmbeddedPostgres(settings.home).stop()
    return 0 if result["is good"] else 1


if __name__ == "__main__":
    sys.exit(main())
