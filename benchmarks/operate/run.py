"""The nightly proof at size: `verify` after a first refresh and a small one, and what it costs.

    python -m benchmarks.operate.run [events, default 1000000]

In a folder of its own, by Dagster's own jobs. Exits with 1 where a table differs.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psycopg

from benchmarks.unify.history import generate, land
from cdp.database import start_database
from cdp.postgres import EmbeddedPostgres
from cdp.settings import Settings, load_settings
from dagster_project.run import RefreshResult, refresh, verify


def timed(work: Callable[[Settings], RefreshResult], settings: Settings) -> float:
    """Seconds of a run that has to succeed."""
    started = time.monotonic()
    result = work(settings)
    if not result.success:
        sys.exit("\n".join(result.failures))
    for note in result.notes:
        sys.stdout.write(f"{note}\n")
    return time.monotonic() - started


def main() -> None:
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    history = generate(events + events // 100)
    with tempfile.TemporaryDirectory(prefix="cdp-verify-", ignore_cleanup_errors=True) as folder:
        settings = load_settings(home=Path(folder))
        url = start_database(settings)
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                land(connection, history[:events])
                first = timed(refresh, settings)
                land(connection, history[events:])
                small = timed(refresh, settings)
            proof = timed(verify, settings)
        finally:
            EmbeddedPostgres(settings.home).stop()
    print(f"{events:,} events, then {events // 100:,} more")
    print(f"  the small refresh took {small / first:.2f} of the first")
    print(f"  verify took {proof / first:.2f} of the first refresh")


if __name__ == "__main__":
    main()
