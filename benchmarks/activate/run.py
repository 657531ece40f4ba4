"""How fast audiences leave the warehouse, each beside the least that could be done instead.

    python -m benchmarks.activate.run [members] [webhook rows]

Prints ratios within one run: a CSV file beside a bare COPY of the same rows to the same disk, a
delta of 1,000 changes beside a whole delivery, webhooks beside a bare httpx loop of the same
concurrency, and profiles as Parquet beside a bare COPY of the same columns.
"""

import asyncio
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import httpx
import psycopg
from psycopg import sql

from benchmarks.activate.receiver import receiving
from cdp.database import migrate
from cdp.postgres import EmbeddedPostgres
from dagster_project.delivery import deliver
from dagster_project.destinations.csv_files import CsvFiles
from dagster_project.destinations.destination import Destination
from dagster_project.destinations.parquet import Field, write_parquet
from dagster_project.destinations.webhook import Webhook
from dagster_project.subscriptions import Mode, Subscription, WebhookOptions

ROUNDS = 3
CONCURRENCY = 4
CHANGES = 1_000

TABLES = """
create table unify.profiles (
    profile_id uuid primary key, email text, user_id text,
    total_spend numeric, total_orders bigint, last_seen_at timestamptz, traits jsonb
);
create table segment.audiences (
    audience_id bigint primary key, audience_key text, is_enabled boolean,
    definition_version integer, built_version integer, last_built_at timestamptz
);
create table segment.audience_members (
    audience_id bigint, profile_id uuid, added_at timestamptz, primary key (audience_id, profile_id)
);
create table segment.audience_changes (
    audience_id bigint, profile_id uuid, change text, changed_at timestamptz
);
create index on segment.audience_changes (audience_id, changed_at, profile_id);
insert into unify.profiles
select
    md5(number::text)::uuid, 'person' || number || '@example.com', 'user-' || number,
    number / 100.0, number % 7, timestamptz '2026-01-01' + number * interval '1 second',
    jsonb_build_object('plan', 'gold', 'city', 'Rome')
from generate_series(1, {members}) as number;
insert into segment.audience_members
select 1, profile_id, timestamptz '2026-02-01' from unify.profiles;
insert into segment.audience_members
select 2, profile_id, timestamptz '2026-02-01' from unify.profiles limit {webhook_rows};
insert into segment.audience_changes
select audience_id, profile_id, 'entered', added_at from segment.audience_members;
insert into segment.audiences values
    (1, 'everybody', true, 1, 1, '2026-02-01'), (2, 'some', true, 1, 1, '2026-02-01');
"""
BARE = """
copy (
    select email, user_id, total_spend, total_orders, last_seen_at, profiles.profile_id, added_at
    from segment.audience_members
    inner join unify.profiles on profiles.profile_id = audience_members.profile_id
    where audience_id = 1
) to stdout with (format csv, header)
"""
# Half leave, half are written again with another value.
NEXT_BUILD = """
with leaving as (
    delete from segment.audience_members
    where audience_id = 1 and profile_id in (
        select profile_id from segment.audience_members where audience_id = 1 limit {half}
    )
    returning profile_id
)
insert into segment.audience_changes
select 1, profile_id, 'exited', timestamptz '2026-02-01' + {build} * interval '1 day' from leaving;
update unify.profiles set total_spend = total_spend + 1 where profile_id in (
    select profile_id from segment.audience_members
    where audience_id = 1 order by profile_id desc limit {half}
);
update segment.audiences set last_built_at = timestamptz '2026-02-01' + {build} * interval '1 day';
"""


