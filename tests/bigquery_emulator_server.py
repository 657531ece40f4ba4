"""Serves the BigQuery emulator. Runs in the emulator's own environment, see bigquery_emulator.py.

    python bigquery_emulator_server.py serve --port 9050 --data-dir FOLDER ...

Two things are put right on the way: DuckDB's extensions come from their packages, since nothing may
be downloaded while tests run, and a `create table ... as` job names the table that it made, as
BigQuery's does and dbt expects. One is made cheaper: before each statement the emulator asks what a
table is by going through all of them, which took most of the time.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

EXTENSIONS = ("ducklake", "spatial")
KEPT = Path(sys.prefix) / "duckdb_extensions"


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
        # Its tables are small. Extensions are kept beside the emulator, not in the home folder.
        settings = dict(config or {}) | {"threads": 1, "extension_directory": str(KEPT)}
        # It can only be set once the extension icu is there.
        time_zone = settings.pop("TimeZone", None)
        connection = connect(*arguments, config=settings, **options)
        connection.execute("load icu")
        for path in extension_files():
            # Installed, not only loaded: the emulator's own `install` then finds it and downloads
            # nothing.
            connection.execute(f"install '{path}'")
            connection.execute(f"load {path.stem}")
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


# How the questions begin that take most of the emulator's time, and the database of query results.
ABOUT_TABLES = "SELECT table_name, 'TABLE', estimated_size FROM duckdb_tables()"
ABOUT_COLUMNS = "SELECT column_name FROM duckdb_columns()"
QUESTIONS = (ABOUT_TABLES, ABOUT_COLUMNS, "SELECT 1 FROM duckdb_columns()")
RESULTS = "emulator"

TABLES = """
select schema_name, table_name, 'TABLE', coalesce(record_count, 0)
from {0}.ducklake_table as tables
inner join {0}.ducklake_schema as schemas using (schema_id)
left join {0}.ducklake_table_stats as stats using (table_id)
where tables.end_snapshot is null and schemas.end_snapshot is null
union all
select schema_name, view_name, 'VIEW', 0
from {0}.ducklake_view as views
inner join {0}.ducklake_schema as schemas using (schema_id)
where views.end_snapshot is null and schemas.end_snapshot is null
order by 2
"""
COLUMNS = """
select schema_name, table_name, column_name, nulls_allowed
from {0}.ducklake_column as columns
inner join {0}.ducklake_table as tables using (table_id)
inner join {0}.ducklake_schema as schemas using (schema_id)
where
    parent_column is null
    and columns.end_snapshot is null
    and tables.end_snapshot is null
    and schemas.end_snapshot is null
"""


class Catalog:
    """What a project holds, read once per state of it from DuckLake's own tables.

    It answers what the emulator asks before and after each statement.
    """

    def __init__(self, fetch: Any, no_such_table: type[Exception]) -> None:
        self._fetch = fetch
        self._no_such_table = no_such_table
        self._state: dict[str, tuple[Any, list[Any], list[Any]]] = {}

    def rows(self, sql: str, params: list[Any] | None = None) -> list[Any]:
        """What `fetch` would answer."""
        question = next((each for each in QUESTIONS if sql.startswith(each)), None)
        if question is None or not params:
            return self._fetch(sql, params)  # type: ignore[no-any-return]
        project, dataset, table, *_ = params
        if project == RESULTS:
            return self._result(question, dataset, table)
        tables, columns = self._read(project)
        if question == ABOUT_TABLES:
            return [row[1:] for row in tables if row[0] == dataset and table in (None, row[1])]
        if question == ABOUT_COLUMNS:
            return [row[2:3] for row in columns if row[:2] == (dataset, table) and not row[3]]
        return [(1,) for row in columns if row[:3] == tuple(params[1:])]

    def _result(self, question: str, dataset: str, table: str) -> list[Any]:
        """About the result of a query, which is in a database of the emulator's own."""
        if question != ABOUT_TABLES:
            return []  # all columns of a result may be null
        try:
            counted = self._fetch(f'select count(*) from {RESULTS}."{dataset}"."{table}"')
        except self._no_such_table:
            return []
        return [(table, "TABLE", counted[0][0])]

    def _read(self, project: str) -> tuple[list[Any], list[Any]]:
        lake = '"__ducklake_metadata_{}"'.format(project.replace('"', '""'))
        newest = self._fetch(f"select max(snapshot_id) from {lake}.ducklake_snapshot")
        known = self._state.get(project)
        if known is None or known[0] != newest:
            known = newest, self._fetch(TABLES.format(lake)), self._fetch(COLUMNS.format(lake))
            self._state[project] = known
        return known[1:]


def ask_the_catalog() -> None:
    database: Any = importlib.import_module("local_bigquery.engine.database")
    no_such_table: Any = importlib.import_module("duckdb").CatalogException
    database.fetch = Catalog(database.fetch, no_such_table).rows


if __name__ == "__main__":
    # It is not there, and DuckDB looks for it on the whole path with every statement.
    sys.modules["pandas"] = None  # type: ignore[assignment]
    load_extensions_from_packages()
    name_the_created_table()
    ask_the_catalog()
    importlib.import_module("local_bigquery.cli").main()
