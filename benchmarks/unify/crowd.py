"""A crowd in one profile: what a value that everybody shares costs, and what parting it costs.

    python -m benchmarks.unify.crowd [browsers, default 1000000]

Each browser sends one event with the same address. The first run finds one profile, a later one
adds to it, then the address is blocked, which parts the crowd, and unblocked, which joins it again.
It ends with an error when the profiles are not those.
"""

import sys
import tempfile
import time
from pathlib import Path

import psycopg

from benchmarks.unify.history import note_landing
from benchmarks.unify.run import refresh, run_dbt
from cdp.database import migrate
from cdp.postgres import EmbeddedPostgres

MORE = 1_000
ADDRESS = "noreply@example.org"
EVENTS = """
insert into raw.events
    (message_id, type, event, anonymous_id, email, occurred_at, received_at, source, payload)
select
    'm' || number, 'track', 'Product Viewed', 'browser-' || number, %(address)s,
    timestamptz '2026-01-01' + number * interval '1 second', now(), 'benchmark',
    '{"type": "track", "properties": {}}'
from generate_series(%(first)s::bigint, %(last)s::bigint) as number
"""


def land(connection: psycopg.Connection[tuple[object, ...]], first: int, last: int) -> None:
    with connection.transaction():
        connection.execute(EVENTS, {"first": first, "last": last, "address": ADDRESS})
        note_landing(connection, last - first + 1)


def run_models(url: str) -> float:
    """Seconds of `dbt run` with the rules as they stand in the database."""
    began = time.perf_counter()
    run_dbt(url, "run")
    return time.perf_counter() - began


def expect(connection: psycopg.Connection[tuple[object, ...]], profiles: int) -> None:
    found = connection.execute("select count(*) from unify.profiles").fetchone()
    if found != (profiles,):
        raise SystemExit(f"expected {profiles:,} profiles, found {found}")


def measure(browsers: int) -> None:
    with tempfile.TemporaryDirectory(prefix="cdp-benchmark-") as folder:
        server = EmbeddedPostgres(Path(folder) / "server")
        server.start()
        try:
            url, home = server.url(), Path(folder) / "home"
            migrate(url)
            with psycopg.connect(url, autocommit=True) as connection:
                land(connection, 1, browsers)
                seconds = refresh(server, home, "--full").seconds
                expect(connection, 1)
                print(f"{browsers:,} browsers in one profile: full refresh {seconds:.0f} s")
                land(connection, browsers + 1, browsers + MORE)
                seconds = refresh(server, home).seconds
                expect(connection, 1)
                print(f"    {MORE:,} more join it: refresh {seconds:.0f} s")
                connection.execute(
                    "insert into unify.blocked_identifiers values ('email', %s, 'a machine')",
                    [ADDRESS],
                )
                seconds = run_models(url)
                expect(connection, browsers + MORE)
                print(f"    their address is blocked: dbt {seconds:.0f} s")
                connection.execute(
                    "delete from unify.blocked_identifiers where pattern = %s", [ADDRESS]
                )
                seconds = run_models(url)
                expect(connection, 1)
                print(f"    it is unblocked: dbt {seconds:.0f} s")
        finally:
            server.stop()


def main() -> None:
    measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)


if __name__ == "__main__":
    main()
