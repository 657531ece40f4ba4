"""First paint of every page of the console, on a large warehouse against an empty one.

    python -m benchmarks.console.run [--profiles 1000000] [--events 5000000]

A small warehouse is built by dbt, so that every table and index is the real one; then rows are
added in the database. First paint is Chromium's first contentful paint, from the click on; the page
to sign in, which reads nothing, is what it is compared with.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import psycopg
from playwright.sync_api import Browser

from cdp.database import migrate
from cdp.postgres import EmbeddedPostgres
from tests.collect.browser import chromium
from tests.console.platform import events, running_platform
from tests.warehouse import build, land

ROUNDS = 5
TARGET_MS = 1000
AUDIENCE = "high_value_last_30_days"
PAGES = {
    "sign in": "/console/login",
    "checkout": "/",
    "profiles": "/console/profiles",
    "profiles, a search": "/console/profiles?q=nobody",
    "audiences": "/console/audiences",
    "one audience": f"/console/audiences/{AUDIENCE}",
    "new audience": "/console/define",
    "pipeline": "/console/pipeline",
}
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint').map(each => each.startTime)"

ROWS = (
    """
insert into unify.profiles
    (profile_id, primary_identifier, email, user_id, traits, first_seen_at, last_seen_at,
     last_event_at, total_orders, total_spend, orders_30d, spend_30d, visit_count, visits_30d)
select
    md5('p' || number)::uuid, 'user-' || number, 'user-' || number || '@example.org',
    'user-' || number, '{"plan": "gold"}', now() - interval '300 days',
    now() - number * interval '7 seconds', now() - number * interval '7 seconds',
    number % 12, number % 1000, number % 3, number % 300, number % 40, number % 6
from generate_series(1, {profiles}) as number
""",
    """
insert into unify.events
    (event_id, message_id, profile_id, user_id, event_type, type, source, properties, context,
     occurred_at, received_at)
select
    md5('e' || number)::uuid, 'e' || number, md5('p' || (1 + number % {profiles}))::uuid,
    'user-' || (1 + number % {profiles}), 'Product Viewed', 'track', 'benchmark',
    '{"price": 20}', '{}', now() - number * interval '3 seconds', now()
from generate_series(1, {events}) as number
""",
    """
insert into segment.audience_changes
    (audience_id, profile_id, change_number, change, changed_at, added_at, definition_version,
     reason)
select
    (select audience_id from segment.audiences where audience_key = '{audience}'),
    md5('p' || number)::uuid, 1, 'entered', now(), now(), 1, 'events'
from generate_series(1, {profiles}) as number
""",
    """
insert into segment.audience_builds
    (audience_id, built_at, definition_version, is_enabled, member_count, entered_count,
     exited_count)
select audience_id, now() - number * interval '15 minutes', 1, true, number, 1, 0
from segment.audiences cross join generate_series(1, {profiles} / 100) as number
""",
    """
insert into raw.rejected_events
    (received_at, source, path, code, message, body, body_encoding)
select now(), 'benchmark', '/track', 'code_' || number % 5, 'a reason', '{}', 'utf-8'
from generate_series(1, {profiles} / 5) as number
""",
    """
insert into activate.deliveries (destination, audience_id, rows, status, started_at, finished_at)
select 'csv', number % 10, number, 'succeeded', now() - number * interval '1 minute', now()
from generate_series(1, {profiles} / 5) as number
""",
    """
insert into activate.delivery_rows (
    destination, audience_id, profile_id, change, sent, message_id, delivery_id, as_of, status
)
select
    'crm', number % 10, md5('p' || number)::uuid, 'entered', '{}', 'msg_' || number / 100,
    gen_random_uuid(), now(), case when number % 3 = 0 then 'dead' else 'pending' end
from generate_series(1, {profiles} / 5) as number
""",
    """
insert into raw.events (message_id, type, occurred_at, received_at, source, payload)
select 'pending-' || number, 'page', now(), now(), 'benchmark', '{}'
from generate_series(1, {profiles} / 10) as number
""",
)


def main() -> None:
    """Print one line per page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=5_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedPostgres(Path(folder))
        server.start()
        try:
            url = server.url()
            migrate(url)
            with psycopg.connect(url) as connection:
                land(connection, events())
            build(url)
            small = measured(url, Path(folder))
            enlarge(url, arguments.profiles, arguments.events)
            large = measured(url, Path(folder))
        finally:
            server.stop()
    print(f"{arguments.profiles:,} profiles and {arguments.events:,} events, first paint:")
    for name, taken in large.items():
        verdict = "ok" if taken <= TARGET_MS else "MISSED"
        print(
            f"{name:20} {taken:6.0f} ms (target {TARGET_MS}) {verdict}; "
            f"{taken / small[name]:.1f} of the small one, {taken / large['sign in']:.1f} of sign in"
        )


def enlarge(url: str, profiles: int, event_count: int) -> None:
    sizes = {"profiles": str(profiles), "events": str(event_count), "audience": AUDIENCE}
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in ROWS:
            for name, value in sizes.items():
                statement = statement.replace(f"{{{name}}}", value)  # noqa: PLW2901
            connection.execute(statement.encode())
        connection.execute("vacuum analyze")


def measured(url: str, home: Path) -> dict[str, float]:
    """Milliseconds to the first paint of each page, the median of some rounds."""
    with running_platform(url, home, dagster_port=1) as service, chromium() as browser:
        return {name: first_paint(browser, service.url + path) for name, path in PAGES.items()}


def first_paint(browser: Browser, address: str) -> float:
    taken: list[float] = []
    for _round in range(ROUNDS + 1):
        with browser.new_context() as viewer:
            page = viewer.new_page()
            page.goto(address)
            taken += page.evaluate(FIRST_PAINT)
    return statistics.median(taken[1:])


if __name__ == "__main__":
    main()
