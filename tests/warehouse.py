"""Landing events and building the warehouse in a test: real tables, real dbt, in process.

land(connection, [{"type": "track", "event": "Page Viewed", "userId": "u1"}])
build(database, as_of="2026-03-01T12:00:00Z")
"""

import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from dbt.artifacts.schemas.results import RunStatus
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest
from dbt_common.events.base_types import EventMsg
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import Jsonb

from cdp.database import dbt_environment
from cdp.pauses import seldom_collected
from cdp.settings import PROJECT_DIR, environment_set
from tests.scratch import scratch_folder

DBT_PROJECT = PROJECT_DIR / "dbt_project"
Event = Mapping[str, Any]


def land(
    connection: psycopg.Connection[Any],
    events: Iterable[Event],
    *,
    received_at: datetime | None = None,
    source: str = "test",
) -> None:
    """Insert Segment-shaped events into raw.events in order, in the caller's transaction.

    What is missing is filled in: messageId, and timestamp with the time of receipt, which is the
    event's own `receivedAt`, else `received_at`, else now.
    """
    rows = [_landed_row(event, received_at or datetime.now(UTC), source) for event in events]
    for received_on in sorted({row["received_at"].date() for row in rows}):
        accepted = sum(row["received_at"].date() == received_on for row in rows)
        following = received_on + timedelta(days=1)
        connection.execute(
            f"create table if not exists raw.events_{received_on:%Y%m%d} partition of raw.events "
            f"for values from ('{received_on} 00:00:00+00') to ('{following} 00:00:00+00')"
        )
        connection.execute(
            "insert into raw.landings"
            " (received_on, source, received_count, accepted_count, rejected_count)"
            " values (%s, %s, %s, %s, 0)",
            [received_on, source, accepted, accepted],
        )
    if rows:
        columns = list(rows[0])
        placeholders = ", ".join(f"%({column})s" for column in columns)
        with connection.cursor() as cursor:
            cursor.executemany(
                f"insert into raw.events ({', '.join(columns)}) values ({placeholders})", rows
            )


def _landed_row(event: Event, now: datetime, source: str) -> dict[str, Any]:
    received_at = _instant(event.get("receivedAt")) or now
    traits: list[Mapping[str, Any]] = [
        event.get("traits") or {},
        (event.get("context") or {}).get("traits") or {},
    ]
    emails = [str(each["email"]).strip().lower() for each in traits if each.get("email")]
    phones = [str(each["phone"]).strip() for each in traits if each.get("phone")]
    return {
        "message_id": event.get("messageId") or str(uuid.uuid4()),
        "type": event["type"],
        "event": event.get("event"),
        "user_id": event.get("userId"),
        "anonymous_id": event.get("anonymousId"),
        "email": emails[0] if emails else None,
        "phone": phones[0] if phones else None,
        "previous_id": event.get("previousId"),
        "occurred_at": _instant(event.get("timestamp")) or received_at,
        "received_at": received_at,
        "source": source,
        "payload": Jsonb(dict(event)),
    }


def _instant(text: str | datetime | None) -> datetime | None:
    if text is None or isinstance(text, datetime):
        return text
    return datetime.fromisoformat(text).astimezone(UTC)


class BuildError(AssertionError):
    """dbt reported errors or failed tests; the message lists them."""


def build(
    database: str,
    *,
    select: str | None = None,
    exclude: str | None = None,
    as_of: str | datetime | None = None,
    variables: Mapping[str, Any] | None = None,
    full_refresh: bool = False,
    command: str = "build",
    watch: Callable[[EventMsg], None] | None = None,
) -> dict[str, str]:
    """Run dbt against `database` and return the status of each node by its name.

    `select` and `exclude` are dbt selections; `watch` is told each of dbt's events. Raises
    BuildError unless everything succeeded; a test with severity warn that found something does not
    count as a failure.
    """
    result = try_build(
        database,
        select=select,
        exclude=exclude,
        as_of=as_of,
        variables=variables,
        full_refresh=full_refresh,
        command=command,
        watch=watch,
    )
    problems = [
        f"{each.node.name}: {each.status}: {each.message}"
        for each in result.result or []
        if each.status in (RunStatus.Error, "fail", "runtime error")
    ]
    if problems or not result.success:
        raise BuildError("\n".join(problems) or str(result.exception))
    return {each.node.name: str(each.status) for each in result.result or []}


def try_build(
    database: str,
    *,
    select: str | None = None,
    exclude: str | None = None,
    as_of: str | datetime | None = None,
    variables: Mapping[str, Any] | None = None,
    full_refresh: bool = False,
    command: str = "build",
    watch: Callable[[EventMsg], None] | None = None,
) -> Any:
    """Like build, but hands back dbt's own result whatever happened."""
    chosen = dict(variables or {})
    if as_of is not None:
        chosen["as_of"] = as_of if isinstance(as_of, str) else as_of.isoformat()
    arguments = [command, "--vars", json.dumps(chosen)]
    if command == "build":
        # dbt's own unit tests look at the code, not at the data; one test runs them all.
        arguments += ["--exclude-resource-type", "unit_test"]
    arguments += ["--select", *select.split()] if select else []
    arguments += ["--exclude", *exclude.split()] if exclude else []
    arguments += ["--full-refresh"] if full_refresh else []
    with environment_set(dbt_environment(database)):
        # A copy, because dbt notes in the manifest what it has compiled.
        manifest: Manifest = parsed_manifest().deepcopy()  # type: ignore[no-untyped-call]
        _point_at(manifest, str(conninfo_to_dict(database)["dbname"]))
        return _invoke(arguments, manifest, watch)


@cache
def _target_folder() -> Path:
    """Where this test process lets dbt write: parallel processes must not share one."""
    return scratch_folder("dbt")


@cache
def parsed_manifest() -> Manifest:
    """The parsed project. Parsing takes seconds, so each test process does it once."""
    parsed = _invoke(["parse"], None)
    if not isinstance(parsed.result, Manifest):
        raise BuildError(str(parsed.exception))
    # dbt cannot copy a manifest with disabled nodes, and no test asks for them.
    parsed.result.disabled.clear()
    return parsed.result


def _point_at(manifest: Manifest, database: str) -> None:
    """Make a manifest that was parsed for one database name the relations of another."""
    for node in (*manifest.nodes.values(), *manifest.sources.values()):
        if node.relation_name:
            node.relation_name = node.relation_name.replace(f'"{node.database}"', f'"{database}"')
        node.database = database


def _invoke(
    arguments: list[str],
    manifest: Manifest | None,
    watch: Callable[[EventMsg], None] | None = None,
) -> dbtRunnerResult:
    folders = ["--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT)]
    # Without a log file: dbt would leave it open at exit. Without artifacts: nobody reads them, and
    # writing out the manifest takes longer than most models.
    written = ["--target-path", str(_target_folder()), "--no-write-json"]
    silent = ["--log-level", "none", "--log-level-file", "none"]
    runner = dbtRunner(manifest=manifest, callbacks=[watch] if watch else [])
    # In a thread: dbt looks through the whole stack a few dozen times, and pytest's is deep.
    with ThreadPoolExecutor(1, "dbt") as thread, seldom_collected():
        return thread.submit(runner.invoke, [*arguments, *folders, *written, *silent]).result()
