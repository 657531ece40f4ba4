"""What BigQuery computed, back to PostgreSQL, where the services read it.

All tables change in one transaction, by deleting and inserting the rows that differ: a reader sees
the run before or this one and waits for nothing, and a publication that ends early changed nothing.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from google.cloud import bigquery
from psycopg import sql
from psycopg.types.json import Jsonb

from cdp.bigquery.connection import BigQueryError, connect, explained
from cdp.bigquery.raw_tables import dataset_name
from cdp.settings import Settings

COLUMNS = """
select attname, format_type(atttypid, atttypmod)
from pg_attribute
where attrelid = %s::regclass and attnum > 0 and not attisdropped
order by attnum
"""
# The columns of a unique index: they tell a row that changed from one that is new.
KEY = """
select array(
    select attname
    from pg_attribute
    where attrelid = pg_index.indrelid and attnum = any(pg_index.indkey)
    order by attnum
)
from pg_index
where indrelid = %s::regclass and indisunique and indpred is null and indexprs is null
order by indnkeyatts, indexrelid
limit 1
"""

FORGET_LANDINGS = "select raw.forget_landings(to_xid::text::xid8) from decide.watermark"


@dataclass(frozen=True)
class PublishedTable:
    """A table as dbt names it: the stage is the schema here and the end of the data set there."""

    stage: str
    name: str
    contract: tuple[tuple[str, str], ...] = field(default=(), compare=False, kw_only=True)
    """The columns that a contract promises: names, and types as PostgreSQL calls them."""


@dataclass(frozen=True)
class Published:
    """Rows of a table, and how many of them were written because they differed."""

    rows: int
    written: int


def missing_tables(database: str, tables: Sequence[PublishedTable]) -> list[PublishedTable]:
    """Those that PostgreSQL does not have yet."""
    with psycopg.connect(database) as connection:
        return [
            table
            for table in tables
            if connection.execute(
                "select to_regclass(%s)", [f"{table.stage}.{table.name}"]
            ).fetchone()
            == (None,)
        ]


def publish(
    settings: Settings,
    database: str,
    tables: Sequence[PublishedTable],
    *,
    client: bigquery.Client | None = None,
    on_table: Callable[[str, int, int], None] = lambda _name, _done, _total: None,
) -> dict[PublishedTable, Published]:
    """Bring these tables of `database` to what they are on BigQuery, all at once.

    They must stand in PostgreSQL; columns that their contract has gained are added. Call it under
    the lock of the refresh, so that dbt writes nothing meanwhile. Raises BigQueryError, and changes
    no row, when BigQuery refuses, when its last run did not end, or when a table has other columns
    there.
    """
    client = client or connect(settings)
    _require_complete_run(client, settings)
    published = {}
    with psycopg.connect(database) as connection:
        _add_columns(connection, tables)
        for number, table in enumerate(tables, start=1):
            published[table] = _publish(client, connection, settings, table)
            on_table(f"{table.stage}.{table.name}", number, len(tables))
        connection.execute(FORGET_LANDINGS)
    return published


def _require_complete_run(client: bigquery.Client, settings: Settings) -> None:
    begun = dataset_name(settings, "collect") + ".refresh_window"
    ended = dataset_name(settings, "decide") + ".watermark"
    with explained("read what the last run on BigQuery answers for"):
        [row] = client.query_and_wait(
            f"select (select run from `{begun}`) = (select run from `{ended}`) as is_complete"  # noqa: S608
        )
    if not row["is_complete"]:
        raise BigQueryError(
            "The last run of dbt on BigQuery did not end, so nothing was published. "
            "Run `cdp refresh` again."
        )


def _add_columns(connection: psycopg.Connection[Any], tables: Sequence[PublishedTable]) -> None:
    """Each table in a transaction of its own: readers are locked out of one at a time."""
    for table in tables:
        standing = dict(connection.execute(COLUMNS, [f"{table.stage}.{table.name}"]).fetchall())
        for name, data_type in table.contract:
            if name not in standing:
                connection.execute(
                    sql.SQL("alter table {} add column {} {}").format(
                        sql.Identifier(table.stage, table.name),
                        sql.Identifier(name),
                        sql.SQL(data_type),
                    )
                )
        connection.commit()


def _publish(
    client: bigquery.Client,
    connection: psycopg.Connection[Any],
    settings: Settings,
    table: PublishedTable,
) -> Published:
    source = f"{dataset_name(settings, table.stage)}.{table.name}"
    columns: dict[str, str] = dict(
        connection.execute(COLUMNS, [f"{table.stage}.{table.name}"]).fetchall()
    )
    with explained(f"read {source}"):
        standing = client.get_table(source)
        names = {field.name for field in standing.schema}
        if names != columns.keys():
            raise BigQueryError(
                f"{source} and {table.stage}.{table.name} in PostgreSQL have different columns: "
                f"{', '.join(sorted(names ^ columns.keys()))}. Nothing was published. Drop the one "
                "in PostgreSQL and run `cdp refresh` again; it is made anew."
            )
        try:
            rows = _fill_scratch(client, connection, standing, table, columns)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            # The database's own words would quote the row, which is somebody's.
            raise BigQueryError(
                f"{source} has a value that {table.stage}.{table.name} in PostgreSQL does not "
                f"take: {type(error).__name__}{_where(error)}. Nothing was published. If the types "
                "of a column differ, drop the table there; `cdp refresh --full` makes it anew."
            ) from None
    written = _apply_differences(connection, table, list(columns))
    return Published(rows, written)


def _where(error: psycopg.Error) -> str:
    """The column that an error speaks of, as far as it says."""
    named = error.diag.column_name or ""
    if not named and (found := re.search(r"column (\w+)", error.diag.context or "")):
        named = found[1]
    return f" in the column {named}" if named else ""


def _scratch(table: PublishedTable) -> sql.Identifier:
    return sql.Identifier("pg_temp", f"published_{table.stage}_{table.name}")


def _fill_scratch(
    client: bigquery.Client,
    connection: psycopg.Connection[Any],
    source: bigquery.Table,
    table: PublishedTable,
    columns: Mapping[str, str],
) -> int:
    connection.execute(
        sql.SQL("create temporary table {} (like {}) on commit drop").format(
            sql.Identifier(f"published_{table.stage}_{table.name}"),
            sql.Identifier(table.stage, table.name),
        )
    )
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    copied = 0
    with (
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("copy {} ({}) from stdin").format(_scratch(table), names)) as copy,
    ):
        for row in client.list_rows(source):
            copy.write_row([_to_postgres(row[name], columns[name]) for name in columns])
            copied += 1
    return copied


def _to_postgres(value: Any, data_type: str) -> Any:
    return Jsonb(value) if data_type == "jsonb" and value is not None else value


def _apply_differences(
    connection: psycopg.Connection[Any], table: PublishedTable, columns: list[str]
) -> int:
    target, scratch = sql.Identifier(table.stage, table.name), _scratch(table)
    found = connection.execute(KEY, [f"{table.stage}.{table.name}"]).fetchone()
    key = found[0] if found else columns
    same_key, same_row = (
        sql.SQL(" and ").join(
            sql.SQL("published.{0} is not distinct from standing.{0}").format(sql.Identifier(name))
            if name not in key or not found
            else sql.SQL("published.{0} = standing.{0}").format(sql.Identifier(name))
            for name in names
        )
        for names in (key, columns)
    )
    connection.execute(sql.SQL("analyze {}").format(scratch))
    deleted = connection.execute(
        sql.SQL(
            "delete from {} as standing where not exists (select from {} as published where {})"
        ).format(target, scratch, same_row)
    ).rowcount
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    inserted = connection.execute(
        sql.SQL(
            "insert into {} ({}) select {} from {} as published where not exists"
            " (select from {} as standing where {})"
        ).format(target, names, names, scratch, target, same_key)
    ).rowcount
    return max(deleted, inserted)
