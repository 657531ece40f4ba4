"""Analyses statements with Google's own analyser of BigQuery SQL (PyPI `zetasql`).

Runs in an environment of its own, see bigquery_analyser.py. Reads JSON: `tables`, a list of names
with columns (name, type, mode), and `statements`, in the order in which they were sent. Prints a
JSON list: of each statement the `problem`, or null, and the columns that it `read`, by table.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import wasmtime


class KeptCompilation(wasmtime.Config):  # type: ignore[misc]
    """The analyser is WebAssembly: compiling it takes half a minute, once in an environment."""

    def __init__(self) -> None:
        super().__init__()
        folder = Path(sys.prefix) / "compiled"
        settings = Path(sys.prefix) / "wasmtime.toml"
        settings.write_text(f'[cache]\ndirectory = "{folder}"\n')
        self.cache = str(settings)


wasmtime.Config = KeptCompilation

# The package takes the name above when it is imported.
from zetasql.api import Analyzer, CatalogBuilder, TableBuilder  # noqa: E402
from zetasql.api.resolved_visitor import ResolvedNodeVisitor  # noqa: E402
from zetasql.types import (  # noqa: E402
    AnalyzerOptions,
    LanguageFeature,
    LanguageOptions,
    ZetaSQLBuiltinFunctionOptions,
)

# The analyser can do more than BigQuery does.
NOT_IN_BIGQUERY = (
    "FEATURE_JSON_TYPE_COMPARISON",
    "FEATURE_ARRAY_EQUALITY",
    "FEATURE_ARRAY_ORDERING",
    "FEATURE_GROUP_BY_ARRAY",
    "FEATURE_GROUP_BY_STRUCT",
)
# What the API calls a type, where SQL has another name for it.
SQL_NAMES = {"INTEGER": "INT64", "BOOLEAN": "BOOL", "FLOAT": "FLOAT64"}
# BigQuery's other names for a type, which are not the analyser's.
ALIASES = {"bigint": "int64"}
# Its answer nests deeper than the Python package reads: it had nothing against the statement.
TOO_DEEP_TO_READ = "upb_DecodeOptions_MaxDepth"


Columns = list[tuple[str, Any]]  # names and resolved types


class Catalog:
    """The tables that statements may name."""

    def __init__(self) -> None:
        self.language = LanguageOptions.maximum_features()
        for name in NOT_IN_BIGQUERY:
            feature = getattr(LanguageFeature, name)
            if feature in self.language.enabled_language_features:
                self.language.enabled_language_features.remove(feature)
        self.tables: dict[str, Columns] = {}
        self.types: dict[str, Any] = {}

    def type_of(self, name: str, mode: str) -> Any:
        """The resolved type of a column as the API describes it."""
        written = SQL_NAMES.get(name, name)
        written = f"array<{written}>" if mode == "REPEATED" else written
        if written not in self.types:
            found = self.analyse(f"select cast(null as {written}) as value")
            self.types[written] = found.output_column_list[0].column.type
        return self.types[written]

    def analyse(self, statement: str) -> Any:
        # A catalogue travels with each statement: only what this one names.
        builder = CatalogBuilder("warehouse")
        for name, columns in self.tables.items():
            if name in statement:
                table = TableBuilder(name)
                for column, its_type in columns:
                    table.add_column(column, its_type)
                builder.add_table(table.build())
        functions = ZetaSQLBuiltinFunctionOptions(language_options=self.language)
        catalog = builder.with_builtin_functions(functions).build()
        options = AnalyzerOptions(language_options=self.language, prune_unused_columns=True)
        return Analyzer(options, catalog).analyze_statement(statement)


def without_numbers(script: str) -> str:
    """The script with one number for every long one: runs, transactions, scratch tables."""
    return re.sub(r"\d{6,}", "100000", re.sub(r"/\*.*?\*/", "", script, flags=re.DOTALL))


def parts_of(script: str) -> list[str]:
    """The statements of a script, names of tables in one pair of quotes, without comments."""
    text = re.sub(r"(?m)^\s*--.*$", "", script)
    text = re.sub(r"`([^`]+)`\.`?(\w+)`?\.`?(\w+)`?", r"`\1.\2.\3`", text)
    for alias, name in ALIASES.items():
        text = re.sub(rf"\b{alias}\b", name, text)
    return [part for part in re.split(r";\s*(?=\n|$)", text) if part.strip()]


class TableScans(ResolvedNodeVisitor):  # type: ignore[misc]
    """Collects the columns that a statement reads, by table."""

    def __init__(self) -> None:
        super().__init__()
        self.columns: dict[str, set[str]] = {}

    def visit_ResolvedTableScan(self, node: Any) -> None:  # noqa: N802 - the package's own way
        read = self.columns.setdefault(node.table.full_name or node.table.name, set())
        read.update(column.name for column in node.column_list)
        self.descend(node)

    def visit_ResolvedInsertStmt(self, node: Any) -> None:  # noqa: N802 - the package's own way
        # What is inserted into is not read.
        if node.query is not None:
            self.visit(node.query)


def analysed(script: str, catalog: Catalog) -> dict[str, Any]:
    """What there is to say of a statement or script; tables that it makes are known afterwards."""
    problem, scans = None, TableScans()
    for part in parts_of(script):
        if "INFORMATION_SCHEMA" in part.upper():
            continue
        try:
            found = catalog.analyse(part)
        except Exception as error:  # noqa: BLE001 - whatever it says is the answer
            if TOO_DEEP_TO_READ not in str(error):
                problem = problem or str(error)
            continue
        scans.visit(found)
        if type(found).__name__ == "ResolvedCreateTableAsSelectStmt":
            columns = [(column.name, column.column.type) for column in found.output_column_list]
            catalog.tables[".".join(found.name_path)] = columns
    return {
        "problem": problem,
        "read": {name: sorted(each) for name, each in scans.columns.items()},
    }


def main() -> None:
    given = json.load(sys.stdin)
    catalog = Catalog()
    for name, columns in given["tables"]:
        catalog.tables[name] = [
            (column, catalog.type_of(its_type, mode)) for column, its_type, mode in columns
        ]
    known: dict[str, dict[str, Any]] = {}
    scripts = [without_numbers(script) for script in given["statements"]]
    for script in scripts:
        if script not in known:
            known[script] = analysed(script, catalog)
    json.dump([known[script] for script in scripts], sys.stdout)


if __name__ == "__main__":
    main()
