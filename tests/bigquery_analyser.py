"""What BigQuery itself would say of statements, without BigQuery: Google's analyser of its SQL.

The emulator runs statements that BigQuery refuses, PostgreSQL's syntax among them; this one runs
none, and knows types, names and functions as BigQuery does.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from google.cloud import bigquery

from tests.own_environment import python_with

WORKER = Path(__file__).with_name("bigquery_analyser_worker.py")
REQUIREMENTS = ("zetasql==0.1.5",)
PYTHON_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Analysed:
    """A statement, what BigQuery would refuse it for, and the columns that it reads by table."""

    statement: str
    problem: str | None
    read: dict[str, list[str]]


def analysed(statements: list[str], client: bigquery.Client, dataset: str) -> list[Analysed]:
    """`statements`, which are in the order in which they were sent, as BigQuery understands them.

    They may name what they make themselves, and the tables that stand in the data sets whose names
    begin with `dataset`.
    """
    python = python_with("bigquery-analyser", REQUIREMENTS, version=PYTHON_VERSION)
    given = {"tables": _described(client, dataset), "statements": statements}
    run = subprocess.run(
        [str(python), str(WORKER)],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    found = json.loads(run.stdout)
    return [Analysed(text, **each) for text, each in zip(statements, found, strict=True)]


def _described(
    client: bigquery.Client, dataset: str
) -> list[tuple[str, list[tuple[str, str, str]]]]:
    found = []
    for each in client.list_datasets():
        if each.dataset_id.startswith(f"{dataset}_"):
            for listed in client.list_tables(each.dataset_id):
                table = client.get_table(listed.reference)
                columns = [(field.name, field.field_type, field.mode) for field in table.schema]
                name = f"{table.project}.{table.dataset_id}.{table.table_id}"
                found.append((name, columns))
    return found