def main(members: int, webhook_rows: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        server = EmbeddedPostgres(folder / "cluster")
        server.start()
        try:
            database = server.url()
            migrate(database)
            prepare(database, members, webhook_rows)
            compare_csv(database, folder, members)
            compare_parquet(database, folder)
            compare_webhook(database, webhook_rows)
            compare_delta(database, folder)
        finally:
            server.stop()


def prepare(database: str, members: int, webhook_rows: int) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(TABLES.format(members=members, webhook_rows=webhook_rows).encode())
        connection.execute("vacuum analyze")


def compare_csv(database: str, folder: Path, members: int) -> None:
    bare, ours = [], []
    copy_to(database, BARE, folder / "warm-up.csv")
    before = peak_megabytes()
    for _round in range(ROUNDS):
        bare.append(seconds(lambda: copy_to(database, BARE, folder / "bare.csv")))
        ours.append(seconds(lambda: send(database, CsvFiles(folder / "exports"), "full")))
    print(f"{members:,} members, median of {ROUNDS} rounds")
    report("CSV: COPY / delivery", median(bare), median(ours), 0.5)
    print(f"CSV: memory at the peak    {peak_megabytes() - before:8.1f} MB more")


def compare_parquet(database: str, folder: Path) -> None:
    names = {
        "profile_id": "uuid",
        "email": "text",
        "user_id": "text",
        "total_spend": "numeric",
        "total_orders": "bigint",
        "last_seen_at": "timestamp with time zone",
        "traits": "jsonb",
    }
    fields = [Field(name, type_name, sql.Identifier(name)) for name, type_name in names.items()]
    statement = f"copy (select {', '.join(names)} from unify.profiles) to stdout with (format csv)"

    def prepare_parquet() -> None:
        with psycopg.connect(database) as snapshot:
            source = sql.Identifier("unify", "profiles")
            write_parquet(snapshot, fields, source, folder / "profiles.parquet")

    bare, ours = [], []
    for _round in range(ROUNDS):
        bare.append(seconds(lambda: copy_to(database, statement, folder / "profiles.csv")))
        ours.append(seconds(prepare_parquet))
    report("BigQuery: COPY / Parquet", median(bare), median(ours), 0.5)


def compare_webhook(database: str, rows: int) -> None:
    """Row by row, so that what counts is the sending; in batches of 20 kB it is far quicker."""
    body = b'{"type": "audience.members_changed", "data": {"rows": [' + b" " * 300 + b"]}}"
    options = WebhookOptions(concurrency=CONCURRENCY, rows_per_message=1, run_seconds=3600)
    with receiving() as url:
        destination = Webhook("bench", url, (b"x" * 32,), options, allows_internal=True)
        bare = seconds(lambda: asyncio.run(post_all(url, body, rows)))
        ours = seconds(lambda: send(database, destination, "delta", audience_key="some"))
    report(f"webhook: httpx / {rows:,} rows", bare, ours, 0.5)


async def post_all(url: str, body: bytes, count: int) -> None:
    left = iter(range(count))

    async def work(client: httpx.AsyncClient) -> None:
        for _number in left:
            (await client.post(url, content=body)).raise_for_status()

    async with httpx.AsyncClient(timeout=60) as client:
        await asyncio.gather(*(work(client) for _number in range(CONCURRENCY)))


def compare_delta(database: str, folder: Path) -> None:
    destination = CsvFiles(folder / "deltas", name="deltas")
    send(database, destination, "delta")
    # As a refresh leaves it: the state of the first delivery has been vacuumed since.
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("vacuum analyze")
    whole, delta = [], []
    for build in range(1, ROUNDS + 1):
        statement = NEXT_BUILD.format(half=CHANGES // 2, build=build)
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(statement.encode())
        whole.append(seconds(lambda: send(database, CsvFiles(folder / "exports"), "full")))
        delta.append(seconds(lambda: send(database, destination, "delta")))
    report(f"delta of {CHANGES:,} / whole", median(delta), median(whole), 0.05, at_most=True)


def send(
    database: str, destination: Destination, mode: Mode, audience_key: str = "everybody"
) -> None:
    deliver(
        database,
        destination,
        audience_key,
        subscription=Subscription("*", destination.name, mode),
        holder="benchmark",
        on_wait=print,
    )


def copy_to(database: str, statement: str, path: Path) -> None:
    with (
        psycopg.connect(database) as connection,
        path.open("wb") as file,
        connection.cursor().copy(statement.encode()) as copy,
    ):
        for block in copy:
            file.write(block)


def report(what: str, first: float, second: float, target: float, *, at_most: bool = False) -> None:
    bound = "at most" if at_most else "at least"
    print(
        f"{what:<26} {first:8.2f} s {second:8.2f} s   ratio {first / second:6.3f}, "
        f"target {bound} {target}",
        flush=True,
    )


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000,
        int(sys.argv[2]) if len(sys.argv) > 2 else 10_000,
    )
