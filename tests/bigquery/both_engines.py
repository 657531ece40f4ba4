"""The same raw events built on both engines, and their tables in a form to compare."""

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
from dbt.artifacts.schemas.results import RunStatus
from dbt.cli.main import dbtRunner
from google.cloud import bigquery
from psycopg.rows import dict_row

from cdp.bigquery.comparison import TABLES, comparable
from cdp.bigquery.connection import connect, dbt_variables
from cdp.bigquery.raw_load import load_raw
from cdp.bigquery.raw_tables import create_datasets
from cdp.pauses import seldom_collected
from cdp.settings import Settings, environment_set
from tests.scratch import scratch_folder
from tests.warehouse import DBT_PROJECT, BuildError, build


@dataclass(frozen=True)
class BothEngines:
    """One PostgreSQL database, and the data sets of BigQuery that are loaded from it."""

    database: str
    settings: Settings

    @cached_property
    def client(self) -> bigquery.Client:
        client = connect(self.settings)
        create_datasets(client, self.settings)
        return client

    @cached_property
    def target_folder(self) -> Path:
        return scratch_folder("dbt-bigquery")

    def refresh(self, as_of: datetime, *, full_refresh: bool = False, command: str = "run") -> None:
        """Load, and build everything on BigQuery. Raises BuildError unless all of it succeeded."""
        assert self.client is not None
        load_raw(self.settings, self.database, client=self.client)
        self.dbt(command, as_of, *(["--full-refresh"] if full_refresh else []))

    def refresh_both(self, as_of: datetime, *, command: str = "run") -> None:
        build(self.database, as_of=as_of, command=command)
        self.refresh(as_of, command=command)

    def dbt(self, command: str, as_of: datetime, *others: str) -> None:
        arguments = [command, "--vars", json.dumps({"as_of": as_of.isoformat()}), *others]
        if command == "build":
            arguments += ["--exclude-resource-type", "unit_test"]
        folders = ["--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT)]
        written = ["--target-path", str(self.target_folder)]
        silent = ["--log-level", "none", "--log-level-file", "none"]
        with environment_set(dbt_variables(self.settings)), seldom_collected():
            result = dbtRunner().invoke([*arguments, *folders, *written, *silent])
        problems = [
            f"{each.node.name}: {each.message}"
            for each in getattr(result.result, "results", None) or []
            if each.status in (RunStatus.Error, "fail", "runtime error")
        ]
        if problems or not result.success:
            raise BuildError("\n".join(problems) or str(result.exception))

    def sent(self, since: datetime) -> list[str]:
        """The statements that BigQuery got for these data sets since an instant, in their order."""
        jobs = self.client.list_jobs(min_creation_time=since, max_results=10_000)
        queries = [job for job in jobs if isinstance(job, bigquery.QueryJob)]
        here = f"{self.settings.bigquery_dataset}_"
        return [each.query for each in sorted(queries, key=_age) if here in each.query]

    def on_postgres(self, table: str) -> list[str]:
        return comparable(self.postgres_rows(table), TABLES[table])

    def postgres_rows(self, table: str) -> list[dict[str, Any]]:
        with psycopg.connect(self.database, row_factory=dict_row) as connection:
            return connection.execute(f"select * from {table}").fetchall()

    def on_bigquery(self, table: str) -> list[str]:
        return comparable(self.rows(table), TABLES[table])

    def rows(self, table: str) -> list[dict[str, Any]]:
        """What a table on BigQuery holds, named as stage.table."""
        found = self.client.list_rows(f"cdp.{self.settings.bigquery_dataset}_{table}")
        return [dict(row) for row in found]


def _age(job: bigquery.QueryJob) -> tuple[datetime, str]:
    return job.created, job.job_id
