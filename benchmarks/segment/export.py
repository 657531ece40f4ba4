"""GET /audiences/{id}/export of a large audience, beside a bare COPY of the same columns.

    python -m benchmarks.segment.export [members]

The service runs in a process of its own, as deployed; both sides are read to their end and thrown
away. Its memory is what the kernel says it held at most, less what it held before.
"""

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

import httpx
import psycopg
from psycopg.conninfo import make_conninfo

from benchmarks.activate.run import BARE, TABLES
from benchmarks.segment.run import seconds
from cdp.database import migrate
from cdp.postgres import EmbeddedPostgres

ROUNDS = 5
LEAST_SPEED = 0.7
MOST_MEGABYTES = 50
# What the address reads beside the members.
REST = """
alter table segment.audiences
    add name text, add description text, add definition text, add owner text, add source text,
    add created_at timestamptz, add member_count bigint;
create table segment.audience_builds (
    audience_id bigint, built_at timestamptz, entered_count bigint, exited_count bigint
);
create table segment.audience_errors (
    audience_id bigint, error_number integer, path text, message text
);
grant usage on schema unify, segment to cdp_serving;
grant select on all tables in schema unify, segment to cdp_serving;
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("members", type=int, nargs="?", default=1_000_000)
    members = parser.parse_args().members
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedPostgres(Path(folder) / "pg")
        server.start()
        try:
            migrate(server.url())
            with psycopg.connect(server.url(), autocommit=True) as connection:
                connection.execute(TABLES.format(members=members, webhook_rows=0).encode())
                connection.execute(REST.encode())
                connection.execute("vacuum analyze")
            with serving(server.url(), Path(folder)) as (address, process):
                compare(server.url(), address, process, members)
        finally:
            server.stop()


def compare(database: str, address: str, process: int, members: int) -> None:
    copy, export = partial(copy_bare, database), partial(download, address)
    copy(), export()  # warm
    before = megabytes(process, "VmRSS")
    bare, ours = [], []
    for _round in range(ROUNDS):
        bare.append(seconds(copy))
        ours.append(seconds(export))
    growth = megabytes(process, "VmHWM") - before
    speed = median(bare) / median(ours)
    print(f"{members:,} members, COPY {median(bare):.2f} s, export {median(ours):.2f} s")
    verdict = "ok" if speed >= LEAST_SPEED else "MISSED"
    print(f"speed {speed:.2f} of COPY's (target at least {LEAST_SPEED}) {verdict}")
    verdict = "ok" if growth < MOST_MEGABYTES else "MISSED"
    print(f"memory {growth:.1f} MB more (target less than {MOST_MEGABYTES}) {verdict}")


def copy_bare(database: str) -> None:
    with (
        psycopg.connect(database) as connection,
        connection.cursor().copy(BARE.encode()) as copy,
    ):
        for _block in copy:
            pass


def download(address: str) -> None:
    with httpx.stream("GET", f"{address}/audiences/everybody/export", timeout=300) as answer:
        answer.raise_for_status()
        for _block in answer.iter_raw():
            pass


def megabytes(process: int, name: str) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    [kilobytes] = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(kilobytes) / 1024


@contextlib.contextmanager
def serving(database: str, home: Path) -> Iterator[tuple[str, int]]:
    """The read side's address and process, until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "DATABASE_URL": database,
        "CDP_SERVING_DATABASE_URL": make_conninfo(database, user="cdp_serving"),
        "CDP_PORT": str(port),
        "CDP_HOME": str(home),
    }
    process = subprocess.Popen([sys.executable, "-m", "dagster_project.serving"], env=environment)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{address}/ready").status_code == 200:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("The service did not start.")
            time.sleep(0.5)
        yield address, process.pid
    finally:
        process.terminate()
        process.wait(timeout=30)


if __name__ == "__main__":
    main()
