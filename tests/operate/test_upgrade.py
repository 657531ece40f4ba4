"""A database of an earlier version, upgraded: what it holds stays, it refreshes like a new one."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import alembic.command
import alembic.config
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cdp.database import MIGRATIONS, migrate
from cdp.doctor import examine
from cdp.postgres import EmbeddedPostgres
from cdp.rebase import rebase_restored
from cdp.replay import replay_rejected
from cdp.settings import Settings
from cdp.write_keys import create_key
from tests.collect.service import running
from tests.conftest import fresh_database
from tests.unify.test_incremental import History, assert_equal, snapshot
from tests.warehouse import build

# Before deliveries in delta mode, erasure, access tokens and the live overlay.
EARLIER = "0003"
HELD = """
insert into raw.rejected_events
    (received_at, source, path, code, message, body, body_encoding)
values
    (now(), 'web', '/track', 'too_strict', 'Accepted by now.',
    '{"event_type": "Signed Up", "user_id": "late"}', 'utf-8');
insert into raw.landings (received_on, source, received_count, accepted_count, rejected_count)
values ((now() at time zone 'UTC')::date, 'web', 1, 0, 1);
insert into raw.audience_definitions (audience_key, name, definition, is_enabled)
values ('buyers', 'Buyers', '{"min_total_orders": 1}', true);
insert into decide.decisions
    (decision_id, experience, rule_key, audience_keys, context, rule_version, decided_at)
values (gen_random_uuid(), 'premium', 'rule', '{vip}', '{}', 'v1', now());
insert into activate.deliveries (destination, audience_id, status, rows)
values ('csv', 1, 'succeeded', 7);
"""
LACKED = {
    "decide.watermark": ["run"],
    "decide.profiles": ["email", "last_seen_at", "total_spend", "total_orders", "traits"],
    "collect.refresh_window": [
        "run",
        "published_run",
        "has_new_rules",
        "has_new_identity_rules",
    ],
}
DIFFERENT_IN_THE_STORE = """
select published.profile_id
from unify.profiles full join decide.profiles as published using (profile_id)
where
    (profiles.email, profiles.last_seen_at, profiles.total_spend, profiles.total_orders)
    is distinct from
    (published.email, published.last_seen_at, published.total_spend, published.total_orders)
    or profiles.traits is distinct from published.traits
