"""Incremental against full: everything computed again beside the tables that stand, and compared.

The schemas `verify_*` are built from views of what the last refresh had read, as of its instant, by
the same dbt project with another schema prefix. They are dropped again, whatever happens.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from cdp.database import database_url
from cdp.engine import postgres_variables
from cdp.settings import Settings
from dagster_project.dbt_process import stream_dbt
from dagster_project.stages import STAGES

PREFIX = "verify_"
MODELS = ("+path:models/unify", "+path:models/collect", "+audience_members", "+audience_catalog")
SAMPLES = 3
# What is compared: the columns that do not tell when a run happened, of the rows that must agree.
TABLES: dict[str, LiteralString] = {
    "unify.profiles": "select * from {schema}unify.profiles",
    "unify.events": "select * from {schema}unify.events",
    "unify.sessions": "select * from {schema}unify.sessions",
    "unify.identifiers": "select * from {schema}unify.identifiers",
    "unify.unusable_amounts": "select * from {schema}unify.unusable_amounts",
    "unify.missing_exchange_rates": "select * from {schema}unify.missing_exchange_rates",
    "collect.daily_intake": "select * from {schema}collect.daily_intake",
    # Those whose definition both sides have evaluated: one that is mistaken or was changed since
    # keeps its last members.
    "segment.audience_members": """
        select members.audience_id, members.profile_id
        from {schema}segment.audience_members as members
        inner join segment.audiences as standing
            on members.audience_id = standing.audience_id
        inner join verify_segment.audiences as verified
            on members.audience_id = verified.audience_id
        where standing.definition = verified.definition
            and standing.is_enabled and verified.is_enabled
            and standing.built_version = standing.definition_version
            and verified.last_built_at is not null
    """,
}
WATERMARK = "select to_xid::text, as_of, rules_digest from decide.watermark"
IS_OF_THIS_CLUSTER = """
select exists (
    select from decide.watermark
    where system_identifier::text = (select system_identifier::text from pg_control_system())
)
"""
BUILT_DIGEST = "select rules_digest from verify_collect.refresh_window"
OLDEST_KEPT = """
select
    coalesce((select min(received_at) from raw.events), 'infinity')
    > (select min(received_at) from collect.stg_events)
"""
VIEWS = sql.SQL("""
drop schema if exists verify_raw cascade;
create schema verify_raw;
create view verify_raw.events as select * from raw.events where xid < {to_xid}::text::xid8;
create view verify_raw.landings as select * from raw.landings where xid < {to_xid}::text::xid8;
create view verify_raw.rejected_events as select * from raw.rejected_events;
-- Nothing stands there, so that every audience is evaluated for everybody anyway.
create view verify_raw.audience_rebuilds as select * from raw.audience_rebuilds where false;
create view verify_raw.audience_definitions as
    select * from raw.audience_definitions where defined_at <= {as_of};
""")


@dataclass(frozen=True)
class Difference:
    """How a table differs from what a full refresh says: counts of rows, and a few of them."""

    missing: int
    surplus: int
    samples: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Verification:
    """`skipped` says why nothing was compared; `differences` holds the tables that differ."""

    compared_rows: dict[str, int] = field(default_factory=dict)
    differences: dict[str, Difference] = field(default_factory=dict)
    skipped: str | None = None


class VerificationError(RuntimeError):
    """The scratch schemas could not be built; the message is dbt's."""


def verify(
    settings: Settings, project_dir: Path, log: Callable[[str], None] = print
) -> Verification:
    """Compute everything again and compare. The caller holds the lock of the refresh.

    Needs about as much time and room as a full refresh. Raises VerificationError.
    """
    url = database_url(settings)
    with psycopg.connect(url, autocommit=True) as connection:
        if reason := still_comparable(connection):
            return Verification(skipped=reason)
        watermark = connection.execute(WATERMARK).fetchone()
        assert watermark is not None  # noqa: S101 - it was looked at just now
        to_xid, as_of, rules_digest = watermark
        try:
            _drop(connection)
            connection.execute(VIEWS.format(to_xid=sql.Literal(to_xid), as_of=sql.Literal(as_of)))
            _build(settings, project_dir, as_of.isoformat(), log)
            if _value(connection, BUILT_DIGEST) != rules_digest:
                reason = "The rules have changed since the last refresh; run `cdp refresh` first."
                return Verification(skipped=reason)
            return _compare(connection)
        finally:
            _drop(connection)


def still_comparable(connection: psycopg.Connection[Any]) -> str | None:
    """Why what stands cannot be compared with a full refresh, None where it can."""
    if not _value(connection, "select to_regclass('decide.watermark') is not null"):
        return "Nothing has been refreshed yet."
    if not _value(connection, IS_OF_THIS_CLUSTER):
        return "The last refresh was in another cluster; run `cdp refresh` first."
    if _value(connection, OLDEST_KEPT):
        return "Older raw events have been dropped, so that a full refresh knows less."
    return None


def _build(settings: Settings, project_dir: Path, as_of: str, log: Callable[[str], None]) -> None:
    variables = {"schema_prefix": PREFIX, "as_of": as_of}
    arguments = ["build", "--vars", json.dumps(variables), "--select", *MODELS]
    arguments += ["--exclude-resource-type", "test", "--exclude-resource-type", "unit_test"]
    failed = []
    for result in stream_dbt(
        arguments,
        project_dir=project_dir,
        # Of its own: other variables would make the refresh parse everything again.
        target_dir=settings.home / "dbt" / "verify",
        environment=postgres_variables(settings),
    ):
        log(f"{result.name}: {result.status} in {result.seconds:.1f} s")
        if result.failed:
            failed.append(f"{result.name}: {result.message}")
    if failed:
        raise VerificationError("\n".join(failed))


def _compare(connection: psycopg.Connection[Any]) -> Verification:
    counts: dict[str, int] = {}
    differences = {}
    for table, query in TABLES.items():
        standing, verified = (
            sql.SQL("({})").format(sql.SQL(query.replace("{schema}", prefix)))
            for prefix in ("", PREFIX)
        )
        counts[table] = _value(connection, _counting(verified))
        missing = sql.SQL("{} except all {}").format(verified, standing)
        surplus = sql.SQL("{} except all {}").format(standing, verified)
        difference = Difference(
            _value(connection, _counting(missing)), _value(connection, _counting(surplus))
        )
        if difference.missing or difference.surplus:
            for name, rows in (("missing", missing), ("surplus", surplus)):
                difference.samples.extend(_samples(connection, name, rows))
            differences[table] = difference
    return Verification(counts, differences)


def _counting(rows: sql.Composable) -> sql.Composed:
    return sql.SQL("select count(*) from ({}) as counted").format(rows)


def _samples(connection: psycopg.Connection[Any], name: str, rows: sql.Composable) -> list[str]:
    query = sql.SQL("select sampled::text from ({}) as sampled limit {}").format(rows, SAMPLES)
    return [f"{name}: {text}" for (text,) in connection.execute(query).fetchall()]


def _drop(connection: psycopg.Connection[Any]) -> None:
    for schema in ("raw", *STAGES):
        connection.execute(
            sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(PREFIX + schema))
        )


def _value(connection: psycopg.Connection[Any], query: LiteralString | sql.Composed) -> Any:
    row = connection.execute(query).fetchone()
    return row[0] if row else None
