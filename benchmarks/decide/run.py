"""Speed of decisions between refreshes, as ratios within one run on one machine.

    python -m benchmarks.decide.run [--profiles 1000000] [--events 5000000]
        [--pending 100000] [--seconds 8] [--rounds 3]

Two warehouses, one of them a tenth of the other, are filled and refreshed by dbt. Then events land
that no refresh has seen: one each of a tenth of the people, one in ten from a browser that is new.
In SQL pgbench asks with prepared statements, over HTTP `wrk` (Debian package of that name); both
share the processors with what they measure. Each measurement is taken several times in turn and the
best one counts, so that other programs on the machine disturb less.
"""

import argparse
import contextlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg

from benchmarks.http_load import (
    LoadError,
    Measured,
    best,
    free_port,
    run_wrk,
    run_wrk_while,
    running,
)
from cdp.audience_definitions import seeded_audiences
from cdp.database import migrate
from cdp.postgres import EmbeddedPostgres, find_program
from cdp.settings import PROJECT_DIR
from tests.warehouse import build

HERE = Path(__file__).parent
REQUESTS = HERE / "requests.lua"
TIMEOUT_SECONDS = 30
CLIENTS = 4
CONNECTIONS = 16
AUDIENCES = 20
DAYS = 30
BUSY_EVENTS = 10_000
WARM_UP_SECONDS = 4
WARM_UPS = 15

# Person by person, round after round; the first event of each names all that is known of them.
HISTORY = """
insert into raw.events
    (message_id, type, event, user_id, anonymous_id, email,
     occurred_at, received_at, source, payload)
select
    'm' || number,
    case when number < %(people)s then 'identify' when number %% 3 = 0 then 'page' else 'track' end,
    case
        when number < %(people)s or number %% 3 = 0 then null
        when number %% 3 = 1 then 'Product Viewed'
        else 'Order Completed'
    end,
    'user-' || 1 + number %% %(people)s,
    'browser-' || 1 + number %% %(people)s,
    case
        when number < %(people)s then 'user-' || 1 + number %% %(people)s || '@example.org'
    end,
    happened_at,
    happened_at,
    'benchmark',
    jsonb_build_object(
        'traits', jsonb_build_object('plan', (array['free', 'gold', 'platinum'])[1 + number %% 3]),
        'properties', jsonb_build_object(
            'order_id', 'o' || number, 'total', number %% 300, 'category', 'c' || number %% 10
        )
    )
from (
    select
        number,
        now() - interval '1 hour'
        - (%(events)s - number) * (%(days)s * interval '1 day' / %(events)s) as happened_at
    from generate_series(0, %(events)s - 1) as number
) as numbers
"""
PENDING = """
insert into raw.events
    (message_id, type, event, user_id, anonymous_id, occurred_at, received_at, source, payload)
select
    'pending-' || number,
    case when number %% 3 = 0 then 'page' else 'track' end,
    (array[null, 'Product Viewed', 'Order Completed'])[1 + number %% 3],
    'user-' || person,
    case when number %% 10 = 9 then 'new-browser-' else 'browser-' end || person,
    now(),
    now(),
    'benchmark',
    jsonb_build_object(
        'properties', jsonb_build_object(
            'order_id', 'p' || number, 'total', number %% 300, 'category', 'c' || number %% 10
        )
    )
from (
    select number, 10 * (1 + number %% (%(people)s / 10)) as person
    from generate_series(0, %(pending)s - 1) as number
) as numbers
"""
BUSY = f"""
insert into raw.events
    (message_id, type, event, user_id, anonymous_id, occurred_at, received_at, source, payload)
select
    'busy-' || number, 'track', 'Product Viewed', 'busy', 'busy-browser', now(), now(),
    'benchmark', '{{"properties": {{"category": "c1"}}}}'
from generate_series(1, {BUSY_EVENTS}) as number
"""
PARTITIONS = """
select raw.ensure_partition((now() at time zone 'UTC')::date - offset_days)
from generate_series(0, %s) as offset_days
"""
# As ingest does: what has landed is accounted for by day in the same transaction.
ACCOUNTED = """
with landed as ({insert} returning received_at, source)

insert into raw.landings (received_on, source, received_count, accepted_count, rejected_count)
select (received_at at time zone 'UTC')::date, source, count(*), count(*), 0
from landed
group by 1, 2
"""
# Of each stage, with indexes: raw is what landed, the others are computed from it.
SIZES = """
select
    nspname::text,
    sum(pg_total_relation_size(pg_class.oid))::bigint
from pg_class
inner join pg_namespace on pg_namespace.oid = relnamespace
where
    relkind = 'r'
    and nspname in ('raw', 'collect', 'unify', 'segment', 'activate', 'decide')
group by nspname
order by nspname
"""
# With those of seeds/audiences.csv they are as many as AUDIENCES.
DEFINITIONS = """
insert into raw.audience_definitions (audience_key, name, definition, is_enabled)
select
    'spent_' || number,
    'Spent ' || number,
    jsonb_build_object(
        'total_spend', jsonb_build_object('$gte', number * 20),
        'last_event_at', jsonb_build_object('$within_days', number)
    )::text,
    true
from generate_series(1, %(missing)s) as number
"""

