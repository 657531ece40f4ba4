"""Serves the BigQuery emulator. Runs in the emulator's own environment, see bigquery_emulator.py.

    python bigquery_emulator_server.py serve --port 9050 --data-dir FOLDER ...

Two things are put right on the way: DuckDB's extensions come from their packages, since nothing may
be downloaded while tests run, and a `create table ... as` job names the table that it made, as
BigQuery's does and dbt expects.
"""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

EXTENSIONS = ("ducklake", "spatial")


def extension_files() -> list[Path]:
    """The extensions that the packages duckdb-extension-* brought along."""
    files: list[Path] = []
    for name in EXTENSIONS:
        spec = importlib.util.find_spec(f"duckdb_extension_{name}")
        if spec is None or spec.origin is None:
            raise SystemExit(f"duckdb-extension-{name} is not installed beside the emulator.")
        files += Path(spec.origin).parent.rglob("*.duckdb_extension")
    return files


def load_extensions_from_packages() -> None:
    duckdb: Any = importlib.import_module("duckdb")
    connect = duckdb.connect

    def connect_with_extensions(*arguments: Any, config: Any = None, **options: Any) -> Any:
        settings = dict(config or {})
        # It can only be set once the extension icu is there.
        time_zone = settings.pop("TimeZone", None)
        connection = connect(*arguments, config=settings, **options)
        connection.execute("load icu")
        for path in extension_files():
            connection.execute(f"load '{path}'")
        if time_zone:
            connection.execute(f"set TimeZone = '{time_zone}'")
        return connection

    duckdb.connect = connect_with_extensions


def name_the_created_table() -> None:
    query: Any = importlib.import_module("local_bigquery.jobs.query")
    execute = query.execute

    def execute_and_name(*arguments: Any, **options: Any) -> Any:
        statistics, children, destination = execute(*arguments, **options)
        created = getattr(statistics, "statementType", None) == "CREATE_TABLE_AS_SELECT"
        if destination is None and created and statistics.ddlTargetTable:
            destination = statistics.ddlTargetTable
        return statistics, children, destination

    query.execute = execute_and_name


if __name__ == "__main__":
    load_extensions_from_packages()
    name_the_created_table()
    importlib.import_module("local_bigquery.cli").main()
