"""The raw tables on BigQuery: the columns of PostgreSQL's, and a ledger of what was loaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from google.api_core import exceptions
from google.cloud import bigquery

from cdp.bigquery.connection import FIRST_ANSWER, BigQueryError, explained
from cdp.settings import Settings

DATASETS = ("raw", "collect", "unify", "segment", "activate", "decide")
TYPES = {
    "xid8": "INT64",
    "bigint": "INT64",
    "integer": "INT64",
    "text": "STRING",
    "uuid": "STRING",
    "boolean": "BOOL",
    "numeric": "NUMERIC",
    "date": "DATE",
    "timestamp with time zone": "TIMESTAMP",
    "jsonb": "JSON",
}
# Google's older names for the same types, which its API answers with.
SAME_TYPE = {"INTEGER": "INT64", "BOOLEAN": "BOOL", "FLOAT": "FLOAT64"}

_HOW_TO_RELOAD = (
    "Drop the tables of that data set; `cdp refresh --full` then loads what PostgreSQL still has."
)

LEDGER = "loads"
LEDGER_SCHEMA = (
    bigquery.SchemaField("system_identifier", "INT64", description="Cluster of the ids."),
    bigquery.SchemaField("from_xid", "INT64", description="First landing transaction."),
    bigquery.SchemaField("to_xid", "INT64", description="First transaction after the range."),
    bigquery.SchemaField("event_count", "INT64", description="Events of the range."),
    bigquery.SchemaField("first_received_at", "TIMESTAMP", description="Of those events."),
    bigquery.SchemaField("planned_at", "TIMESTAMP", description="When the range was fixed."),
    bigquery.SchemaField("loaded_at", "TIMESTAMP", description="Null until all of it is there."),
)


@dataclass(frozen=True)
class RawTable:
    """A table of the schema `raw` that dbt reads.

    With `is_appended`, rows come by range of landing transaction; else the table is small and is
    replaced whole.
    """

    name: str
    is_appended: bool
    partitioned_by: str | None = None


TABLES = (
    RawTable("events", is_appended=True, partitioned_by="received_at"),
    RawTable("landings", is_appended=True, partitioned_by="received_on"),
    RawTable("audience_definitions", is_appended=False),
    RawTable("audience_rebuilds", is_appended=False),
)


def dataset_name(settings: Settings, stage: str) -> str:
    """The data set of a stage, with its project."""
    return f"{settings.bigquery_project_id}.{settings.bigquery_dataset}_{stage}"


def table_name(settings: Settings, table: str) -> str:
    """A raw table, with its project and data set."""
    return f"{dataset_name(settings, 'raw')}.{table}"


def create_datasets(client: bigquery.Client, settings: Settings) -> list[str]:
    """Create the data sets that are missing and return the names of all.

    Needs the right to create data sets; afterwards a refresh does not.
    """
    names = [dataset_name(settings, stage) for stage in DATASETS]
    for name in names:
        dataset = bigquery.Dataset(name)
        dataset.location = settings.bigquery_location
        dataset.labels = {"application": "cdp"}
        with explained(f"create the data set {name}"):
            client.create_dataset(dataset, exists_ok=True, retry=FIRST_ANSWER)
    return names


def ensure_tables(
    client: bigquery.Client, connection: psycopg.Connection[Any], settings: Settings
) -> dict[str, bigquery.Table]:
    """Create the raw tables that are missing, add columns that PostgreSQL has and they lack.

    Returns the tables by name, the ledger among them. Raises BigQueryError when the data set is
    missing, a column has another type there or was dropped, or a table and the ledger do not belong
    together: one of them was made anew or is gone.
    """
    ledger = bigquery.Table(table_name(settings, LEDGER), schema=LEDGER_SCHEMA)
    wanted = [(raw, schema_of(connection, raw.name)) for raw in TABLES]
    tables = [_described(settings, raw, schema) for raw, schema in wanted]
    standing: dict[str, bigquery.Table] = {}
    # The ledger last: an appended table that is younger was put in the place of a loaded one.
    for table in (*tables, ledger):
        with explained(f"create {table.table_id} in {dataset_name(settings, 'raw')}"):
            try:
                standing[table.table_id] = client.get_table(table.reference, retry=FIRST_ANSWER)
            except exceptions.NotFound:
                if table is ledger:
                    _require_nothing_loaded(standing, ledger)
                client.create_table(table, exists_ok=True)
                standing[table.table_id] = client.get_table(table.reference)
    for raw, schema in wanted:
        table, ledger_table = standing[raw.name], standing[LEDGER]
        if raw.is_appended and table.created > ledger_table.created:
            raise BigQueryError(
                f"{table.reference} was made after {ledger_table.reference}, which says that it "
                f"was loaded before. {_HOW_TO_RELOAD}"
            )
        _add_missing_columns(client, table, schema)
    return standing


def _require_nothing_loaded(standing: Mapping[str, bigquery.Table], ledger: bigquery.Table) -> None:
    for raw in TABLES:
        table = standing[raw.name]
        if raw.is_appended and table.num_rows:
            raise BigQueryError(
                f"{table.reference} has rows, and {ledger.reference}, which says what was loaded, "
                f"was not there. {_HOW_TO_RELOAD}"
            )


def schema_of(connection: psycopg.Connection[Any], table: str) -> list[bigquery.SchemaField]:
    """The columns of a table of the schema `raw`, in BigQuery's types.

    Raises BigQueryError for a type that is not known.
    """
    rows = connection.execute(
        "select column_name, coalesce(nullif(data_type, 'USER-DEFINED'), udt_name),"
        " col_description(('raw.' || table_name)::regclass, ordinal_position)"
        " from information_schema.columns"
        " where table_schema = 'raw' and table_name = %s order by ordinal_position",
        [table],
    ).fetchall()
    unknown = [f"{name} is {data_type}" for name, data_type, _ in rows if data_type not in TYPES]
    if unknown:
        raise BigQueryError(
            f"raw.{table} has columns that BigQuery has no type for here: {', '.join(unknown)}. "
            "Give their types in cdp/bigquery/raw_tables.py."
        )
    return [
        bigquery.SchemaField(name, TYPES[data_type], description=description)
        for name, data_type, description in rows
    ]


def _described(
    settings: Settings, raw: RawTable, schema: list[bigquery.SchemaField]
) -> bigquery.Table:
    table = bigquery.Table(table_name(settings, raw.name), schema=schema)
    table.labels = {"application": "cdp", "stage": "collect"}
    if raw.partitioned_by:
        table.time_partitioning = bigquery.TimePartitioning(field=raw.partitioned_by)
        # A run asks for a range of transactions; the days alone would hold those of other runs.
        table.clustering_fields = ["xid"]
    # Nobody reads all of history by mistake: a query names the days that it wants.
    table.require_partition_filter = raw.name == "events"
    return table


def _add_missing_columns(
    client: bigquery.Client, standing: bigquery.Table, wanted: list[bigquery.SchemaField]
) -> None:
    there = {
        field.name: SAME_TYPE.get(field.field_type, field.field_type) for field in standing.schema
    }
    for field in wanted:
        if there.get(field.name, field.field_type) != field.field_type:
            raise BigQueryError(
                f"{standing.reference}: the column {field.name} is {there[field.name]} there and "
                f"{field.field_type} in PostgreSQL. Nothing was loaded. {_HOW_TO_RELOAD}"
            )
    missing = [field for field in wanted if field.name not in there]
    # PostgreSQL adds columns behind the others: one that is missing before them was there.
    dropped = [
        field.name
        for number, field in enumerate(wanted)
        if field in missing and any(later.name in there for later in wanted[number + 1 :])
    ]
    if dropped and standing.num_rows:
        raise BigQueryError(
            f"{standing.reference} has rows and no column {', '.join(dropped)} any more. "
            f"Nothing was loaded. {_HOW_TO_RELOAD}"
        )
    if missing:
        standing.schema = [*standing.schema, *missing]
        names = ", ".join(field.name for field in missing)
        with explained(f"add the columns {names} to {standing.reference}"):
            client.update_table(standing, ["schema"])
