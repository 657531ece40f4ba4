"""`cdp doctor`: what an installation needs, checked on the spot, each finding with what to do."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import psycopg

from cdp.database import Role, database_url, embedded, newest_revision
from cdp.settings import Settings

Level = Literal["ok", "warning", "error"]
OLDEST_POSTGRES = 150_000
NEEDED_BYTES, COMFORTABLE_BYTES = 1 << 30, 10 << 30
OPEN_TRANSACTION_SECONDS = 600

SERVER = """
select
    current_setting('server_version_num')::int,
    current_setting('server_version'),
    current_setting('fsync') = 'on',
    current_setting('server_encoding'),
    has_database_privilege(current_database(), 'create')
"""
OLDEST_TRANSACTION = """
select coalesce(extract(epoch from max(clock_timestamp() - xact_start)), 0)::float8
from pg_stat_activity
where backend_xid is not null and pid <> pg_backend_pid()
"""
# What each service does first; a role that cannot has lost its rights.
FIRST_STATEMENTS: dict[Role, tuple[str, ...]] = {
    "ingest": (
        "select raw.has_write_keys()",
        "select count(*) from raw.suppressions_after(0)",
        "select has_table_privilege('raw.events', 'insert')",
    ),
    "serving": ("select has_table_privilege('decide.decisions', 'insert')",),
}
ERASURES = "select count(*) from raw.erasure_requests where status = 'failed'"
KEYS = "select count(*) from raw.write_keys where revoked_at is null"
# What a statement over all raw events locks, of what the server has room for.
LOCKS = """
select
    (select count(*) from pg_inherits where inhparent = 'raw.events'::regclass)
    * (select 1 + count(*) from pg_index where indrelid = 'raw.events'::regclass),
    current_setting('max_locks_per_transaction')::bigint,
    current_setting('max_connections')::bigint
    + current_setting('max_prepared_transactions')::bigint
