"""The public tables in BigQuery: whole at first, then what was written since.

What was written since is found by the rows' `xmin`; removals by the history tables. Neither is
taken on trust: after each load the row counts are compared; a table that differs is loaded whole.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg import IsolationLevel, sql

from cdp.bigquery.connection import explained
from cdp.bigquery.raw_tables import dataset_name
from cdp.settings import Settings
from dagster_project.destinations.bigquery_tables import (
    CHANGE,
    BigQueryTables,
    TableShape,
    open_tables,
)
from dagster_project.destinations.parquet import Field, write_parquet
from dagster_project.exclusive import exclusive
from dagster_project.transaction_marks import (
    current_mark,
    remember,
    usable_mark,
    written_since,
)

How = Literal["whole", "incremental", "unchanged"]


@dataclass(frozen=True)
class ExportedTable:
    """A public table. `left` gives the keys of rows that may have left since `%(since)s`, and
    `changed_at` the newest instant of the history that it reads."""

    schema: str
    name: str
    key: tuple[str, ...]
    partitioned_by: str | None
    clustered_by: tuple[str, ...]
    left: str | None = None
    history: str | None = None


EXPORTED = (
    ExportedTable(
        "unify",
        "profiles",
        ("profile_id",),
        None,
        ("profile_id",),
        left="select distinct old_profile_id as profile_id from unify.profile_changes"
        " where changed_at >= {since} and not exists (select from unify.profiles"
        " where profiles.profile_id = profile_changes.old_profile_id)",
        history="unify.profile_changes",
    ),
    ExportedTable(
        "unify", "events", ("event_id",), "occurred_at", ("event_type", "profile_id", "event_id")
    ),
    ExportedTable("segment", "audiences", ("audience_id",), None, ("audience_id",)),
    ExportedTable(
        "segment",
        "audience_members",
        ("audience_id", "profile_id"),
        None,
        ("audience_id", "profile_id"),
        left="select distinct audience_id, profile_id from segment.audience_changes"
        " where changed_at >= {since} and not exists (select from segment.audience_members"
        " where audience_members.audience_id = audience_changes.audience_id"
        " and audience_members.profile_id = audience_changes.profile_id)",
        history="segment.audience_changes",
    ),
    ExportedTable(
        "segment",
        "audience_changes",
        ("audience_id", "profile_id", "change_number"),
        "changed_at",
        ("audience_id", "profile_id"),
    ),
)

BEFORE_EVERYTHING = datetime(1, 1, 1, tzinfo=UTC)


def export_key(source: ExportedTable) -> list[str]:
    """The key of the Dagster asset that stands for a table in BigQuery."""
    return ["activate", f"bigquery_{source.name}"]


FORGET = "delete from activate.warehouse_exports where table_name = %(table_name)s"
EXPORTS = "select table_name from activate.warehouse_exports"
STATE = """
select {exported_xid}, changed_at from activate.warehouse_exports where table_name = %s
"""


@dataclass(frozen=True)
class Exported:
    """What an export did: rows written, rows that the table has now, and that it should have as
    the snapshot had them, bytes loaded."""

    how: How
    rows: int
    row_count: int
    expected: int
    bytes_loaded: int

    @property
    def agrees(self) -> bool:
        return self.row_count == self.expected


@dataclass(frozen=True)
class Copies:
    """The tables that hold now what the public tables hold, and, with the reason, what may not."""

    updated: tuple[str, ...] = ()
    outside: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Export:
    """One table under way."""

    tables: BigQueryTables
    source: ExportedTable
    target: str
    shape: TableShape
    snapshot: psycopg.Connection[Any]
    folder: Path
    expected: int

    def whole(self) -> Exported:
        file = self.folder / "whole.parquet"
        rows = write_parquet(self.snapshot, self.shape.fields, self._relation, file)
        self.tables.replace(self.target, self.shape, file)
        return self._exported("whole", rows, file)

    def incremental(self, xid: str, changed_at: datetime | None) -> Exported:
        file = self.folder / "changes.parquet"
        change = Field(CHANGE, "text", sql.Identifier(CHANGE))
        fields = [
            Field(field.name, field.type_name, sql.Identifier(field.name))
            for field in self.shape.fields
        ]
        rows = write_parquet(self.snapshot, [*fields, change], self._changes(xid, changed_at), file)
        if rows:
            self.tables.merge(self.target, self.shape, file)
        return self._exported("incremental" if rows else "unchanged", rows, file)

    def _exported(self, how: How, rows: int, file: Path) -> Exported:
        row_count = self.tables.count(self.target)
        return Exported(how, rows, row_count, self.expected, file.stat().st_size)

    @property
    def _relation(self) -> sql.Composable:
        return sql.Identifier(self.source.schema, self.source.name)

    def _changes(self, xid: str, changed_at: datetime | None) -> sql.Composed:
        """What was written since the transaction, and the keys of what left since the instant."""
        names = [field.name for field in self.shape.fields]
        written = sql.SQL(
            "select {names}, 'written' as {change} from {table} where {is_written_since}"
        ).format(
            names=sql.SQL(", ").join(map(sql.Identifier, names)),
            change=sql.Identifier(CHANGE),
            table=self._relation,
            is_written_since=written_since(sql.Literal(xid)),
        )
        if self.source.left is None:
            return sql.SQL("({}) as changes").format(written)
        left = sql.SQL(self.source.left).format(since=sql.Literal(changed_at or BEFORE_EVERYTHING))
        return sql.SQL(
            "({written} union all select {names}, 'exited' from ({left}) as gone) as changes"
        ).format(
            written=written,
            left=left,
            names=sql.SQL(", ").join(
                sql.Identifier(field.name)
                if field.name in self.source.key
                else sql.SQL("null::{}").format(sql.SQL(field.type_name))
                for field in self.shape.fields
            ),
        )


def export_table(
    database: str, settings: Settings, tables: BigQueryTables, source: ExportedTable, *, holder: str
) -> Exported:
    """Bring one table up to date in BigQuery.

    Where even a whole load leaves another number of rows, what is returned does not agree, and the
    next export is whole again. A run that fails leaves the table as it was, and the next begins
    where the last successful one ended.
    """
    target = _target(settings, source)
    with (
        exclusive(database, f"bigquery {target}", holder=holder, on_wait=lambda _message: None),
        psycopg.connect(database) as snapshot,
        tempfile.TemporaryDirectory(prefix="cdp-bigquery-") as folder,
    ):
        snapshot.isolation_level = IsolationLevel.REPEATABLE_READ
        snapshot.execute("set local timezone = 'UTC'")
        shape = _shape(snapshot, source)
        expected = _count(snapshot, source)
        export = _Export(tables, source, target, shape, snapshot, Path(folder), expected)
        exported = _bring_up_to_date(export)
        key = {"table_name": tables.address(target)}
        if exported.agrees:
            remember(
                snapshot,
                "warehouse_exports",
                key,
                {
                    "row_count": expected,
                    "exported_at": datetime.now(UTC),
                    "exported_xid": current_mark(snapshot),
                    "changed_at": _newest(snapshot, source.history),
                },
            )
        else:
            snapshot.execute(FORGET, key)
        return exported


def update_copies(database: str, settings: Settings, *, holder: str) -> Copies:
    """Bring every table that is there up to date, as an erasure needs it.

    What was exported to another project or data set than that of the settings is out of reach, and
    so are the raw events where BigQuery computes. Raises BigQueryError.
    """
    with psycopg.connect(database) as connection:
        known = {name for (name,) in connection.execute(EXPORTS)}
    updated: list[str] = []
    outside: dict[str, str] = {}
    if settings.bigquery_project_id is not None:
        with explained("bring the copies of the public tables up to date"):
            tables = open_tables(settings)
            for source in EXPORTED:
                target = _target(settings, source)
                address = tables.address(target)
                if not tables.exists(target):
                    known.discard(address)
                    continue
                if export_table(database, settings, tables, source, holder=holder).agrees:
                    updated.append(address)
                else:
                    outside[address] = "holds other rows than those that were loaded"
    for address in sorted(known.difference(updated, outside)):
        outside[address] = "exported earlier, and out of reach of the settings as they are"
    if settings.engine == "bigquery":
        outside[dataset_name(settings, "raw")] = (
            "raw events that were loaded to BigQuery; docs/bigquery.md says how they go"
        )
    return Copies(tuple(updated), outside)


def _target(settings: Settings, source: ExportedTable) -> str:
    is_profiles = source.name == "profiles"
    return settings.bigquery_table_profiles if is_profiles else source.name


def _bring_up_to_date(export: _Export) -> Exported:
    xid, changed_at = _state(export)
    if xid is not None and export.tables.exists(export.target):
        exported = export.incremental(xid, changed_at)
        if exported.agrees:
            return exported
    return export.whole()


def _state(export: _Export) -> tuple[str | None, datetime | None]:
    """Where the last export ended: the mark, and the newest instant of the history."""
    row = export.snapshot.execute(
        sql.SQL(STATE).format(exported_xid=usable_mark("exported_xid")),
        [export.tables.address(export.target)],
    ).fetchone()
    return row or (None, None)


def _shape(snapshot: psycopg.Connection[Any], source: ExportedTable) -> TableShape:
    columns = snapshot.execute(
        "select attname, format_type(atttypid, null) from pg_attribute"
        " where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attnum",
        [f"{source.schema}.{source.name}"],
    ).fetchall()
    fields = tuple(
        Field(str(name), str(type_name), sql.Identifier(str(name))) for name, type_name in columns
    )
    return TableShape(fields, source.key, source.partitioned_by, source.clustered_by)


def _count(snapshot: psycopg.Connection[Any], source: ExportedTable) -> int:
    query = sql.SQL("select count(*) from {}").format(sql.Identifier(source.schema, source.name))
    row: Sequence[Any] | None = snapshot.execute(query).fetchone()
    return int(row[0]) if row else 0


def _newest(snapshot: psycopg.Connection[Any], history: str | None) -> datetime | None:
    if history is None:
        return None
    query = sql.SQL("select max(changed_at) from {}").format(sql.Identifier(*history.split(".")))
    row = snapshot.execute(query).fetchone()
    return row[0] if row else None
