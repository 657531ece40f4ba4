"""Both engines on the same events: equal by hash, statements, rounds of identity, bytes scanned.

    python -m benchmarks.scale.run [100000 | golden]

PostgreSQL is a server of its own that is thrown away, BigQuery the emulator of the tests. Its
seconds say nothing about BigQuery, so only what does not depend on the machine is printed.
"""

import argparse
import hashlib
import re
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from benchmarks.scale.scanned import scanned
from benchmarks.unify.history import generate, land
from cdp.bigquery.comparison import TABLES
from cdp.database import migrate
from cdp.golden import REFRESHED_AT
from cdp.postgres import EmbeddedPostgres
from tests.bigquery.both_engines import BothEngines
from tests.bigquery_emulator import running_emulator
from tests.golden_batches import land_batch

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
SENT = re.compile(r"LOG:  (?:statement|execute [^:]*): ")
ROUND = re.compile(r"create (?:temporary|or replace) table \S*__representatives_(\d+)")


def digest(rows: list[str]) -> str:
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def sent_to_postgres(log: Path, offset: int) -> list[str]:
    """The statements since a place in the server's log."""
    return SENT.split(log.read_text(errors="replace")[offset:])[1:]


def rounds(statements: list[str]) -> int:
    return max((int(each) for text in statements for each in ROUND.findall(text)), default=0)


def refresh(engines: BothEngines, log: Path, title: str, command: str) -> None:
    offset, since = len(log.read_text(errors="replace")), datetime.now(UTC)
    engines.refresh_both(AS_OF, command=command)
    on_postgres = sent_to_postgres(log, offset)
    on_bigquery = engines.sent(since)
    print(f"\n{title}")
    print(f"  statements  PostgreSQL {len(on_postgres)}, BigQuery {len(on_bigquery)}")
    print(f"  rounds      PostgreSQL {rounds(on_postgres)}, BigQuery {rounds(on_bigquery)}")
    bill = scanned(engines, on_bigquery)
    raw = sum(size for table, size in bill.read.items() if table.startswith("raw."))
    print(
        f"  BigQuery    reads {_mib(bill.read.total())} MiB of columns, of it raw {_mib(raw)}, "
        f"and bills {_mib(bill.billed)}"
    )
    most = ", ".join(f"{table} {_mib(size)}" for table, size in bill.read.most_common(8))
    print(f"  most of it  {most}")
    for table in TABLES:
        here, there = engines.on_postgres(table), engines.on_bigquery(table)
        verdict = "equal" if digest(here) == digest(there) else "DIFFERENT"
        print(f"  {verdict:9} {len(here):>9,} rows  {digest(here)}  {table}", flush=True)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f}"


def generated(database: str, events: int) -> Iterator[str]:
    """Land a history, and a hundredth of it more; after each the title of a refresh."""
    history = generate(events + events // 100)
    for part, what in ((history[:events], "events, first run"), (history[events:], "more")):
        with psycopg.connect(database, autocommit=True) as connection:
            land(connection, part)
        yield f"{len(part):,} {what}"


def golden(database: str) -> Iterator[str]:
    """Land the batches of the golden files; after each the title of a refresh."""
    for batch in range(1, len(REFRESHED_AT) + 1):
        land_batch(database, batch)
        yield f"golden files, batch {batch}"


def how_many(text: str) -> int | None:
    """A number of events; None for the golden files."""
    if text == "golden":
        return None
    if not text.isdecimal() or int(text) < 100:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number from 100 on nor golden")
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "events",
        nargs="?",
        type=how_many,
        default=100_000,
        help="how many events are generated (100000); `golden` takes the golden files instead",
    )
    events = parser.parse_args().events
    with tempfile.TemporaryDirectory(prefix="cdp-benchmark-") as folder:
        server = EmbeddedPostgres(Path(folder) / "home", settings=(("log_statement", "all"),))
        server.start()
        try:
            migrate(server.url())
            with running_emulator() as emulator:
                engines = BothEngines(server.url(), emulator.settings("scale"))
                url = server.url()
                landing = golden(url) if events is None else generated(url, events)
                for number, title in enumerate(landing):
                    refresh(engines, server.log_file, title, "run" if number else "build")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
