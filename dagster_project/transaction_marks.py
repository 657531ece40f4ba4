"""Up to which transaction tables were read, so that the next run finds what was written since.

A row's `xmin` is the transaction that wrote it. States of the schema `activate` keep such a mark
beside what they are about.
"""

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

# Older transactions than this cannot be told from newer ones by their 32 bits.
TRANSACTIONS_TOLD_APART = 2_000_000_000

USABLE = """
case
    when system_identifier = (select system_identifier from pg_control_system())
        and pg_snapshot_xmax(pg_current_snapshot())::text::bigint - {xid}::text::bigint < {most}
        then {xid}::text
end
"""
REMEMBER = """
insert into activate.{table} ({columns}, system_identifier)
values ({values}, (select system_identifier from pg_control_system()))
on conflict ({key}) do update set {updates}
"""


def usable_mark(column: str) -> sql.Composed:
    """The mark in that column as text, or null where it tells nothing any more.

    In another cluster, such as one that a dump was restored into, transaction ids begin again.
    """
    return sql.SQL(USABLE).format(
        xid=sql.Identifier(column), most=sql.Literal(TRANSACTIONS_TOLD_APART)
    )


def written_since(mark: sql.Composable) -> sql.Composed:
    """Whether a row was written by the transaction of the mark or a later one."""
    return sql.SQL("age(xmin) <= age({}::text::xid8::xid)").format(mark)


def current_mark(snapshot: psycopg.Connection[Any]) -> str:
    """Everything that the snapshot does not see was written by this transaction or a later one."""
    row = snapshot.execute("select pg_snapshot_xmin(pg_current_snapshot())::text").fetchone()
    assert row is not None  # noqa: S101 - a select without a table has one row
    return str(row[0])


def remember(
    snapshot: psycopg.Connection[Any],
    table: str,
    key: Mapping[str, Any],
    values: Mapping[str, Any],
) -> None:
    """Write a state over the one of the same key, with the cluster that its mark belongs to."""
    columns = {**key, **values}
    updated = [*values, "system_identifier"]
    snapshot.execute(
        sql.SQL(REMEMBER).format(
            table=sql.Identifier(table),
            columns=_list(columns),
            values=sql.SQL(", ").join(map(sql.Placeholder, columns)),
            key=_list(key),
            updates=sql.SQL(", ").join(
                sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in updated
            ),
        ),
        columns,
    )


def _list(names: Mapping[str, Any]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))
