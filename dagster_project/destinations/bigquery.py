"""Audiences as tables in BigQuery: `audience_<audience_key>`, one row per member.

A column `traits.plan` is called `traits_plan` there. In delta mode changes are merged by
profile_id.
"""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from dagster_project.destinations.bigquery_tables import (
    CHANGE,
    BigQueryTables,
    TableError,
    TableShape,
)
from dagster_project.destinations.destination import Delivered, Delivery
from dagster_project.destinations.parquet import Field, write_parquet
from dagster_project.destinations.row_format import Column

MEMBERS = sql.SQL(
    "segment.audience_members inner join unify.profiles"
    " on profiles.profile_id = audience_members.profile_id"
    " where audience_members.audience_id = {}"
)


@dataclass(frozen=True)
class BigQueryAudiences:
    """One table per audience in a data set."""

    tables: BigQueryTables
    name: str = "bigquery"
    takes_whole_audiences: bool = True

    def deliver(self, delivery: Delivery) -> Delivered:
        table = f"audience_{delivery.audience.audience_key}"
        with tempfile.TemporaryDirectory(prefix="cdp-bigquery-") as folder:
            file = Path(folder) / "rows.parquet"
            if delivery.is_whole:
                shape = _shape(_fields(delivery.columns, is_whole=True))
                source = MEMBERS.format(sql.Literal(delivery.audience.audience_id))
                rows = write_parquet(delivery.snapshot, shape.fields, source, file)
                _check_count(delivery, rows)
                self.tables.replace(table, shape, file)
                self._compare(table, rows)
            else:
                rows = self._merge(delivery, table, file)
            size = file.stat().st_size
        facts: dict[str, str | int | float] = {
            "table": self.tables.address(table),
            "bytes_loaded": size,
        }
        return Delivered(rows=rows, facts=facts)

    def withdraw(self, audience_key: str) -> None:
        self.tables.drop(f"audience_{audience_key}")

    def _merge(self, delivery: Delivery, table: str, file: Path) -> int:
        change = Field(CHANGE, "text", sql.Identifier("change"))
        fields = _fields(delivery.columns, is_whole=False)
        source = sql.Identifier("delivery_changes")
        rows = write_parquet(delivery.snapshot, (*fields, change), source, file)
        _check_count(delivery, rows)
        self.tables.merge(table, _shape(fields), file)
        return rows

    def _compare(self, table: str, rows: int) -> None:
        found = self.tables.count(table)
        if found != rows:
            raise TableError(
                f"{self.tables.address(table)} has {found} rows after {rows} were loaded; deliver "
                "it again."
            )


def _shape(fields: tuple[Field, ...]) -> TableShape:
    return TableShape(fields, key=("profile_id",), clustered_by=("profile_id",))


def _fields(columns: Sequence[Column], *, is_whole: bool) -> tuple[Field, ...]:
    """profile_id first, because rows are merged by it, then the others."""
    profile_id = sql.Identifier("profiles" if is_whole else "delivery_changes", "profile_id")
    return (
        Field("profile_id", "uuid", profile_id),
        *(
            Field(
                re.sub(r"\W", "_", column.name),
                column.type_name,
                column.expression if is_whole else column.from_sent,
            )
            for column in columns
            if column.name != "profile_id"
        ),
    )


def _check_count(delivery: Delivery, rows: int) -> None:
    if rows != delivery.row_count:
        raise TableError(
            f"Audience {delivery.audience.audience_key} has {delivery.row_count} members, but "
            f"{rows} of them have a profile. Run `cdp refresh`."
        )
