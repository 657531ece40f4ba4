"""The golden check on a real project: the demo's scenario on both engines, table by table."""

import json
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from google.cloud import bigquery
from psycopg.rows import dict_row

from cdp.bigquery.comparison import TABLES, comparable
from cdp.bigquery.connection import BigQueryError, connect, explained
from cdp.bigquery.raw_load import load_raw
from cdp.bigquery.raw_tables import DATASETS, create_datasets, dataset_name
from cdp.database import migrate
from cdp.engine import dbt_variables
from cdp.postgres import EmbeddedPostgres
from cdp.settings import PROJECT_DIR, Settings, environment_set

SCENARIO = PROJECT_DIR / "seeds" / "demo" / "scenario.ndjson"
AS_OF = "2026-06-20T12:00:00+00:00"

# As the service would land them: the day's partition first, then all in one commit.
DAY = "select raw.ensure_partition((%s::timestamptz at time zone 'UTC')::date)"
LANDED = """
with sent as (select event from jsonb_array_elements(%(events)s::jsonb) as event),

counted as (
    insert into raw.landings
        (received_on, source, received_count, accepted_count, rejected_count)
    select (%(received_at)s::timestamptz at time zone 'UTC')::date, 'smoke', count(*), count(*), 0
    from sent
)

insert into raw.events
    (message_id, type, event, user_id, anonymous_id, email,
     occurred_at, received_at, source, payload)
select
    event ->> 'messageId',
    event ->> 'type',
    event ->> 'event',
    event ->> 'userId',
    event ->> 'anonymousId',
    lower(coalesce(event #>> '{traits,email}', event #>> '{context,traits,email}')),
    (event ->> 'timestamp')::timestamptz,
    %(received_at)s,
    'smoke',
    event
from sent
"""


def run_smoke(settings: Settings, *, say: Callable[[str], None]) -> dict[str, int]:
    """Rows of each public table, which are alike on both engines.

    Everything is made for this call and removed after it: a PostgreSQL, and data sets that begin
    with BIGQUERY_DATASET and a random number. Raises BigQueryError when a table differs.
    """
    with tempfile.TemporaryDirectory(prefix="cdp-smoke-") as folder:
        own = settings.model_copy(
            update={
                "home": Path(folder) / "home",
                "database_url": None,
                "ingest_database_url": None,
                "serving_database_url": None,
                "bigquery_dataset": f"{settings.bigquery_dataset}_smoke_{uuid.uuid4().hex[:8]}",
            }
        )
        client = connect(own)
        with _database(own) as url, _datasets(client, own):
            with psycopg.connect(url) as connection:
                connection.execute(DAY, [AS_OF])
                connection.execute(LANDED, {"events": _scenario(), "received_at": AS_OF})
            say("Building on PostgreSQL")
            build(own.model_copy(update={"engine": "postgres"}), Path(folder))
            say("Loading and building on BigQuery")
            load_raw(own, url, client=client)
            build(own.model_copy(update={"engine": "bigquery"}), Path(folder))
            return {table: _compare(client, own, url, table) for table in TABLES}


def _scenario() -> str:
    return f"[{','.join(SCENARIO.read_text().splitlines())}]"


def build(settings: Settings, folder: Path, *others: str) -> None:
    """Run dbt on the engine of the settings. Raises BigQueryError with what failed."""
    from dbt.cli.main import dbtRunner  # noqa: PLC0415 - takes seconds to import

    project = str(PROJECT_DIR / "dbt_project")
    with environment_set(dbt_variables(settings)):
        result = dbtRunner().invoke(
            [
                *("build", "--quiet", "--vars", json.dumps({"as_of": AS_OF}), *others),
                *("--exclude-resource-type", "unit_test", "--log-level-file", "none"),
                *("--project-dir", project, "--profiles-dir", project),
                *("--target-path", str(folder / settings.engine)),
            ]
        )
    if not result.success:
        failed = [
            f"{each.node.name}: {each.message}"
            for each in getattr(result.result, "results", [])
            if each.status in ("error", "fail")
        ]
        raise BigQueryError("dbt failed:\n" + ("\n".join(failed) or str(result.exception)))


@contextmanager
def _database(settings: Settings) -> Iterator[str]:
    server = EmbeddedPostgres(settings.home)
    server.start()
    try:
        url = server.url()
        migrate(url)
        yield url
    finally:
        server.stop()


@contextmanager
def _datasets(client: bigquery.Client, settings: Settings) -> Iterator[None]:
    try:
        create_datasets(client, settings)
        yield
    except BaseException:
        with suppress(BigQueryError):  # what failed first says more
            _remove_datasets(client, settings)
        raise
    _remove_datasets(client, settings)


def _remove_datasets(client: bigquery.Client, settings: Settings) -> None:
    for stage in DATASETS:
        name = dataset_name(settings, stage)
        with explained(f"remove {name}"):
            client.delete_dataset(name, delete_contents=True, not_found_ok=True)


def _compare(client: bigquery.Client, settings: Settings, url: str, table: str) -> int:
    stage, name = table.split(".")
    with psycopg.connect(url, row_factory=dict_row) as connection:
        rows = connection.execute(f"select * from {table}").fetchall()  # noqa: S608
        here = comparable(rows, TABLES[table])
    with explained(f"read {table}"):
        there = comparable(
            map(dict, client.list_rows(f"{dataset_name(settings, stage)}.{name}")), TABLES[table]
        )
    if here != there:
        missing = [row for row in here if row not in there]
        surplus = [row for row in there if row not in here]
        raise BigQueryError(
            f"{table} differs: on BigQuery {len(missing)} rows miss, {len(surplus)} are extra."
            f"\nmissing: {missing[:1]}\ntoo many: {surplus[:1]}"
        )
    return len(here)
