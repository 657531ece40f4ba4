"""Speed of the write side, as ratios within one run on one machine.

    python -m benchmarks.collect.run [--seconds 8] [--landed 5000000]

The load generator (`wrk`, Debian package of that name), the service and PostgreSQL share the same
processors. Write keys are on, every answer waits for a commit with fsync. Each measurement is taken
several times in turn and the best one counts, so that other programs on the machine disturb less.

What is measured on many landed events begins right after a checkpoint, with no other load between:
first while each page of an index is logged whole, as after every checkpoint, then when it has been.
"""

import argparse
import base64
import contextlib
import shutil
import sys
import tempfile
from pathlib import Path

import psycopg

from benchmarks.http_load import Measured, best, free_port, run_wrk, running
from cdp.database import migrate
from cdp.postgres import EmbeddedPostgres
from cdp.write_keys import create_key

HERE = Path(__file__).parent
SCRIPT = HERE / "events.lua"
CONNECTIONS = 64
BATCH_EVENTS = 100
SERVER = ["--loop", "uvloop", "--http", "httptools", "--ws", "none", "--no-access-log"]
SERVER += ["--no-proxy-headers", "--log-level", "error"]

TARGETS = {
    "single / constant": 0.25,
    "single / insert": 2.4,
    "p99 ms": 60.0,
    "batch events/s": 35_000.0,
    "batch / single": 5.0,
    "after / before": 0.8,
}

FILL = """
insert into raw.events
    (message_id, type, event, user_id, anonymous_id, email,
     occurred_at, received_at, source, payload)
select
    gen_random_uuid()::text,
    'track',
    'Product Viewed',
    'user-' || number %% 50000,
    'anonymous-' || number %% 70000,
    'user' || number %% 50000 || '@example.com',
    now(),
    now(),
    'benchmark',
    jsonb_build_object(
        'type', 'track', 'event', 'Product Viewed', 'messageId', gen_random_uuid(),
        'properties', jsonb_build_object('product_id', 'sku-' || number %% 1000, 'price', 9.99)
    )
from generate_series(%s::bigint, %s::bigint) as number
"""
FILL_STEP = 250_000
# Until most pages of the indexes on 5,000,000 events have been logged whole.
FILLED_WARM_UP = 4


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=int, default=8, help="length of each measurement")
    arguments.add_argument("--rounds", type=int, default=3, help="how often each is taken")
    arguments.add_argument("--landed", type=int, default=1_000_000, help="events before the last")
    arguments.add_argument("--workers", type=int, default=1, help="worker processes of the service")
    options = arguments.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed (Debian: wrk)")
    with tempfile.TemporaryDirectory(prefix="cdp-bench") as folder:
        server = EmbeddedPostgres(Path(folder))
        server.start()
        try:
            with psycopg.connect(server.url(), autocommit=True) as connection:
                connection.execute("create database filled")
            for database in (server.url(), server.url("filled")):
                migrate(database)
            fill(server.url("filled"), options.landed)
            runs = Runs(server.url(), server.url("filled"), options.seconds, options.workers)
            for _ in range(options.rounds):
                runs.measure()
            report(runs, options.landed)
        finally:
            server.stop()


