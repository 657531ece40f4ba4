"""Bytes that BigQuery would bill for statements, worked out from the columns that they read.

The emulator counts none. Sizes of values are those of https://cloud.google.com/bigquery/pricing#data
(INT64, FLOAT64, DATE, TIMESTAMP 8, NUMERIC 16, BOOL 1, STRING 2 and its UTF-8 bytes, JSON its text,
null 0), and 10 MB is the least that a table costs in a query.
"""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache

from google.cloud import bigquery

from tests.bigquery.both_engines import BothEngines
from tests.bigquery_analyser import analysed

LEAST_PER_TABLE = 10 * 1024 * 1024
FIXED = {"INTEGER": 8, "FLOAT": 8, "DATE": 8, "TIMESTAMP": 8, "DATETIME": 8, "BOOLEAN": 1}
FIXED |= {"NUMERIC": 16, "BIGNUMERIC": 32}
# What partitions and clusters of a raw table prune: receipt by the column of its partitions, and
# transactions. A statement may read two such tables.
PRUNING = r"\b{column} >= \S+ '[^']+'\s+and xid >= \d+ and xid < \d+"


@dataclass(frozen=True)
class Scanned:
    """Bytes over all statements: what they read of each standing table, and what is billed.

    Tables are named `stage.name`; a table that is read five times counts five times.
    """

    read: Counter[str]
    billed: int


def scanned(engines: BothEngines, statements: list[str]) -> Scanned:
    """What `statements` would scan of the tables as they stand.

    The sizes of scratch tables are not known any more; each counts as the least that is billed.
    """
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

    read: Counter[str] = Counter()
    billed = 0
    for each in analysed(statements, engines.client, dataset):
        for table, columns in each.read.items():
            if table in standing:
                name = table.rpartition(f".{dataset}_")[2]
                is_raw = name.startswith("raw.")
                pruned = _pruned(engines.client, table, each.statement) if is_raw else "true"
                size = sizes(table, pruned)
                scan = sum(size[column] for column in columns)
                read[name] += scan
                billed += max(scan, LEAST_PER_TABLE)
            else:
                billed += LEAST_PER_TABLE
    return Scanned(read, billed)


def _pruned(client: bigquery.Client, table: str, statement: str) -> str:
    partitioned = client.get_table(table).time_partitioning
    if partitioned is None:
        return "true"
    found = re.search(PRUNING.format(column=partitioned.field), statement)
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
