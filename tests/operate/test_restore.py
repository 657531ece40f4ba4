"""PostgreSQL 15 as the database, owned by no superuser; its dump goes on in another cluster."""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cdp.database import start_database
from cdp.postgres import EmbeddedPostgres
from cdp.settings import Settings
from cdp.write_keys import create_key
from dagster_project.landed import landed_since_watermark
from dagster_project.run import refresh
from tests.collect.service import running
from tests.conftest import FAST
from tests.operate.conftest import Platform
from tests.unify.conftest import UNIFY
from tests.warehouse import build, land

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
pytestmark = [
    pytest.mark.xdist_group("restore"),
    pytest.mark.skipif(
        not (PROGRAMS / "postgres").exists(),
        reason="PostgreSQL 15's server programs are missing (apt-get install postgresql-15)",
    ),
]
PROFILES = "select * from unify.profiles order by profile_id"
MEMBERS = "select * from segment.audience_members order by audience_id, profile_id"
# Every column that holds a transaction id, as itself or as a number, by its type or its name. Where
# a row names its cluster beside it, the id of another one is known to say nothing.
TRANSACTION_IDS = r"""
select
    columns.table_schema || '.' || columns.table_name as table,
    columns.column_name as column,
    columns.udt_name = 'xid8' as is_stored_as_itself,
    exists (
        select from information_schema.columns as others
        where (others.table_schema, others.table_name)
            = (columns.table_schema, columns.table_name)
            and others.column_name = 'system_identifier'
    ) as names_its_cluster
from information_schema.columns
inner join information_schema.tables using (table_schema, table_name)
where tables.table_type = 'BASE TABLE'
    and columns.table_schema
        in ('raw', 'collect', 'unify', 'segment', 'activate', 'decide')
    and (
        columns.udt_name = 'xid8'
        or (
            columns.udt_name in ('int8', 'numeric')
            and columns.column_name ~ '^(run|xid|.*_(xid|in))$'
        )
    )
    and columns.table_name !~ '_[0-9]{8}$'
order by 1, 2
"""
OF_THIS_CLUSTER = " where system_identifier = (select system_identifier from pg_control_system())"
# One row of each table that holds such an id and that nothing else in this module writes.
HOLDING_IDS = """
insert into raw.rejected_events
    (received_at, source, path, code, message, body, body_encoding)
values (now(), 'shop', '/track', 'no_type', 'No type.', '{}', 'utf-8');
insert into activate.warehouse_exports
    (table_name, row_count, exported_at, exported_xid, system_identifier)
select 'project.cdp.events', 1, now(), pg_current_xact_id(), system_identifier
from pg_control_system();
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL 15 with a database for an owner who may create roles, and nothing else."""
    postgres = EmbeddedPostgres(tmp_path_factory.mktemp("pg15"), settings=FAST, programs=PROGRAMS)
    postgres.start()
    try:
        with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
            connection.execute("create role owner login createrole")
            connection.execute("create database shop owner owner")
        yield postgres
    finally:
        postgres.stop()