"""
MEMBERS = """
select audience_key, profile_id
from segment.audience_members inner join segment.audiences using (audience_id)
order by audience_key, profile_id
"""


def land_history(url: str) -> datetime:
    """The same events for every database; returns the instant to refresh at."""
    history = History(url, seed=31)
    for _batch in range(3):
        now = history.go_on()
    return now


@pytest.fixture(scope="module")
def key_and_url(cluster: EmbeddedPostgres) -> Iterator[tuple[str, str]]:
    """A write key and a database, both made by the earlier version, migrated to this one."""
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        connection.execute("create database upgraded")
    url = make_conninfo(cluster.url("upgraded"))
    config = alembic.config.Config(attributes={"url": url})
    config.set_main_option("script_location", str(MIGRATIONS))
    alembic.command.upgrade(config, EARLIER)
    land_history(url)
    with psycopg.connect(url) as connection:
        key = create_key(connection, "web")
        connection.execute(HELD)
    migrate(url)
    yield key, url
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        connection.execute("drop database upgraded with (force)")


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def test_it_refreshes_as_a_fresh_one_does(
    key_and_url: tuple[str, str], cluster: EmbeddedPostgres
) -> None:
    _key, upgraded = key_and_url
    with fresh_database(cluster) as fresh:
        now = land_history(fresh)
        with psycopg.connect(fresh) as connection:
            connection.execute(HELD)
        for url in (fresh, upgraded):
            build(url, as_of=now, exclude="test_type:data")
        assert_equal(snapshot(upgraded), snapshot(fresh))
        members = rows(upgraded, MEMBERS)
        assert ("buyers",) in {row[:1] for row in members}
        assert members == rows(fresh, MEMBERS)


def test_what_it_held_is_still_there_and_in_force(key_and_url: tuple[str, str]) -> None:
    key, url = key_and_url
    assert rows(url, "select status, rows, mode from activate.deliveries") == [
        ("succeeded", 7, None)
    ]
    decision = "select experience, is_holdout, subject_id, holdout_percent from decide.decisions"
    assert rows(url, decision) == [("premium", False, None, None)]
    event = {"type": "page", "userId": "ann"}
    with running(url) as service:
        answer = service.post("/v1/batch", {"batch": [event]}, headers={"X-Write-Key": key})
        assert answer.json()["accepted"] == 1
        assert service.post("/v1/batch", {"batch": [event]}).status_code == 401
    assert replay_rejected(url, Settings(DATABASE_URL=url)).replayed == 1
    found = {each.subject: each.level for each in examine(Settings(DATABASE_URL=url))}
    assert {found[name] for name in ("schema", "role cdp_ingest", "role cdp_serving")} == {"ok"}


def test_a_refresh_goes_on_from_tables_that_lack_columns(cluster: EmbeddedPostgres) -> None:
    """As an earlier version left them, whose last run did not end and was under other rules."""
    with fresh_database(cluster) as url:
        history = History(url, seed=32)
        build(url, as_of=history.go_on(), exclude="test_type:data")
        block = "insert into unify.blocked_identifiers values ('email', '.*', 'a test')"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(block)
            build(url, select="+int_identifiers__judged", as_of=history.go_on(), command="run")
            connection.execute("delete from unify.blocked_identifiers where reason = 'a test'")
            for table, columns in LACKED.items():
                for column in columns:
                    connection.execute(f"alter table {table} drop column {column}".encode())
        # The first run of this version does not end either.
        build(url, select="+int_identifiers__resolved", as_of=history.go_on(), command="run")
        now = history.go_on()
        build(url, as_of=now, command="run")
        assert rows(url, "select count(*) from unify.profiles") != [(0,)]
        assert rows(url, DIFFERENT_IN_THE_STORE) == []
        incremental = snapshot(url)
        build(url, as_of=now, command="run", full_refresh=True)
        assert_equal(incremental, snapshot(url))


def test_a_dump_of_an_earlier_version_is_rebased(cluster: EmbeddedPostgres) -> None:
    with fresh_database(cluster) as url:
        history = History(url, seed=33)
        now = history.go_on()
        build(url, as_of=now, exclude="test_type:data")
        before = rows(url, "select * from unify.profiles order by profile_id")
        with psycopg.connect(url) as connection:
            connection.execute("alter table decide.watermark drop column run")
            connection.execute("update decide.watermark set system_identifier = 1")
        rebase_restored(url)
        build(url, as_of=now, command="run")
        assert rows(url, "select * from unify.profiles order by profile_id") == before


def test_indexes_that_models_gained_since_are_made(key_and_url: tuple[str, str]) -> None:
    _key, url = key_and_url
    defined = (
        "select split_part(indexdef, ' ON ', 2), indexdef like '% UNIQUE %' from pg_indexes"
        " where schemaname = 'segment' and tablename = 'audience_changes' order by 1, 2"
    )
    build(url, select="+audience_changes", exclude="test_type:data")
    made_with_the_table = rows(url, defined)
    assert len(made_with_the_table) == 4
    with psycopg.connect(url) as connection:
        dropped = "select indexname from pg_indexes where indexdef like '%changes% (changed_at)'"
        for (name,) in connection.execute(dropped).fetchall():
            connection.execute(f'drop index segment."{name}"')
    assert len(rows(url, defined)) == 3
    for _run in range(2):
        build(url, select="audience_changes", command="run")
        assert rows(url, defined) == made_with_the_table


def test_what_later_runs_wrote_has_an_index_of_its_own_unless_all_rows_have_one(
    key_and_url: tuple[str, str],
) -> None:
    _key, url = key_and_url
    identity = "+int_identifiers__resolved"
    build(url, exclude="test_type:data")
    (first,) = indexes_of_moved_in(url)
    assert "WHERE (moved_in >" in first
    (run,) = rows(url, "select run from collect.refresh_window")[0]
    with psycopg.connect(url) as connection:
        connection.execute("set enable_seqscan = off")
        asked = f"explain select * from unify.int_identifiers__resolved where moved_in > {run}"
        assert "Index Scan" in str(connection.execute(asked).fetchall())
        # As an earlier version left it.
        name = first.split()[2]
        connection.execute(f"drop index unify.{name}")
        connection.execute("create index of_all on unify.int_identifiers__resolved (moved_in)")
    for _run in range(2):
        build(url, select=identity, exclude="test_type:data", command="run")
        (index,) = indexes_of_moved_in(url)
        assert "of_all" in index
    with psycopg.connect(url) as connection:
        connection.execute("drop index unify.of_all")
    for _run in range(2):
        build(url, select=identity, exclude="test_type:data", command="run")
        (index,) = indexes_of_moved_in(url)
        assert "WHERE (moved_in >" in index


def indexes_of_moved_in(url: str) -> list[str]:
    defined = (
        "select indexdef from pg_indexes where schemaname = 'unify'"
        " and tablename = 'int_identifiers__resolved' and indexdef like '%(moved_in)%'"
    )
    return [str(definition) for (definition,) in rows(url, defined)]
