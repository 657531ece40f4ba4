"""The golden check on a real project: the golden files on both engines, table by table."""

import json
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
from google.cloud import bigquery
from psycopg.rows import dict_row

from cdp.bigquery.comparison import TABLES, comparable
from cdp.bigquery.connection import BigQueryError, connect, explained
from cdp.bigquery.raw_load import load_raw
from cdp.bigquery.raw_tables import DATASETS, create_datasets, dataset_name
from cdp.database import migrate
from cdp.engine import dbt_variables
from cdp.golden import REFRESHED_AT, as_golden, batch_of_events, expected_rows
from cdp.golden import TABLES as GOLDEN_TABLES
from cdp.postgres import EmbeddedPostgres
from cdp.settings import PROJECT_DIR, Settings, environment_set

# As the service lands them: each day's partition first, then all in one commit. Golden rows name
# their source `test`.
PARTITIONS = """
select raw.ensure_partition(received_on)
from (
    select distinct ((event ->> 'receivedAt')::timestamptz at time zone 'UTC')::date as received_on
    from jsonb_array_elements(%(events)s::jsonb) as event
) as days
"""
LANDED = """
with sent as (
    select
        event,
        place,
        (event ->> 'receivedAt')::timestamptz as received_at,
        coalesce(event #> '{traits}', event #> '{context,traits}') as traits
    from jsonb_array_elements(%(events)s::jsonb) with ordinality as elements (event, place)
),

counted as (
    insert into raw.landings
        (received_on, source, received_count, accepted_count, rejected_count)
    select (received_at at time zone 'UTC')::date, 'test', count(*), count(*), 0
    from sent
    group by (received_at at time zone 'UTC')::date
)

insert into raw.events
    (message_id, type, event, user_id, anonymous_id, previous_id, email, phone,
     occurred_at, received_at, source, payload)
select
    event ->> 'messageId',
    event ->> 'type',
    event ->> 'event',
    event ->> 'userId',
    event ->> 'anonymousId',
    event ->> 'previousId',
    traits ->> 'email',
    traits ->> 'phone',
    coalesce((event ->> 'timestamp')::timestamptz, received_at),
    received_at,
    'test',
    event
from sent
order by place
"""


def run_smoke(settings: Settings, *, say: Callable[[str], None]) -> dict[str, int]:
    """Rows of each public table, which are alike on both engines.

    The golden files, refreshed batch by batch. Everything is made for this call and removed after
    it: a PostgreSQL, and data sets that begin with BIGQUERY_DATASET and a random number. Raises
    BigQueryError when a table differs from PostgreSQL's or from the golden one.
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
            for batch, as_of in enumerate(REFRESHED_AT, start=1):
                said = f"Refresh {batch} of {len(REFRESHED_AT)}"
                with psycopg.connect(url) as connection:
                    events = json.dumps(batch_of_events(batch))
                    connection.execute(PARTITIONS, {"events": events})
                    connection.execute(LANDED, {"events": events})
                say(f"{said}: building on PostgreSQL")
                build(own.model_copy(update={"engine": "postgres"}), Path(folder), as_of)
                say(f"{said}: loading and building on BigQuery")
                load_raw(own, url, client=client)
                build(own.model_copy(update={"engine": "bigquery"}), Path(folder), as_of)
            found = {table: _rows(client, own, table) for table in TABLES}
            _compare_with_golden(found)
            return {table: _compare(rows, url, table) for table, rows in found.items()}


def build(settings: Settings, folder: Path, as_of: str, *others: str) -> None:
    """Run dbt on the engine of the settings. Raises BigQueryError with what failed."""
    from dbt.cli.main import dbtRunner  # noqa: PLC0415 - takes seconds to import

    project = str(PROJECT_DIR / "dbt_project")
    with environment_set(dbt_variables(settings)):
        result = dbtRunner().invoke(
            [
                *("build", "--quiet", "--vars", json.dumps({"as_of": as_of}), *others),
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


def _rows(client: bigquery.Client, settings: Settings, table: str) -> list[dict[str, Any]]:
    stage, name = table.split(".")
    with explained(f"read {table}"):
        found = client.list_rows(f"{dataset_name(settings, stage)}.{name}")
        return [dict(row) for row in found]


def _compare(rows: list[dict[str, Any]], url: str, table: str) -> int:
    """How many rows a table has on both engines. Raises BigQueryError where one is another."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        standing = connection.execute(f"select * from {table}").fetchall()  # noqa: S608
    here, there = comparable(standing, TABLES[table]), comparable(rows, TABLES[table])
    _refuse_differences(table, here, there)
    return len(here)


def _compare_with_golden(found: Mapping[str, list[dict[str, Any]]]) -> None:
    unify = {name: found[f"unify.{name}"] for name in GOLDEN_TABLES}
    for name in GOLDEN_TABLES:
        expected, there = comparable(expected_rows(name)), comparable(as_golden(name, unify))
        _refuse_differences(f"unify.{name} (against seeds/golden)", expected, there)


def _refuse_differences(what: str, expected: list[str], there: list[str]) -> None:
    missing = list((Counter(expected) - Counter(there)).elements())
    surplus = list((Counter(there) - Counter(expected)).elements())
    if missing or surplus:
        raise BigQueryError(
            f"{what} differs: on BigQuery {len(missing)} rows miss, {len(surplus)} are extra."
            f"\nmissing: {missing[:1]}\ntoo many: {surplus[:1]}"
        )
