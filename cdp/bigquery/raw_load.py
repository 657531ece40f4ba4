"""Raw events from PostgreSQL to BigQuery: by range of landing transaction, each range once.

A range is written into the ledger `raw.loads` before anything of it is loaded, and is finished
before another begins. Every step is a load job whose id is made of the range: BigQuery runs an id
once, so a retry finds the job of the attempt before and repeats nothing. dbt reads up to where the
ledger says that all was loaded.
"""

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any

import msgspec
import psycopg
from google.api_core import exceptions
from google.cloud import bigquery
from psycopg import IsolationLevel

from cdp.bigquery.connection import BigQueryError, connect, explained
from cdp.bigquery.raw_tables import LEDGER, TABLES, ensure_tables, table_name
from cdp.settings import Settings

# One load job takes about so many events: the file stays within a gigabyte or two of disk.
MOST_EVENTS = 1_000_000
MOST_ATTEMPTS = 20

HORIZON = """
select
    pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
    (select system_identifier from pg_control_system())
"""
END_OF_RANGE = """
select xid::text::bigint + 1
from raw.events
where xid >= %(from_xid)s::text::xid8 and xid < %(to_xid)s::text::xid8
order by xid
limit 1 offset %(most)s
"""
CONTENT = """
select coalesce(sum(event_count), 0), min(first_received_at)
from (
    select count(*) as event_count, min(received_at) as first_received_at
    from raw.events
    where xid >= %(from_xid)s::text::xid8 and xid < %(to_xid)s::text::xid8
    union all
    select 0, min(received_on)::timestamp at time zone 'UTC'
    from raw.landings
    where xid >= %(from_xid)s::text::xid8 and xid < %(to_xid)s::text::xid8
) as landed
"""


@dataclass(frozen=True)
class Range:
    """Landing transactions from_xid <= xid < to_xid of one cluster."""

    system_identifier: int
    from_xid: int
    to_xid: int


@dataclass(frozen=True)
class Loaded:
    """What a call loaded: events, and in how many ranges."""

    events: int
    ranges: int


def load_raw(
    settings: Settings,
    database: str,
    *,
    client: bigquery.Client | None = None,
    most_events: int = MOST_EVENTS,
    on_range: Callable[[int], None] = lambda _events: None,
) -> Loaded:
    """Load what has landed in `database` and is not on BigQuery yet; finish what was begun before.

    Call it under a lock, as the Dagster asset does. `on_range` is told the events of each range.
    Raises BigQueryError; what was loaded until then stays, unseen by dbt until its range is whole.
    """
    client = client or connect(settings)
    with psycopg.connect(database) as connection:
        # Ids move on with each call, so that no two runs of dbt have the same number.
        connection.execute("select pg_current_xact_id()")
        connection.commit()
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.execute("set local timezone = 'UTC'")
        tables = ensure_tables(client, connection, settings)
        horizon, system_identifier = _fetch(connection, HORIZON)
        loader = _Loader(client, connection, settings, tables, system_identifier)
        loader.replace_small_tables()
        events, ranges = 0, 0
        while (planned := loader.next_range(horizon, most_events)) is not None:
            count = loader.load(planned)
            on_range(count)
            events, ranges = events + count, ranges + 1
        return Loaded(events, ranges)


