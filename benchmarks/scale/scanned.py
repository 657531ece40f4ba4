"""Bytes that BigQuery would bill for statements, worked out from the columns that they read.

The emulator counts none. Sizes of values are those of https://cloud.google.com/bigquery/pricing#data
(INT64, FLOAT64, DATE, TIMESTAMP 8, NUMERIC 16, BOOL 1, STRING 2 and its UTF-8 bytes, JSON its text,
null 0), and 10 MB is the least that a table costs in a query.
"""

import re
from dataclasses import dataclass
from functools import cache

from google.cloud import bigquery

from tests.bigquery.both_engines import BothEngines
from tests.bigquery_analyser import Analysed, analysed

LEAST_PER_TABLE = 10 * 1024 * 1024
FIXED = {"INTEGER": 8, "FLOAT": 8, "DATE": 8, "TIMESTAMP": 8, "DATETIME": 8, "BOOLEAN": 1}
FIXED |= {"NUMERIC": 16, "BIGNUMERIC": 32}
# What partitions and clusters of a raw table prune: days of receipt, transactions.
PRUNING = re.compile(r"received(?:_at|_on) >= \S+ '[^']+'\s+and xid >= \d+ and xid < \d+")


@dataclass(frozen=True)
class Scanned:
    """Bytes over all statements: what they read, of that raw tables, and what is billed."""

    read: int
    raw: int
    billed: int


def scanned(engines: BothEngines, statements: list[str]) -> Scanned:
    """What `statements` would scan of the tables as they stand; scratch tables are not counted."""
    dataset = engines.settings.bigquery_dataset
    standing = {
        f"{each.project}.{each.dataset_id}.{each.table_id}"
        for found in engines.client.list_datasets()
        for each in engines.client.list_tables(found.dataset_id)
        if each.table_type == "TABLE"
    }

    @cache
    def sizes(table: str, condition: str) -> dict[str, int]:
        return _sizes_of_columns(engines.client, table, condition)

    read = raw = billed = 0
    for each in analysed(statements, engines.client, dataset):
        for table, columns in each.read.items():
            if table in standing:
                is_raw = f".{dataset}_raw." in table
                size = sizes(table, _pruned(each) if is_raw else "true")
                scan = sum(size[column] for column in columns)
                read += scan
                raw += scan if is_raw else 0
                billed += max(scan, LEAST_PER_TABLE)
    return Scanned(read, raw, billed)


def _pruned(each: Analysed) -> str:
    found = PRUNING.search(each.statement)
    return found[0] if found else "true"


def _sizes_of_columns(client: bigquery.Client, table: str, condition: str) -> dict[str, int]:
    fields = client.get_table(table).schema
    sums = ", ".join(f"sum({_size_of(field)}) as `{field.name}`" for field in fields)
    [row] = client.query(f"select {sums} from `{table}` where {condition}").result()
    return {field.name: int(row[field.name] or 0) for field in fields}


def _size_of(field: bigquery.SchemaField) -> str:
    if field.mode == "REPEATED" or field.field_type == "JSON":
        return f"byte_length(to_json_string(`{field.name}`))"
    if field.field_type == "STRING":
        return f"2 + byte_length(`{field.name}`)"
    return f"if(`{field.name}` is null, 0, {FIXED[field.field_type]})"