# The colon of the id is written otherwise, because pgbench takes what follows one for a variable.
BY_PRIMARY_KEY = r"""
\set person random(1, :people)
select * from decide.profiles
where profile_id = md5('user_id' || chr(58) || 'user-' || :person::int)::uuid;
"""
# One person in `step` may be asked about, the first of them `first`.
LIVE = r"""
\set person random(0, :people / {step} - 1) * {step} + {first}
select * from decide.profile_now(null, 'user-' || :person::int, null, null, null, now());
"""


@dataclass(frozen=True)
class Warehouse:
    """A database and how much is in it."""

    url: str
    people: int
    events: int
    pending: int


@dataclass(frozen=True)
class Effort:
    """How long each measurement is, and how often it is taken."""

    seconds: int
    rounds: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--pending", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=8, help="length of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is taken")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed (Debian: wrk)")
    effort = Effort(options.seconds, options.rounds)
    sizes = (options.profiles, options.events, options.pending)
    with tempfile.TemporaryDirectory(prefix="cdp-bench") as folder:
        server = EmbeddedPostgres(Path(folder) / "cluster")
        server.start()
        try:
            small = Warehouse(server.url("small"), *(size // 10 for size in sizes))
            large = Warehouse(server.url("large"), *sizes)
            for name, warehouse in (("small", small), ("large", large)):
                with psycopg.connect(server.url(), autocommit=True) as connection:
                    connection.execute(f"create database {name}".encode())
                fill(warehouse)
            in_sql(large, effort, "nothing pending", 0.4)
            over_http(large, effort, "nothing pending", 0.5, p99_ms=(25, 8))
            for warehouse in (small, large):
                add_pending(warehouse)
            in_sql(large, effort, "a tenth pending", 0.12)
            by_size(small, large, effort)
            quiet = over_http(large, effort, "a tenth pending", 0.3)
            one_busy_person(large, effort)
            while_refreshing(large, quiet, Path(folder) / "home")
        finally:
            server.stop()


def fill(warehouse: Warehouse) -> None:
    """Bring an empty database to what a refresh leaves, nothing pending."""
    began = time.perf_counter()
    migrate(warehouse.url)
    with psycopg.connect(warehouse.url, autocommit=True) as connection:
        connection.execute(PARTITIONS, [DAYS + 1])
        # What has landed late is noted for readers before a refresh; here a refresh follows.
        connection.execute("alter table raw.events disable trigger events_late_landing")
        sizes = {"people": warehouse.people, "events": warehouse.events, "days": DAYS}
        connection.execute(ACCOUNTED.format(insert=HISTORY).encode(), sizes)
        connection.execute("alter table raw.events enable trigger events_late_landing")
        connection.execute(DEFINITIONS, {"missing": AUDIENCES - len(seeded_audiences())})
    build(warehouse.url, command="seed")
    build(warehouse.url, command="run")
    with psycopg.connect(warehouse.url, autocommit=True) as connection:
        connection.execute("vacuum analyze")
        sizes = dict(connection.execute(SIZES).fetchall())
    seconds = time.perf_counter() - began
    print(f"{warehouse.people:,} people, {warehouse.events:,} events: {seconds:.0f} s to fill")
    for stage, size in sizes.items():
        print(f"  on disk in {stage}: {size / warehouse.events / 1024:.2f} KB an event")


def add_pending(warehouse: Warehouse) -> None:
    with psycopg.connect(warehouse.url, autocommit=True) as connection:
        sizes = {"people": warehouse.people, "pending": warehouse.pending}
        connection.execute(ACCOUNTED.format(insert=PENDING).encode(), sizes)
        connection.execute("vacuum analyze raw.events")


def in_sql(warehouse: Warehouse, effort: Effort, state: str, target: float) -> None:
    """The function that answers for one person, beside a profile read by its primary key."""
    script = LIVE.format(step=1, first=1)
    read, live = pgbench(warehouse, effort, BY_PRIMARY_KEY, script)
    print(f"{f'SQL, {state}':<52}{live:>10,.0f} /s of {read:>8,.0f}")
    say("  of a read by primary key", live / read, target)


def by_size(small: Warehouse, large: Warehouse, effort: Effort) -> None:
    """What one more digit of history costs, for those who are pending and those who are not."""
    for state, first in (("who is not pending", 1), ("who is pending", 10)):
        script = LIVE.format(step=10, first=first)
        [few] = pgbench(small, effort, script)
        [many] = pgbench(large, effort, script)
        say(f"SQL, {state}: time with 10 times the events", few / many, 1.5, at_most=True)


def over_http(
    warehouse: Warehouse,
    effort: Effort,
    state: str,
    target: float,
    p99_ms: tuple[float, float] | tuple[None, None] = (None, None),
) -> Measured:
    """Decisions, beside profiles that the same service reads by primary key.

    `p99_ms` bounds the 99th percentile, with many connections and with one; None where no figure is
    asked for.
    """
    with serving(warehouse.url) as url:
        warm_up(url, warehouse)
        rounds = [
            (
                wrk(url, warehouse, effort.seconds, ASK="primary_key"),
                wrk(url, warehouse, effort.seconds),
                wrk(url, warehouse, effort.seconds, connections=1),
            )
            for _round in range(effort.rounds)
        ]
    read, decided, alone = (best(each) for each in zip(*rounds, strict=True))
    figures = f"{decided.requests_per_second:>10,.0f} /s of {read.requests_per_second:>8,.0f}"
    print(f"{f'HTTP, {state}':<52}{figures}")
    ratio = decided.requests_per_second / read.requests_per_second
    say("  of a read by primary key", ratio, target)
    say(f"  p99 at {CONNECTIONS} connections, ms", decided.p99_ms, p99_ms[0], at_most=True)
    say("  p99 at 1 connection, ms", alone.p99_ms, p99_ms[1], at_most=True)
    return decided


def one_busy_person(warehouse: Warehouse, effort: Effort) -> None:
    with psycopg.connect(warehouse.url, autocommit=True) as connection:
        connection.execute(ACCOUNTED.format(insert=BUSY).encode())
        connection.execute("vacuum analyze raw.events")
    asked = {"user_id": "busy", "context": {"amount": 150, "category": "Rock Concert"}}
    with serving(warehouse.url) as url:
        warm_up(url, warehouse)
        taken = []
        for _round in range(10 * effort.rounds):
            began = time.perf_counter()
            httpx.post(f"{url}/decide", json=asked, timeout=60).raise_for_status()
            taken.append((time.perf_counter() - began) * 1000)
    milliseconds = statistics.median(taken)
    say(f"HTTP, {BUSY_EVENTS:,} pending of one person, ms", milliseconds, 300, at_most=True)


def while_refreshing(warehouse: Warehouse, quiet: Measured, home: Path) -> None:
    """The 99th percentile of all answers from the start of a refresh to its end."""
    variables = os.environ | {"DATABASE_URL": warehouse.url, "CDP_HOME": str(home)}
    with serving(warehouse.url) as url:
        warm_up(url, warehouse)
        refresh = subprocess.Popen(
            [sys.executable, "-m", "cdp", "refresh"], env=variables, stdout=subprocess.DEVNULL
        )
        meanwhile = run_wrk_while(
            refresh,
            url,
            REQUESTS,
            CONNECTIONS,
            {"PEOPLE": str(warehouse.people)},
            timeout_seconds=TIMEOUT_SECONDS,
        )
    if refresh.returncode:
        sys.exit("the refresh failed")
    figures = f"{meanwhile.p99_ms:>10.1f} of {quiet.p99_ms:.1f}"
    print(f"{'HTTP, while a refresh runs: p99, ms':<52}{figures}")
    print(f"{'  the slowest answer, ms':<52}{meanwhile.slowest_ms:>10.1f}")
    say("  of the quiet p99", meanwhile.p99_ms / quiet.p99_ms, 3, at_most=True)


def pgbench(warehouse: Warehouse, effort: Effort, *scripts: str) -> list[float]:
    """Transactions per second of each script, the best of some rounds taken in turn."""
    rates: dict[str, list[float]] = {script: [] for script in scripts}
    # As the service sets it for its connections.
    variables = os.environ | {"PGOPTIONS": "-c plan_cache_mode=force_generic_plan -c jit=off"}
    command = [str(find_program("pgbench")), "--no-vacuum", "--protocol=prepared", "--jobs=2"]
    command += [f"--client={CLIENTS}", f"--time={effort.seconds}", "--file=-"]
    for _round in range(effort.rounds):
        for script, taken in rates.items():
            report = subprocess.run(
                [*command, f"--define=people={warehouse.people}", warehouse.url],
                env=variables,
                input=script,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            ).stdout
            found = re.search(r"tps = ([\d.]+)", report)
            assert found, report
            taken.append(float(found.group(1)))
    return [max(taken) for taken in rates.values()]


def wrk(
    url: str, warehouse: Warehouse, seconds: int, connections: int = CONNECTIONS, **asking: str
) -> Measured:
    """Ask about random people of the warehouse, or as `asking` says."""
    variables = {"PEOPLE": str(warehouse.people)} | asking
    return run_wrk(url, REQUESTS, seconds, connections, variables, timeout_seconds=TIMEOUT_SECONDS)


def warm_up(url: str, warehouse: Warehouse) -> None:
    """Have every connection prepare its statements, and what is asked for be in memory.

    The first answers after other work are read from the disk and may run into the timeout.
    """
    for attempt in range(1, WARM_UPS + 1):
        try:
            wrk(url, warehouse, WARM_UP_SECONDS)
        except LoadError:
            if attempt == WARM_UPS:
                raise
        else:
            break
    wrk(url, warehouse, WARM_UP_SECONDS, ASK="primary_key")


def serving(database: str) -> contextlib.AbstractContextManager[str]:
    """Run the read side; yields its address once it answers."""
    port = free_port()
    command = ["-m", "uvicorn", "--factory", "benchmarks.decide.service:create"]
    command += ["--port", str(port), "--loop", "uvloop", "--no-access-log"]
    command += ["--no-server-header", "--log-level", "error"]
    variables = {"DATABASE_URL": database, "CDP_RATE_LIMIT_REQUESTS": "0"}
    return running(command, port, PROJECT_DIR, variables)


def say(what: str, figure: float, target: float | None, *, at_most: bool = False) -> None:
    if target is None:
        print(f"{what:<52}{figure:>10.2f}", flush=True)
        return
    is_met = figure <= target if at_most else figure >= target
    bound = f"{'at most' if at_most else 'at least'} {target:g}"
    print(f"{what:<52}{figure:>10.2f} ({bound}) {'ok' if is_met else 'MISSED'}", flush=True)


if __name__ == "__main__":
    main()
