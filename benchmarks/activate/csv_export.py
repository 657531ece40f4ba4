"""How fast an audience becomes a CSV file, beside a bare COPY of the same rows to the same disk.

    python -m benchmarks.activate.csv_export [members]

Prints both times, their ratio, and the growth of this process's memory while it writes; the
target is a ratio of at least 0.5 and memory that does not grow with the audience.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import psycopg

from cdp.database import migrate
from cdp.postgres import EmbeddedPostgres
from dagster_project.delivery import deliver
from dagster_project.destinations.csv_files import CsvFiles

ROUNDS = 5

TABLES = """
create table unify.profiles (
    profile_id uuid primary key, email text, user_id text,
    total_spend numeric, total_orders bigint, last_seen_at timestamptz
);
create table segment.audiences (
    audience_id bigint primary key, audience_key text, is_enabled boolean,
    definition_version integer, built_version integer, last_built_at timestamptz
);
create table segment.audience_members (
    audience_id bigint, profile_id uuid, added_at timestamptz, primary key (audience_id, profile_id)
);
insert into unify.profiles
select
    md5(number::text)::uuid, 'person' || number || '@example.com', 'user-' || number,
    number / 100.0, number % 7, timestamptz '2026-01-01' + number * interval '1 second'
from generate_series(1, {members}) as number;
insert into segment.audience_members
select 1, profile_id, timestamptz '2026-02-01' from unify.profiles;
insert into segment.audiences values (1, 'everybody', true, 1, 1, '2026-02-01');
"""

BARE = """
copy (
    select email, user_id, total_spend, total_orders, last_seen_at, profiles.profile_id, added_at
    from segment.audience_members
    inner join unify.profiles on profiles.profile_id = audience_members.profile_id
    where audience_id = 1
) to stdout with (format csv, header)
"""


def main(members: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        server = EmbeddedPostgres(folder / "cluster")
        server.start()
        try:
            compare(server.url(), folder, members)
        finally:
            server.stop()


def compare(database: str, folder: Path, members: int) -> None:
    migrate(database)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(TABLES.format(members=members).encode())
        connection.execute("vacuum analyze")
    bare, ours = [], []
    copy_bare(database, folder / "warm-up.csv")
    before = peak_megabytes()
    for _round in range(ROUNDS):
        bare.append(seconds(lambda: copy_bare(database, folder / "bare.csv")))
        ours.append(seconds(lambda: deliver_audience(database, folder / "exports")))
    print(f"{members:,} members, median of {ROUNDS} rounds")
    print(f"COPY to a file  {median(bare):6.2f} s")
    print(f"delivery        {median(ours):6.2f} s   sorted, formula-safe, sha256, fsync, manifest")
    print(f"ratio           {median(bare) / median(ours):6.2f}   target 0.50")
    print(f"memory          {peak_megabytes() - before:6.1f} MB more at the peak")


def copy_bare(database: str, path: Path) -> None:
    with (
        psycopg.connect(database) as connection,
        path.open("wb") as file,
        connection.cursor().copy(BARE.encode()) as copy,
    ):
        for block in copy:
            file.write(block)


def deliver_audience(database: str, folder: Path) -> None:
    deliver(database, CsvFiles(folder), "everybody", holder="benchmark", on_wait=print)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