@pytest.fixture(scope="module")
def platform(server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """Migrated, with a write key, events over HTTP, and two refreshes."""
    url = make_conninfo(server.url("shop", "owner"))
    settings = Settings(home=tmp_path_factory.mktemp("home"), DATABASE_URL=url)
    start_database(settings)
    platform = Platform(settings)
    send(url, [page("ann-phone"), order("o1", 500, userId="ann")])
    build(url, command="build", exclude="test_type:data")
    send(url, [page("ann-phone", userId="ann")])
    result = refresh(settings)
    assert result.success, result.message
    return platform


def page(browser: str, **more: Any) -> dict[str, Any]:
    return {"type": "page", "anonymousId": browser, **more}


def order(order_id: str, total: int, **more: Any) -> dict[str, Any]:
    properties = {"order_id": order_id, "total": total}
    return {"type": "track", "event": "Order Completed", "properties": properties, **more}


def send(url: str, batch: list[dict[str, Any]]) -> None:
    with running(url) as service:
        assert service.post("/v1/batch", {"batch": batch}).json()["accepted"] == len(batch)


def test_it_collects_and_refreshes(platform: Platform) -> None:
    assert platform.value("show server_version_num").startswith("15")
    [profile] = platform.rows(PROFILES)
    assert (profile["user_id"], profile["total_spend"]) == ("ann", 500)
    kinds = platform.rows("select kind from unify.profile_changes")
    assert kinds == [{"kind": "merge"}]
    assert "ann" in (platform.settings.exports / "high_value_last_30_days.csv").read_text()


def test_a_dump_goes_on_in_another_cluster_and_loses_and_repeats_nothing(
    platform: Platform, server: EmbeddedPostgres, tmp_path: Path
) -> None:
    with psycopg.connect(platform.url, autocommit=True) as connection:
        # So that what it holds has ids which the new cluster will not reach for long.
        connection.execute(
            "do $$ begin for i in 1..20000 loop perform pg_current_xact_id(); commit; end loop;"
            " end $$"
        )
        create_key(connection, "shop")
    send_with_key(platform.url, [page("zoe-phone")])
    build(platform.url, command="run")
    # Landed, and not refreshed when the dump is made; one of them long after it was received.
    send_with_key(platform.url, [order("o2", 40, userId="ann")])
    with psycopg.connect(platform.url) as connection:
        land(connection, [page("ann-phone")], received_at=datetime.now(UTC) - timedelta(days=9))
        connection.execute(HOLDING_IDS)
    for each in platform.rows(TRANSACTION_IDS):
        if each["is_stored_as_itself"]:
            assert platform.value(f"select count(*) from {each['table']}"), f"{each} has no row"
    dump = tmp_path / "cdp.dump"
    subprocess.run(
        [PROGRAMS / "pg_dump", "--format=custom", f"--file={dump}", platform.url], check=True
    )

    other = EmbeddedPostgres(tmp_path / "pg", settings=FAST)
    other.start()
    try:
        with psycopg.connect(other.url("postgres"), autocommit=True) as connection:
            for role in ("owner", "cdp_ingest", "cdp_serving"):
                connection.execute(f"create role {role} login createrole")
            connection.execute("grant cdp_ingest, cdp_serving to owner")
            connection.execute("create database shop owner owner")
        url = make_conninfo(other.url("shop", "owner"))
        subprocess.run(
            [PROGRAMS / "pg_restore", "--no-owner", "--exit-on-error", "--dbname", url, dump],
            check=True,
        )
        restored = Platform(Settings(home=tmp_path / "home", DATABASE_URL=url))
        members = platform.rows(MEMBERS)
        # The service may be up before anything else is.
        send_with_key(url, [page("ann-tablet", userId="ann")])

        result = refresh(restored.settings)

        assert result.success, result.message
        spend = "select user_id, total_orders, total_spend from unify.profiles order by user_id"
        assert restored.rows(spend) == [
            {"user_id": "ann", "total_orders": 2, "total_spend": 540},
            {"user_id": None, "total_orders": 0, "total_spend": 0},
        ]
        assert restored.value("select count(*) from unify.events") == 7
        assert ids_of_the_future(restored) == []
        assert restored.rows(MEMBERS) == members, "added_at has to survive"
        with psycopg.connect(url) as connection:
            assert landed_since_watermark(connection).count == 0
        send_with_key(url, [order("o3", 60, userId="ann")])
        build(url, command="run")
        assert restored.value("select max(total_spend) from unify.profiles") == 600
        assert restored.value("select count(*) from unify.events") == 8
        merged = "select old_profile_id, profile_id, kind from unify.profile_changes"
        assert restored.rows(merged) == platform.rows(merged), "old ids keep resolving"
        incremental = restored.rows(PROFILES)
        build(url, select=UNIFY, command="run", full_refresh=True)
        assert restored.rows(PROFILES) == incremental
    finally:
        other.stop()


def ids_of_the_future(restored: Platform) -> list[tuple[str, int]]:
    """Columns in which an id stands that no transaction of this cluster has had yet."""
    reached = restored.value("select pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
    found = []
    for each in restored.rows(TRANSACTION_IDS):
        query = f"select max({each['column']}::text::numeric) from {each['table']}"
        last = restored.value(query + (OF_THIS_CLUSTER if each["names_its_cluster"] else ""))
        if last is not None and last > reached:
            found.append((f"{each['table']}.{each['column']}", last))
    return found


def send_with_key(url: str, batch: list[dict[str, Any]]) -> None:
    """The same, with a key made for it: on the restored database the old keys are in force."""
    with psycopg.connect(url) as connection:
        key = create_key(connection, "shop")
    with running(url) as service:
        answer = service.post("/v1/batch", {"batch": batch}, headers={"X-Write-Key": key})
        assert answer.json()["accepted"] == len(batch)
