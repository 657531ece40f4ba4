"""Tables in BigQuery: filled by load jobs of Parquet into a staging table, then one statement.

The statement is a `create or replace table ... as select` for a whole table and a `merge` for
changes, so a table is never seen half changed, and a load job that fails half-way leaves it as it
was. JSON travels as text and is parsed there, because Parquet has no JSON that load jobs take.
"""

import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from google.api_core.exceptions import GoogleAPIError, NotFound
from google.cloud import bigquery

from cdp.bigquery.connection import connect
from cdp.settings import Settings
from dagster_project.destinations.destination import DeliveryError
from dagster_project.destinations.parquet import Field

BIGQUERY_TYPES = {
    "bigint": "INT64",
    "boolean": "BOOL",
    "date": "DATE",
    "double precision": "FLOAT64",
    "integer": "INT64",
    "jsonb": "JSON",
    "numeric": "NUMERIC",
    "timestamp with time zone": "TIMESTAMP",
}
# Says of a row to merge whether it entered, changed or exited.
CHANGE = "_change"
STAGING_LIFE = timedelta(hours=6)
JOB_TIMEOUT_SECONDS = 3600.0


class TableError(DeliveryError):
    """A table does not hold what it should."""


@dataclass(frozen=True)
class TableShape:
    """Columns, key and layout of a table. `partitioned_by` is a TIMESTAMP column, by day."""

    fields: tuple[Field, ...]
    key: tuple[str, ...]
    partitioned_by: str | None = None
    clustered_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class BigQueryTables:
    """A data set of a project."""

    client: bigquery.Client
    dataset: str
    maximum_bytes_billed: int | None = None

    def replace(self, table: str, shape: TableShape, file: Path) -> None:
        """Make the table consist of the rows of a Parquet file."""
        staging = self._load(table, shape, file)
        try:
            self._query(self._create(table, shape, staging))
        finally:
            self._drop(staging)

    def merge(self, table: str, shape: TableShape, file: Path) -> None:
        """Write the rows of the file over those of the same key, or add them, or remove them.

        The file has the column CHANGE beside those of the table; where it says exited the row
        leaves.
        """
        self._add_columns(table, shape)
        staging = self._load(table, shape, file, marks=(bigquery.SchemaField(CHANGE, "STRING"),))
        typed = f"{staging}_typed"
        try:
            # A table of the target's types: the emulator of the tests parses no JSON in a merge.
            self._query(
                f"create table {self._quoted(typed)}"
                " options (expiration_timestamp ="
                " timestamp_add(current_timestamp(), interval 6 hour))"
                f" as select {_selected(shape)}, {CHANGE} from {self._quoted(staging)}"
            )
            self._query(self._merge(table, shape, typed))
        finally:
            self._drop(typed)
            self._drop(staging)

    def count(self, table: str) -> int:
        """Rows of the table. Raises NotFound where it does not exist."""
        [row] = self._query(f"select count(*) as row_count from {self._quoted(table)}")
        return int(row["row_count"])

    def exists(self, table: str) -> bool:
        try:
            self.client.get_table(self.address(table))
        except NotFound:
            return False
        return True

    def drop(self, table: str) -> None:
        self.client.delete_table(self.address(table), not_found_ok=True)

    def address(self, table: str) -> str:
        return f"{self.client.project}.{self.dataset}.{table}"

    def _load(
        self,
        table: str,
        shape: TableShape,
        file: Path,
        marks: tuple[bigquery.SchemaField, ...] = (),
    ) -> str:
        staging = f"_staging_{table}_{uuid.uuid4().hex[:12]}"
        schema = [
            bigquery.SchemaField(field.name, _loaded_type(field.type_name))
            for field in shape.fields
        ] + list(marks)
        dataset = bigquery.Dataset(f"{self.client.project}.{self.dataset}")
        dataset.location = self.client.location
        self.client.create_dataset(dataset, exists_ok=True)
        # Expires by itself when this process does not live to drop it.
        made = bigquery.Table(self.address(staging), schema=schema)
        made.expires = datetime.now(UTC) + STAGING_LIFE
        self.client.create_table(made)
        try:
            with file.open("rb") as stream:
                job = self.client.load_table_from_file(
                    stream,
                    self.address(staging),
                    rewind=True,
                    job_config=bigquery.LoadJobConfig(
                        source_format=bigquery.SourceFormat.PARQUET,
                        schema=schema,
                        write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
                    ),
                )
            job.result(timeout=JOB_TIMEOUT_SECONDS)
        except BaseException:
            self._drop(staging)
            raise
        return staging

    def _create(self, table: str, shape: TableShape, staging: str) -> str:
        columns = ", ".join(
            f"{_quote(field.name)} {_type(field.type_name)}" for field in shape.fields
        )
        layout = ""
        if shape.partitioned_by:
            layout += f" partition by date({_quote(shape.partitioned_by)})"
        if shape.clustered_by:
            layout += f" cluster by {', '.join(map(_quote, shape.clustered_by))}"
        return (
            f"create or replace table {self._quoted(table)} ({columns}){layout}"
            f" as select {_selected(shape)} from {self._quoted(staging)}"
        )

    def _merge(self, table: str, shape: TableShape, typed: str) -> str:
        names = [field.name for field in shape.fields]
        same = " and ".join(f"target.{_quote(key)} = source.{_quote(key)}" for key in shape.key)
        removal = f"source.{CHANGE} = 'exited'"
        updates = ", ".join(
            f"{_quote(name)} = source.{_quote(name)}" for name in names if name not in shape.key
        )
        updated = f" when matched then update set {updates}" if updates else ""
        return (
            f"merge {self._quoted(table)} as target"
            f" using {self._quoted(typed)} as source"
            f" on {same} when matched and {removal} then delete{updated}"
            f" when not matched and not ({removal}) then insert ({', '.join(map(_quote, names))})"
            f" values ({', '.join(f'source.{_quote(name)}' for name in names)})"
        )

    def _add_columns(self, table: str, shape: TableShape) -> None:
        """New columns are added and empty in old rows; one that is gone stays."""
        existing = self.client.get_table(self.address(table))
        known = {column.name for column in existing.schema}
        new = [
            bigquery.SchemaField(field.name, _type(field.type_name))
            for field in shape.fields
            if field.name not in known
        ]
        if new:
            existing.schema = [*existing.schema, *new]
            self.client.update_table(existing, ["schema"])

    def _query(self, statement: str) -> list[Any]:
        config = bigquery.QueryJobConfig()
        if self.maximum_bytes_billed is not None:
            config.maximum_bytes_billed = self.maximum_bytes_billed
        job = self.client.query(statement, job_config=config)
        return list(job.result(timeout=JOB_TIMEOUT_SECONDS))

    def _drop(self, staging: str) -> None:
        # It expires by itself; an error here would hide the one that matters.
        with suppress(GoogleAPIError):
            self.drop(staging)

    def _quoted(self, table: str) -> str:
        return f"`{self.address(table)}`"


def open_tables(settings: Settings) -> BigQueryTables:
    """The data set of the settings. Raises BigQueryError when they are incomplete or wrong."""
    return BigQueryTables(
        connect(settings), settings.bigquery_dataset, settings.bigquery_maximum_bytes_billed
    )


def _selected(shape: TableShape) -> str:
    return ", ".join(
        f"parse_json({_quote(field.name)}, wide_number_mode => 'round') as {_quote(field.name)}"
        if field.type_name == "jsonb"
        else _quote(field.name)
        for field in shape.fields
    )


def _type(type_name: str) -> str:
    return BIGQUERY_TYPES.get(type_name, "STRING")


def _loaded_type(type_name: str) -> str:
    return "STRING" if type_name == "jsonb" else _type(type_name)


def _quote(name: str) -> str:
    return f"`{name}`"
