"""What a refresh after 10,000 events costs the audiences, beside evaluating all for everybody.

    python -m benchmarks.segment.incremental [--profiles 1000000] [--events 5000000]

200 audiences, 20 of them behavioural. The tables of unify are made up; the stage segment is what
dbt makes of it, and its whole run is timed, dbt's own seconds included on both sides.
"""

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path

import psycopg

from benchmarks.segment.run import ATTRIBUTES, EVENTS, PROFILES, say, seconds
from cdp.database import dbt_environment, migrate
from cdp.postgres import EmbeddedPostgres
from dagster_project.dbt_manifest import DBT_PROJECT_DIR
from dagster_project.dbt_process import stream_dbt

TARGET = 0.2
NEW_EVENTS = 10_000
WITHOUT_TESTS = ["--exclude-resource-type", "test", "unit_test"]
LATER = "timestamptz '2026-03-10T15:45:00Z'"

DEFINITIONS = {
    f"attribute_{number}": ATTRIBUTES[f"attribute_{number % 20}"]
    | {"total_spend": {"$gte": 900 + number % 90}}
    for number in range(180)
} | {
    f"behaviour_{number}": {
        "$event": {
            "name": ["Product Viewed", "Order Completed"][number % 2],
            "where": {"properties.category": f"c{number % 10}"},
            "within_days": 7 + number,
            "count": {"$gte": 2 + number // 10},
        }
    }
    for number in range(20)
}
# What collect and unify leave for the stage. xid 100 is published, 200 is this run's bound.
REST = """
alter table unify.events add column event_id uuid;
update unify.events set event_id = md5(ctid::text || event_type)::uuid;
alter table unify.profiles add primary key (profile_id);
create index on unify.profiles (last_event_at);
create unique index on unify.events (event_id);
create index on unify.events (profile_id, occurred_at);
create index on unify.events (event_type, occurred_at);
create table collect.stg_events (event_id uuid, xid bigint);
create index on collect.stg_events (xid);
create table unify.profile_changes (run bigint, old_profile_id uuid, profile_id uuid);
create table unify.int_profiles__touched (profile_id uuid, touched_in bigint);
create table collect.refresh_window (
    from_xid bigint, to_xid bigint, run bigint, published_xid bigint, published_run bigint,
    has_new_identity_rules boolean,
    published_as_of timestamptz, published_on date, as_of_on date, rules_digest text,
    identity_rules_digest text, system_identifier bigint, as_of timestamptz
);
insert into collect.refresh_window
values (0, 100, 100, 0, 0, true, null, null, '2026-03-10', '', '', 0, '2026-03-10T15:30:00Z');
"""
LANDED = f"""
create temporary table landed as
select profile_id, md5('new' || profile_id)::uuid as event_id
from unify.profiles order by md5(profile_id::text) limit {NEW_EVENTS};
insert into unify.events (event_id, profile_id, event_type, properties, context, occurred_at)
select event_id, profile_id, 'Order Completed', '{{"category": "c1", "price": 5}}', '{{}}',
    timestamptz '2026-03-10T15:40:00Z'
from landed;
insert into collect.stg_events select event_id, 150 from landed;
update unify.profiles
set total_spend = total_spend + 5, total_orders = total_orders + 1,
    last_event_at = timestamptz '2026-03-10T15:40:00Z'
where profile_id in (select profile_id from landed);
insert into unify.int_profiles__touched select profile_id, 200 from landed;
update collect.refresh_window set
    from_xid = 100, to_xid = 200, run = 200, published_xid = 100, published_run = 100,
    published_as_of = as_of, published_on = '2026-03-10', as_of = {LATER};
"""
# dbt dated the first run by its own start; the data lives at another time.
DATED = """
update segment.audience_changes set changed_at = '2026-03-10T15:30:00Z';
update segment.audience_builds set built_at = '2026-03-10T15:30:00Z';
"""
EVERYTHING = "update collect.refresh_window set from_xid = 0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=5_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedPostgres(Path(folder) / "pg")
        server.start()
        try:
            measure(server.url(), Path(folder) / "dbt", arguments.profiles, arguments.events)
        finally:
            server.stop()


def measure(url: str, target_dir: Path, profiles: int, events: int) -> None:
    migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        made = PROFILES.replace("%s", str(profiles)).replace("%%", "%")
        connection.execute(made.encode())
        connection.execute(EVENTS.encode(), [profiles, events])
        connection.execute(REST.encode())
        with connection.cursor() as cursor:
            cursor.executemany(
                "insert into raw.audience_definitions (audience_key, name, definition, is_enabled)"
                " values (%s, %s, %s, true)",
                [[key, key, json.dumps(rule)] for key, rule in DEFINITIONS.items()],
            )
        connection.execute("vacuum analyze")
        run = partial(segment, url, target_dir)
        run()
        print(f"members: {count(connection, 'segment.audience_members'):,}")
        connection.execute(DATED.encode())
        connection.execute(LANDED.encode())
        connection.execute("vacuum analyze")
        incremental = seconds(run)
        moved = count(connection, "segment.audience_changes where reason in ('events', 'time')")
        looked_at = count(connection, "segment.int_profiles__reconsidered")
        connection.execute(EVERYTHING.encode())
        everything = seconds(run)
        left = count(connection, "segment.audience_changes where reason in ('events', 'time')")
        # The full evaluation finds nothing that the incremental one has missed.
        assert left == moved, (moved, left)
    print(f"{looked_at:,} profiles looked at, {moved:,} changes")
    what = f"incremental {incremental:.1f} s, everybody {everything:.1f} s"
    say(f"{len(DEFINITIONS)} audiences, {what}", incremental / everything, TARGET)


def segment(url: str, target_dir: Path) -> None:
    """Build the stage. Raises SystemExit with what dbt says of a node that failed."""
    results = stream_dbt(
        ["build", "--select", "audiences", "models/segment", *WITHOUT_TESTS],
        project_dir=DBT_PROJECT_DIR,
        target_dir=target_dir,
        environment=dbt_environment(url),
    )
    failed = [f"{each.name}: {each.message}" for each in results if each.failed]
    if failed:
        raise SystemExit("\n".join(failed))


def count(connection: psycopg.Connection[tuple[object, ...]], table: str) -> int:
    row = connection.execute(f"select count(*) from {table}".encode()).fetchone()
    return int(str(row[0])) if row else 0


if __name__ == "__main__":
    main()