class _Loader:
    """One call's view of both sides."""

    def __init__(
        self,
        client: bigquery.Client,
        connection: psycopg.Connection[Any],
        settings: Settings,
        tables: Mapping[str, bigquery.Table],
        system_identifier: int,
    ) -> None:
        self._client = client
        self._connection = connection
        self._settings = settings
        self._tables = tables
        self._ledger = tables[LEDGER]
        self._system_identifier = system_identifier

    def replace_small_tables(self) -> None:
        for raw in TABLES:
            if not raw.is_appended:
                target = table_name(self._settings, raw.name)
                with self._lines(raw.name, None) as file, explained(f"load {target}"):
                    self._submit(file, raw.name, "WRITE_TRUNCATE", job_id=None).result()

    def next_range(self, horizon: int, most_events: int) -> Range | None:
        """The range to load: one that was planned and not finished, else a new one, else None."""
        with explained(f"read {self._ledger.reference}"):
            rows = list(
                self._client.query_and_wait(
                    "select system_identifier, from_xid, to_xid, loaded_at is null as is_open"  # noqa: S608
                    f" from `{self._ledger.reference}` order by from_xid desc limit 1"
                )
            )
        from_xid = 0
        if rows:
            last = Range(rows[0]["system_identifier"], rows[0]["from_xid"], rows[0]["to_xid"])
            self._require_this_cluster(last)
            if rows[0]["is_open"]:
                return last
            from_xid = last.to_xid
        bounds = {"from_xid": from_xid, "to_xid": horizon, "most": most_events - 1}
        row = self._connection.execute(END_OF_RANGE, bounds).fetchone()
        planned = Range(self._system_identifier, from_xid, int(row[0]) if row else horizon)
        if planned.from_xid >= planned.to_xid:
            return None
        return self._plan(planned, *self._content(planned))

    def load(self, planned: Range) -> int:
        """Load everything of a range, mark it as loaded, and return how many events it has."""
        for raw in TABLES:
            if raw.is_appended:
                with self._lines(raw.name, planned) as file:
                    if file.tell():
                        name = f"{raw.name}-{planned.from_xid}-{planned.to_xid}"
                        self._load_once(name, file, raw.name)
        with explained(f"mark a range in {self._ledger.reference}"):
            self._client.query_and_wait(
                f"update `{self._ledger.reference}` set loaded_at = current_timestamp()"  # noqa: S608
                f" where from_xid = {planned.from_xid} and loaded_at is null"
            )
        return self._content(planned)[0]

    def _require_this_cluster(self, last: Range) -> None:
        if last.system_identifier != self._system_identifier:
            raise BigQueryError(
                f"{self._ledger.reference} was loaded from the PostgreSQL cluster "
                f"{last.system_identifier}, and this one is {self._system_identifier}, where "
                "transaction ids begin again. Set BIGQUERY_DATASET to a new prefix, or drop the "
                "tables of that data set; `cdp refresh --full` then loads what PostgreSQL has."
            )

    def _content(self, planned: Range) -> tuple[int, datetime | None]:
        bounds = {"from_xid": planned.from_xid, "to_xid": planned.to_xid}
        count, first_received_at = _fetch(self._connection, CONTENT, bounds)
        return int(count), first_received_at

    def _plan(self, planned: Range, count: int, first_received_at: datetime | None) -> Range:
        """Write the range into the ledger and return what it says, which may be another's."""
        row = {
            "system_identifier": planned.system_identifier,
            "from_xid": planned.from_xid,
            "to_xid": planned.to_xid,
            "event_count": count,
            "first_received_at": first_received_at and first_received_at.isoformat(),
            "planned_at": datetime.now(UTC).isoformat(),
        }
        with tempfile.TemporaryFile() as file:
            file.write(msgspec.json.encode(row))
            self._load_once(f"plan-{planned.from_xid}", file, LEDGER)
        with explained(f"read {self._ledger.reference}"):
            [written] = self._client.query_and_wait(
                f"select to_xid from `{self._ledger.reference}`"  # noqa: S608
                f" where from_xid = {planned.from_xid}"
            )
        return Range(planned.system_identifier, planned.from_xid, written["to_xid"])

    def _load_once(self, name: str, file: IO[bytes], table: str) -> None:
        """Run a load job unless one of this name has succeeded; one that failed gets a new id."""
        # The ledger's age tells its data set from an earlier one of the same name.
        age = int(self._ledger.created.timestamp() * 1000)
        for attempt in range(MOST_ATTEMPTS):
            job_id = f"cdp-{self._settings.bigquery_dataset}-{age}-{name}-{attempt}"
            is_new = True
            with explained(f"load {table_name(self._settings, table)} (job {job_id})"):
                try:
                    job: Any = self._submit(file, table, "WRITE_APPEND", job_id)
                except exceptions.Conflict:
                    is_new = False
                    job = self._client.get_job(job_id)
                try:
                    job.result()
                except exceptions.GoogleAPICallError:
                    # What was asked may have failed, and not the job.
                    if is_new or job.state != "DONE" or not job.error_result:
                        raise
                    continue  # this attempt failed in an earlier run
                return
        raise BigQueryError(
            f"Loading {table_name(self._settings, table)} failed {MOST_ATTEMPTS} times; the job "
            f"{job_id} says why."
        )

    def _submit(
        self,
        file: IO[bytes],
        table: str,
        disposition: str,
        job_id: str | None,
    ) -> bigquery.LoadJob:
        file.seek(0)
        target = self._tables[table]
        return self._client.load_table_from_file(
            file,
            target.reference,
            job_id=job_id,
            job_config=bigquery.LoadJobConfig(
                source_format=bigquery.SourceFormat.NEWLINE_DELIMITED_JSON,
                write_disposition=disposition,
                schema=target.schema,
                labels={"application": "cdp", "stage": "collect"},
            ),
        )

    @contextmanager
    def _lines(self, table: str, planned: Range | None) -> Iterator[IO[bytes]]:
        """A temporary file with a JSON object per row of a raw table: of a range, or of all."""
        columns = [
            f"{name}::text::bigint as {name}" if data_type == "xid8" else name
            for name, data_type in self._connection.execute(
                "select quote_ident(column_name), udt_name from information_schema.columns"
                " where table_schema = 'raw' and table_name = %s order by ordinal_position",
                [table],
            ).fetchall()
        ]
        condition = (
            f"xid >= '{planned.from_xid}'::xid8 and xid < '{planned.to_xid}'::xid8"
            if planned
            else "true"
        )
        rows = (
            f"select row_to_json(landed)::text from"  # noqa: S608 - names come from the catalogue
            f" (select {', '.join(columns)} from raw.{table} where {condition}) as landed"
        )
        with tempfile.TemporaryFile() as file:
            with self._connection.cursor(name="raw_rows") as cursor:
                cursor.itersize = 5000
                for (line,) in cursor.execute(rows.encode()):
                    file.write(storable(line))
                    file.write(b"\n")
            yield file


def storable(line: str) -> bytes:
    """A JSON object as BigQuery can hold it: numbers as 64 bits, whole or floating.

    PostgreSQL keeps any number of digits, and one number too long would fail a whole load job. A
    number beyond floating point becomes text.
    """
    if not re.search(r"[.0-9]{17}|[0-9][eE]", line):
        return line.encode()
    fits = json.loads(line, parse_int=_whole, parse_float=_floating)
    return msgspec.json.encode(fits)


def _whole(text: str) -> int | float | str:
    return int(text) if -(2**63) <= int(text) < 2**63 else _floating(text)


def _floating(text: str) -> float | str:
    number = float(text)
    return text if number in (float("inf"), float("-inf")) else number


def _fetch(
    connection: psycopg.Connection[Any], query: str, parameters: dict[str, Any] | None = None
) -> tuple[Any, ...]:
    row = connection.execute(query.encode(), parameters).fetchone()
    assert row is not None  # noqa: S101 - an aggregate always answers
    return row  # type: ignore[no-any-return]
