"""The four packages meet in tables: none of the three programs imports another."""

import ast
from pathlib import Path

import pytest

from cdp.settings import PROJECT_DIR

PROGRAMS = ("ingest", "dbt_project", "dagster_project")


def _imported_packages(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_imports_none_of_the_others(program: str) -> None:
    others = set(PROGRAMS) - {program}
    found = {
        f"{path.relative_to(PROJECT_DIR)} imports {name}"
        for path in (PROJECT_DIR / program).rglob("*.py")
        for name in _imported_packages(path) & others
    }
    assert found == set()


def test_no_module_has_a_name_that_says_nothing() -> None:
    vague = {"utils", "helpers", "common", "manager", "misc"}
    found = [
        str(path.relative_to(PROJECT_DIR))
        for package in ("cdp", *PROGRAMS, "tests", "benchmarks")
        for path in (PROJECT_DIR / package).rglob("*")
        if path.stem in vague
    ]
    assert found == []
