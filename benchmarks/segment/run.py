"""Speed of audiences, as ratios within one run on one machine.

    .venv/bin/python benchmarks/segment/run.py [--profiles 1000000] [--events 5000000]

Profiles and events are made up in the database; the SQL is what the macros compile. Both sides of
a ratio write the same members into a table. Each is taken several times in turn and the best one
counts, so that other programs on the machine disturb less.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import psycopg

from cdp.audience_preview import preview_sql
from cdp.audience_rules import (
    CompiledAudience,
    audience_members_sql,
    compile_audiences,
    matching_audiences_sql,
)
from cdp.database import migrate
from cdp.postgres import EmbeddedPostgres

AS_OF = "timestamptz '2026-03-10T15:30:00Z'"
ROUNDS = 3
TARGETS = {"attributes": 0.6, "behaviour": 0.5, "compile seconds": 2.0}

PROFILES = f"""
create table unify.profiles as
select
    md5(number::text)::uuid as profile_id,
    'user-' || number as primary_identifier,
    'user-' || number || '@example.org' as email,
    'user-' || number as user_id,
    null::text as anonymous_id,
    null::text as phone,
    jsonb_build_object(
        'plan', (array['free', 'gold', 'platinum'])[1 + number % 3], 'age', number % 90
    ) as traits,
    {AS_OF} - interval '400 days' as first_seen_at,
    {AS_OF} - make_interval(hours => (number % 2400)::integer) as last_seen_at,
    {AS_OF} - make_interval(hours => (number % 2400)::integer) as last_event_at,
    number % 12 as total_orders,
    (number::bigint * 7919 % 100000 / 100.0)::numeric as total_spend,
    number % 3 as orders_30d,
    (number::bigint * 7919 % 10000 / 100.0)::numeric as spend_30d,
    number % 40 as visit_count,
    number % 6 as visits_30d,
    (number % 5000 / 100.0)::numeric as average_order_value,
    {AS_OF} - interval '300 days' as first_order_at,
    {AS_OF} - make_interval(days => (number % 200)::integer) as last_order_at
from generate_series(1, %s) as number
"""
EVENTS = f"""
create table unify.events as
select
    md5((1 + number * 31 %% %s)::text)::uuid as profile_id,
    (array['Product Viewed', 'Order Completed', 'Page Viewed', 'Cart Viewed'])[1 + number %% 4]
        as event_type,
    jsonb_build_object('category', 'c' || number %% 10, 'price', number %% 300) as properties,
    jsonb_build_object('channel', 'web') as context,
    {AS_OF} - make_interval(mins => (number %% 86400)::integer) as occurred_at
from generate_series(1, %s) as number
"""
ATTRIBUTES = {
    f"attribute_{number}": {
        "total_spend": {"$gte": 950 + number},
        "last_event_at": {"$within_days": 10 + number},
        "$or": [{"traits.plan": "gold"}, {"total_orders": {"$gt": number % 12}}],
    }
    for number in range(20)
}
BEHAVIOUR = {
    f"behaviour_{number}": {
        "$event": {
            "name": ["Product Viewed", "Order Completed"][number % 2],
            "where": {"properties.category": f"c{number}"},
            "within_days": 30,
            "count": {"$gte": 2},
        }
    }
    for number in range(10)
}


def main() -> None:
    """Run everything and print one line per figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=5_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedPostgres(Path(folder))
        server.start()
        try:
            measure(server.url(), arguments.profiles, arguments.events)
        finally:
            server.stop()


def measure(url: str, profiles: int, events: int) -> None:
    migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            PROFILES.encode().replace(b"%s", str(profiles).encode()).replace(b"%%", b"%")
        )
        connection.execute(EVENTS.encode(), [profiles, events])
        connection.execute("create unique index on unify.profiles (profile_id)")
        connection.execute("create table members (audience_id bigint, profile_id uuid)")
        connection.execute("vacuum analyze unify.profiles, unify.events")
        for name, rules in (("attributes", ATTRIBUTES), ("behaviour", BEHAVIOUR)):
            compare(connection, name, compiled(rules))
        compile_time()
        preview_time(connection)


def compiled(rules: Mapping[str, object]) -> list[CompiledAudience]:
    texts = {key: json.dumps(rule) for key, rule in rules.items()}
    return list(compile_audiences(texts, AS_OF).values())


def compare(
    connection: psycopg.Connection[tuple[object, ...]], name: str, audiences: list[CompiledAudience]
) -> None:
    """One scan for all against one `insert ... select` for each."""
    together = (
        "insert into members select audience_id, profile_id from ("
        + matching_audiences_sql(dict(enumerate(audiences)), AS_OF)
        + ") as matched cross join unnest(audience_ids) as audience_id"
    )
    apart = [
        f"insert into members select {number}, profile_id from ("
        + audience_members_sql(audience, AS_OF)
        + ") as found"
        for number, audience in enumerate(audiences)
    ]
    one: list[float] = []
    each: list[float] = []
    counts = set()
    for _round in range(ROUNDS):
        for taken, statements in ((one, [together]), (each, apart)):
            connection.execute("truncate members")
            taken.append(seconds(partial(run, connection, statements)))
            counts.add(connection.execute("select count(*) from members").fetchone())
    assert len(counts) == 1, counts
    what = f"{name}: {len(audiences)} audiences"
    what += f", one pass {min(one):.2f} s, one by one {min(each):.2f} s"
    say(what, min(one) / min(each), TARGETS[name])


def run(connection: psycopg.Connection[tuple[object, ...]], statements: list[str]) -> None:
    for statement in statements:
        connection.execute(statement.encode())


def compile_time() -> None:
    rules = {
        f"audience_{number}": rule
        for number, rule in enumerate([*ATTRIBUTES.values(), *BEHAVIOUR.values()] * 7)
        if number < 200
    }
    taken = min(seconds(partial(compiled, rules)) for _round in range(ROUNDS))
    say(
        f"compile seconds: {len(rules)} audiences in plain Jinja", taken, TARGETS["compile seconds"]
    )


def preview_time(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    connection.execute(f"create table decide.watermark as select {AS_OF} as as_of")
    connection.execute(
        "create table segment.audiences as select audience_id, 'a' || audience_id as audience_key,"
        " count(*) as member_count, true as is_enabled from members group by audience_id"
    )
    connection.execute("create table segment.audience_members as select * from members")
    for name, rules in (("attribute", ATTRIBUTES), ("behavioural", BEHAVIOUR)):
        audience = compiled(rules)[0]
        statement = preview_sql(audience).encode()
        taken = min(seconds(partial(connection.execute, statement)) for _round in range(ROUNDS))
        print(f"preview of one {name} audience: {taken:.2f} s")


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def say(what: str, figure: float, target: float) -> None:
    verdict = "ok" if figure <= target else "MISSED"
    print(f"{what}: {figure:.2f} (target at most {target}) {verdict}", flush=True)


if __name__ == "__main__":
    main()