"""
# The read side's connections, where something of long ago has landed, and what a refresh reads at a
# time. PostgreSQL has room for some more, which parallel workers take.
STATEMENTS_OVER_ALL = 8
REJECTED = "select count(*) from raw.rejected_events where replayed_at is null"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `advice` says what to do; empty where all is well."""

    level: Level
    subject: str
    what: str
    advice: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Look at everything and change nothing. Never raises for what it finds."""
    findings = [*_environment(), *_folders(settings), *_network(settings)]
    try:
        with psycopg.connect(database_url(settings), connect_timeout=5) as connection:
            connection.read_only = True
            findings += _database(connection)
            is_migrated = _exists(connection, "raw.erasure_requests")
            if is_migrated:
                findings += _contents(settings, connection)
    except psycopg.OperationalError as error:
        return [*findings, _unreachable(settings, error)]
    if is_migrated:
        findings += [_role(settings, role) for role in FIRST_STATEMENTS]
    return findings


def _environment() -> Iterator[Finding]:
    python = platform.python_version()
    if (3, 11) <= sys.version_info < (3, 14):
        yield Finding("ok", "Python", python)
    else:
        yield Finding("error", "Python", python, "Use CPython 3.11, 3.12 or 3.13.")
    for package in ("dbt-core", "dagster"):
        try:
            yield Finding("ok", package, version(package))
        except PackageNotFoundError:
            yield Finding("error", package, "not installed", "Run `make install`.")


def _folders(settings: Settings) -> Iterator[Finding]:
    for subject, folder in (("CDP_HOME", settings.home), ("exports", settings.exports)):
        there = _nearest(folder)
        if not os.access(there, os.W_OK):
            yield Finding(
                "error",
                subject,
                f"{folder} cannot be written",
                f"Give this user rights on {there}.",
            )
            continue
        free = shutil.disk_usage(there).free
        text = f"{folder}, {free / 2**30:,.1f} GiB free"
        advice = "Free some space, or move the folder; PostgreSQL stops when the disk is full."
        if free < NEEDED_BYTES:
            yield Finding("error", subject, text, advice)
        elif free < COMFORTABLE_BYTES:
            yield Finding("warning", subject, text, advice)
        else:
            yield Finding("ok", subject, text)


def _network(settings: Settings) -> Iterator[Finding]:
    if settings.listens_on_loopback:
        return
    if settings.alert_webhook_url is None:
        yield Finding(
            "warning", "alerts", "nobody is told when a run fails", "Set CDP_ALERT_WEBHOOK_URL."
        )


def _database(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    row = connection.execute(SERVER).fetchone()
    assert row is not None  # noqa: S101 - a select without a table has one row
    number, text, is_durable, encoding, may_create = row
    if number < OLDEST_POSTGRES:
        yield Finding("error", "PostgreSQL", text, "Use PostgreSQL 15 or later.")
    else:
        yield Finding("ok", "PostgreSQL", text)
    if not is_durable:
        advice = "Set fsync = on: without it a crash of the machine loses acknowledged events."
        yield Finding("error", "durability", "fsync is off", advice)
    if encoding != "UTF8":
        advice = "Create the database with encoding UTF8; others refuse some events."
        yield Finding("error", "encoding", encoding, advice)
    if not may_create:
        advice = "grant create on database ... to the owner in DATABASE_URL."
        yield Finding("error", "owner", "may not create schemas", advice)
    yield _schema(connection)
    seconds = _number(connection, OLDEST_TRANSACTION)
    if seconds > OPEN_TRANSACTION_SECONDS:
        advice = "End it: pg_stat_activity, ordered by xact_start, names it."
        what = f"open for {seconds:,.0f} s, and holds the batch back"
        yield Finding("warning", "transactions", what, advice)


def _schema(connection: psycopg.Connection[Any]) -> Finding:
    current = None
    if _exists(connection, "public.cdp_schema_version"):
        row = connection.execute("select version_num from public.cdp_schema_version").fetchone()
        current = row[0] if row else None
    if current is None:
        return Finding("warning", "schema", "not there yet", "Run `cdp refresh`; it migrates.")
    if current != newest_revision():
        what = f"at {current}, not {newest_revision()}"
        return Finding("warning", "schema", what, "Run `cdp refresh`; it migrates.")
    return Finding("ok", "schema", f"at {current}")


def _contents(settings: Settings, connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    keys = _number(connection, KEYS)
    if not keys and not settings.listens_on_loopback:
        advice = "Run `cdp keys create SOURCE`; without a key nothing beyond loopback is served."
        yield Finding("error", "write keys", "none is active", advice)
    else:
        yield Finding("ok", "write keys", f"{keys} active")
    yield _locks(connection)
    if rejected := _number(connection, REJECTED):
        advice = "See raw.rejected_events; after a fix run `cdp replay-rejected`."
        yield Finding("warning", "quarantine", f"{rejected:,} entries wait", advice)
    if failed := _number(connection, ERASURES):
        advice = "`cdp erasures` says why; then start the job erase_profiles again."
        yield Finding("error", "erasures", f"{failed} failed", advice)
    if not _exists(connection, "decide.watermark"):
        yield Finding("warning", "batch", "never refreshed", "Run `cdp refresh`.")


def _locks(connection: psycopg.Connection[Any]) -> Finding:
    row = connection.execute(LOCKS).fetchone()
    assert row is not None  # noqa: S101 - a select without a table has one row
    locked, per_transaction, transactions = row
    needed, room = locked * STATEMENTS_OVER_ALL, per_transaction * transactions
    what = f"{needed:,} for {STATEMENTS_OVER_ALL} statements over all raw events, room for {room:,}"
    if needed <= room:
        return Finding("ok", "locks", what)
    advice = (
        f"Set max_locks_per_transaction = {2 * needed // transactions} where PostgreSQL's settings "
        "stand and restart it, or keep raw events for fewer days: CDP_RAW_RETENTION_DAYS."
    )
    return Finding("warning", "locks", what, advice)


def _role(settings: Settings, role: Role) -> Finding:
    subject = f"role cdp_{role}"
    try:
        with psycopg.connect(database_url(settings, role), connect_timeout=5) as connection:
            refused = [
                statement
                for statement in FIRST_STATEMENTS[role]
                if _number(connection, statement) is False and "privilege" in statement
            ]
    except psycopg.Error as error:
        what = str(error).strip().splitlines()[0]
        advice = f"Check CDP_{role.upper()}_DATABASE_URL and that its login is in cdp_{role}."
        return Finding("error", subject, what, advice)
    if refused:
        advice = "Its rights come with the migrations; restore a dump with its grants."
        return Finding("error", subject, f"may not: {'; '.join(refused)}", advice)
    return Finding("ok", subject, "may do what its service needs")


def _unreachable(settings: Settings, error: psycopg.OperationalError) -> Finding:
    if embedded(settings):
        return Finding("warning", "PostgreSQL", "not running", "`make up` starts it.")
    what = str(error).strip().splitlines()[0]
    return Finding("error", "PostgreSQL", what, "Check DATABASE_URL and that the server runs.")


def _nearest(folder: Path) -> Path:
    """The folder, or the closest one above it that is there."""
    return next(each for each in (folder, *folder.resolve().parents) if each.exists())


def _exists(connection: psycopg.Connection[Any], table: str) -> bool:
    return bool(_number(connection, "select to_regclass(%s) is not null", table))


def _number(connection: psycopg.Connection[Any], query: str, *parameters: str) -> Any:
    row = connection.execute(query.encode(), parameters or None).fetchone()
    return row[0] if row else None
