"""Identity and profiles: a full refresh against one of 10,000 new events, on generated history.

    python benchmarks/unify/run.py [events, default 1000000]

The history has power-law activity, several devices per user, shared devices and chains. Everything
runs on a server of its own that is thrown away. What counts are the ratios within one run.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from cdp.database import migrate
from cdp.postgres import EmbeddedPostgres
from tests.warehouse import try_build

BATCH = 10_000
MODELS = "+path:models/unify +path:models/collect watermark"
IDENTITY = (
    "int_identifiers__carried_together",
    "int_identifiers__linked",
    "int_identifiers__judged",
    "int_identifiers__loose",
    "int_identifiers__grouped",
    "int_identifiers__contracted",
    "int_identifiers__resolved",
)

# One event per number: its user by a power law, one of the user's devices, logged in or not; every
# 200th number belongs to a shared device, every 500th to a chain of e-mails and devices.
EVENTS = """
insert into raw.events
    (message_id, type, event, user_id, anonymous_id, email,
     occurred_at, received_at, source, payload)
select
    'm' || number,
    kind,
    event,
    case when is_chain or not is_logged_in then null else 'user-' || person end,
    case
        when is_chain then 'chain-' || number / 50000 || '-' || (number / 500 %% 100 + 1) / 2
        when number %% 200 = 0 then 'kiosk-' || number %% 40
        else 'device-' || person || '-' || number %% device_count
    end,
    case
        when is_chain
            then 'chain-' || number / 50000 || '-' || number / 500 %% 100 / 2 || '@example.org'
        when is_logged_in and kind = 'identify' then 'person-' || person || '@example.org'
    end,
    %(start)s::timestamptz + number * interval '1 second',
    now(),
    'benchmark',
    jsonb_build_object('type', kind, 'properties', properties)
from (
    select
        number,
        person,
        number %% 500 = 0 as is_chain,
        1 + person %% 4 as device_count,
        (number * 7919 %% 10) < 6 as is_logged_in,
        case
            when number %% 500 = 0 or number %% 23 = 0 then 'identify'
            when number %% 7 < 5 then 'page'
            else 'track'
        end as kind,
        case
            when number %% 23 = 0 then null
            when number %% 7 = 5 then 'Product Viewed'
            when number %% 7 = 6 then 'Order Completed'
        end as event,
        case
            when number %% 7 = 6
                then jsonb_build_object('order_id', 'o' || number, 'total', number %% 300)
            else jsonb_build_object('path', '/p/' || number %% 5000, 'title', number %% 5000)
        end as properties
    from (
        select
            number,
            (%(people)s * power((number * 2654435761 %% 1000003)::float8 / 1000003, 3))::bigint
                as person
        from generate_series(%(first)s::bigint, %(last)s::bigint) as number
    ) as numbers
) as events
"""


def land(connection: psycopg.Connection[Any], first: int, last: int, people: int) -> None:
    connection.execute(
        EVENTS,
        {"first": first, "last": last, "people": people, "start": "2026-01-01T00:00:00Z"},
    )
    connection.execute(
        "insert into raw.landings"
        " (received_on, source, received_count, accepted_count, rejected_count)"
        " values ((now() at time zone 'UTC')::date, 'benchmark', %(events)s, %(events)s, 0)",
        {"events": last - first + 1},
    )


def refresh(url: str) -> tuple[float, dict[str, float]]:
    """Seconds of a run, and of each model in it."""
    began = time.perf_counter()
    result = try_build(url, select=MODELS, as_of="2026-03-01T00:00:00Z")
    if not result.success:
        failed = [each.message for each in result.result or [] if each.status == "error"]
        raise SystemExit(f"The run failed: {failed or result.exception}")
    parts = {each.node.name: each.execution_time for each in result.result}
    return time.perf_counter() - began, parts


def report(title: str, seconds: float, parts: dict[str, float]) -> None:
    identity = sum(parts[name] for name in IDENTITY)
    print(f"\n{title}: {seconds:.1f} s, identity {identity:.2f} s")
    for name, part in sorted(parts.items(), key=lambda item: -item[1])[:14]:
        print(f"    {part:7.2f}  {name}")


def main() -> None:
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory(prefix="cdp-benchmark-") as folder:
        server = EmbeddedPostgres(Path(folder) / "home")
        server.start()
        try:
            url = server.url()
            migrate(url)
            with psycopg.connect(url, autocommit=True) as connection:
                land(connection, 1, events, events // 10)
                connection.execute("analyze raw.events")
                full, parts = refresh(url)
                report(f"Full refresh of {events:,} events", full, parts)
                size = "select pg_size_pretty(pg_database_size(current_database()))"
                print(f"    database: {connection.execute(size).fetchone()}")
                for batch in range(3):
                    first = events + 1 + batch * BATCH
                    land(connection, first, first + BATCH - 1, events // 10)
                    seconds, parts = refresh(url)
                    report(f"{BATCH:,} new events ({seconds / full:.0%} of full)", seconds, parts)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
