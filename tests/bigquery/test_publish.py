"""What BigQuery computed reaches PostgreSQL whole, in small tables made by hand."""

import psycopg
import pytest
from google.cloud import bigquery

from cdp.bigquery.connection import BigQueryError, connect
from cdp.bigquery.publish import Published, PublishedTable, publish
from cdp.bigquery.raw_tables import create_datasets
from cdp.settings import Settings
from dagster_project.dbt_manifest import load_manifest
from dagster_project.published_tables import published_tables

SMALL = PublishedTable("unify", "small")


@pytest.fixture
def client(settings: Settings, database: str) -> bigquery.Client:
    """Both sides after a run that ended, with one table of two rows on BigQuery."""
    client = connect(settings)
    create_datasets(client, settings)
    prefix = settings.bigquery_dataset
    for table in ("collect.refresh_window", "decide.watermark"):
        client.query_and_wait(
            f"create table `{prefix}_{table}` as"
            " select 7 as to_xid, 7 as run, timestamp '2026-03-01T12:00:00Z' as as_of"
        )
    client.query_and_wait(
        f"create table `{prefix}_unify.small` as"
        " select 1 as id, 'one' as said union all select 2, 'two'"
    )
    with psycopg.connect(database) as connection:
        connection.execute("create table unify.small (id bigint primary key, said text not null)")
        connection.execute("insert into unify.small values (1, 'one'), (2, 'old'), (3, 'gone')")
        connection.execute("create table decide.watermark as select 7::bigint as to_xid")
    return client


def small(database: str) -> list[tuple[int, str]]:
    with psycopg.connect(database) as connection:
        return connection.execute("select id, said from unify.small order by id").fetchall()


def test_a_table_becomes_what_it_is_on_bigquery(
    settings: Settings, database: str, client: bigquery.Client
) -> None:
    for written in (2, 0):
        runs = publish(settings, database, [SMALL], client=client)
        assert runs == {SMALL: Published(rows=2, written=written)}
        assert small(database) == [(1, "one"), (2, "two")]


def test_a_column_that_a_contract_gained_is_added(
    settings: Settings, database: str, client: bigquery.Client
) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("alter table unify.small drop column said")
    grown = PublishedTable("unify", "small", contract=(("id", "bigint"), ("said", "text")))
    for written in (3, 0):
        published = publish(settings, database, [grown], client=client)
        assert published == {grown: Published(rows=2, written=written)}
        assert small(database) == [(1, "one"), (2, "two")]


def test_contracts_call_types_as_postgresql_does(database: str) -> None:
    contracts = {each: each.contract for each in published_tables(load_manifest())}
    assert ("run", "bigint") in contracts[PublishedTable("collect", "refresh_window")]
    with psycopg.connect(database) as connection:
        for data_type in {column[1] for contract in contracts.values() for column in contract}:
            connection.execute(f"select null::{data_type}".encode())


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("select 1 as id, cast(null as string) as said", "NotNullViolation in the column said"),
        ("select 'secret' as id, 'one' as said", "InvalidTextRepresentation in the column id"),
    ],
)
def test_a_value_that_does_not_fit_is_said_without_the_row(
    settings: Settings, database: str, client: bigquery.Client, rows: str, said: str
) -> None:
    table = f"`{settings.bigquery_dataset}_unify.small`"
    client.query_and_wait(f"create or replace table {table} as {rows}")

    with pytest.raises(BigQueryError, match=said) as caught:
        publish(settings, database, [SMALL], client=client)

    assert "secret" not in str(caught.value)
    assert small(database) == [(1, "one"), (2, "old"), (3, "gone")]