class Runs:
    """All measurements, kept as a list per name."""

    def __init__(self, database: str, filled: str, seconds: int, workers: int) -> None:
        self._database = database
        self._filled = filled
        self._seconds = seconds
        self._workers = str(workers)
        self._measured: dict[str, list[Measured]] = {}
        self._authorization = {each: authorization(each) for each in (database, filled)}

    def measure(self) -> None:
        """One round of everything."""
        with serving(["-m", "uvicorn", "constant:app", *SERVER], self._database) as url:
            self._run("constant", url)
        with serving(["-m", "uvicorn", "insert_per_request:app", *SERVER], self._database) as url:
            self._run("insert", url)
        empty(self._database)
        with self._service(self._database) as url:
            measured = self._run("single", url)
            check_everything_landed(self._database, measured.requests_per_second * self._seconds)
        empty(self._database)
        with self._service(self._filled) as url:
            self._run("filled", url, warm_up=FILLED_WARM_UP)
        with self._service(self._database) as url:
            self._run("batch", url, BATCH_EVENTS)

    def best(self, name: str) -> Measured:
        """The fastest round, with the shortest tail of all."""
        return best(self._measured[name])

    def slowest(self, name: str) -> Measured:
        """The slowest round."""
        return min(self._measured[name], key=lambda measured: measured.requests_per_second)

    def _service(self, database: str) -> contextlib.AbstractContextManager[str]:
        return serving(["-m", "ingest"], database, CDP_INGEST_WORKERS=self._workers)

    def _run(self, name: str, url: str, batch_events: int = 0, warm_up: int = 1) -> Measured:
        path = "/v1/batch" if batch_events else "/v1/track"
        database = self._filled if name == "filled" else self._database
        load = {"AUTHORIZATION": self._authorization[database], "BATCH": str(batch_events)}
        # In the seconds after a checkpoint each page of an index is logged whole.
        for _ in range(warm_up):
            cold = run_wrk(f"{url}{path}", SCRIPT, self._seconds, CONNECTIONS, load)
            self._measured.setdefault(f"{name}, cold", []).append(cold)
        measured = run_wrk(f"{url}{path}", SCRIPT, self._seconds, CONNECTIONS, load)
        self._measured.setdefault(name, []).append(measured)
        return measured


def authorization(database: str) -> str:
    """The header of a source that may write to a database."""
    with psycopg.connect(database) as connection:
        key = create_key(connection, "benchmark")
    return "Basic " + base64.b64encode(f"{key}:".encode()).decode()


def report(runs: Runs, landed: int) -> None:
    """Print the figures and the ratios, each with its target."""
    constant, insert, single, batch, filled = (
        runs.best(name).requests_per_second
        for name in ("constant", "insert", "single", "batch", "filled")
    )
    after_checkpoint = runs.slowest("filled, cold").requests_per_second
    batch_events = batch * BATCH_EVENTS
    rows = [
        ("constant answer", constant, "req/s", ""),
        ("one INSERT per request", insert, "req/s", ""),
        ("single events", single, "req/s", ""),
        ("  of the constant answer", single / constant, "", "single / constant"),
        ("  of one INSERT per request", single / insert, "", "single / insert"),
        ("  p99", runs.best("single").p99_ms, "ms", "p99 ms"),
        (f"batches of {BATCH_EVENTS}", batch_events, "events/s", "batch events/s"),
        ("  of single events", batch_events / single, "", "batch / single"),
        (f"single events after {landed:,}", filled, "req/s", ""),
        ("  of an empty table", filled / single, "", "after / before"),
        ("  right after a checkpoint, worst", after_checkpoint, "req/s", ""),
    ]
    for label, value, unit, target in rows:
        bound = "at most" if target == "p99 ms" else "at least"
        wanted = f"  ({bound} {TARGETS[target]:,g})" if target else ""
        print(f"{label:<34}{value:>12,.2f} {unit:<9}{wanted}")


def serving(
    arguments: list[str], database: str, **environment: str
) -> contextlib.AbstractContextManager[str]:
    """Run the service, or one of the applications beside this file; yields its address."""
    port = free_port()
    is_beside = "uvicorn" in arguments
    return running(
        [*arguments, "--port", str(port)] if is_beside else arguments,
        port,
        HERE if is_beside else None,
        environment | {"DATABASE_URL": database, "CDP_PORT": str(port)},
    )


def check_everything_landed(database: str, request_count: float) -> None:
    """A service that loses events is fast; make sure this one does not."""
    with psycopg.connect(database) as connection:
        row = connection.execute("select count(*) from raw.events").fetchone()
    assert row
    # wrk counts the requests that were answered within its time, to a tenth of a second.
    if row[0] < request_count * 0.97:
        sys.exit(f"only {row[0]} of {request_count:.0f} events landed")


def empty(database: str) -> None:
    """Forget every event."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("truncate raw.events, raw.rejected_events, raw.landings")
        connection.execute("checkpoint")


def fill(database: str, count: int) -> None:
    """Land events in bulk, without the service."""
    with psycopg.connect(database, autocommit=True) as connection:
        for start in range(0, count, FILL_STEP):
            connection.execute(FILL, [start + 1, min(start + FILL_STEP, count)])
        # Else autovacuum does it while the first round is measured.
        connection.execute("vacuum analyze raw.events")
        connection.execute("checkpoint")


if __name__ == "__main__":
    main()
