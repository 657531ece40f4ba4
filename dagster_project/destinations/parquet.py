"""Query results as Parquet files, by way of `COPY` and Arrow, in memory that does not grow."""

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import psycopg
import pyarrow as pa
from psycopg import sql
from pyarrow import csv, parquet

# Larger than any row: an event has at most 32 kB, a profile's traits may have more.
BLOCK_BYTES = 8 << 20
# BigQuery's NUMERIC: 38 digits, 9 of them after the point.
NUMERIC_SCALE = 9

ARROW_TYPES: dict[str, pa.DataType] = {
    "bigint": pa.int64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "double precision": pa.float64(),
    "integer": pa.int64(),
    "numeric": pa.decimal128(38, NUMERIC_SCALE),
    "timestamp with time zone": pa.timestamp("us", "UTC"),
}


@dataclass(frozen=True)
class Field:
    """A column to write: its name, its PostgreSQL type, and the SQL that gives it."""

    name: str
    type_name: str
    value: sql.Composable

    @property
    def arrow_type(self) -> pa.DataType:
        """Everything without a type of its own (uuid, jsonb, arrays) travels as text."""
        return ARROW_TYPES.get(self.type_name, pa.string())

    @property
    def select(self) -> sql.Composed:
        value = self.value
        if self.type_name == "numeric":
            value = sql.SQL("round({}, {})").format(value, sql.Literal(NUMERIC_SCALE))
        return sql.SQL("{} as {}").format(value, sql.Identifier(self.name))


def write_parquet(
    snapshot: psycopg.Connection[Any],
    fields: Sequence[Field],
    source: sql.Composable,
    path: Path,
) -> int:
    """Write the fields of `from <source>` to a file; return the number of rows."""
    columns = sql.SQL(", ").join(field.select for field in fields)
    statement = sql.SQL("copy (select {} from {}) to stdout with (format csv)").format(
        columns, source
    )
    schema = pa.schema([(field.name, field.arrow_type) for field in fields])
    rows = 0
    with (
        parquet.ParquetWriter(path, schema, compression="snappy") as writer,
        _copied(snapshot, statement) as stream,
    ):
        for batch in _batches(stream, schema):
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def _batches(stream: BinaryIO, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    try:
        reader = csv.open_csv(
            stream,
            read_options=csv.ReadOptions(column_names=schema.names, block_size=BLOCK_BYTES),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=schema,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                true_values=["t"],
                false_values=["f"],
            ),
        )
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return
        raise
    yield from reader


@contextlib.contextmanager
def _copied(snapshot: psycopg.Connection[Any], statement: sql.Composed) -> Iterator[BinaryIO]:
    """What the statement copies out, as a stream: a thread fills a pipe, the block reads it."""
    reading, writing = os.pipe()
    failures: list[BaseException] = []

    def fill() -> None:
        try:
            with (
                os.fdopen(writing, "wb", buffering=1 << 20) as pipe,
                snapshot.cursor() as cursor,
                cursor.copy(statement) as copy,
            ):
                for block in copy:
                    pipe.write(block)
        except BaseException as error:  # noqa: BLE001 - raised again where the block ends
            failures.append(error)

    thread = threading.Thread(target=fill, name="copy to parquet")
    with os.fdopen(reading, "rb") as stream:
        thread.start()
        try:
            yield stream
        finally:
            stream.close()  # a writer that is still at it ends with a broken pipe
            thread.join()
    if failures:
        raise failures[0]
