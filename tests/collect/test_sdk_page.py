"""docs/sdks.md is true: every reason for a rejection is explained, and every package is run."""

import ast
import json
import re

from cdp.settings import PROJECT_DIR
from tests.collect.sdk_packages import SDKS

PAGE = (PROJECT_DIR / "docs" / "sdks.md").read_text()


def rejection_codes() -> set[str]:
    """The codes in the source: the first argument of every RejectionError and Rejected."""
    codes = {"invalid_properties", "invalid_traits", "invalid_context"}
    for path in (PROJECT_DIR / "ingest").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("RejectionError", "Rejected")
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                codes.add(str(node.args[0].value))
    return codes


def test_every_reason_for_a_rejection_is_explained_and_no_other() -> None:
    table = PAGE[PAGE.index("## What is refused, by code") :]
    explained = {
        code
        for line in table.splitlines()
        if line.startswith("| `")
        for code in re.findall(r"`([a-z_]+)`", line.split("|")[1])
    }
    assert explained == rejection_codes()


def test_every_javascript_package_on_the_page_is_pinned_and_run() -> None:
    pinned = json.loads((SDKS / "package.json").read_text())["dependencies"]
    assert set(re.findall(r"\*\*(@[a-z]+/[a-z-]+)\*\*", PAGE)) == set(pinned)
    tests = "".join(path.read_text() for path in PROJECT_DIR.glob("tests/collect/test_sdks_*.py"))
    tests += "".join(path.read_text() for path in SDKS.glob("*.cjs"))
    assert all(name in tests for name in pinned)
