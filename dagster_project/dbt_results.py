"""What Dagster records of a dbt node that has finished."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_project.dbt_process import NodeResult

TABLE_MATERIALIZATIONS = frozenset({"table", "seed"})


def materialization(
    key: dg.AssetKey,
    result: NodeResult,
    node: Mapping[str, Any],
    target_dir: Path,
    more: Mapping[str, Any],
) -> dg.MaterializeResult[None]:
    """The materialisation of a model, seed or snapshot, with rows, seconds, its SQL, and `more`."""
    return dg.MaterializeResult(
        asset_key=key, metadata=_rows(result, node) | _common(result, node, target_dir) | dict(more)
    )


def check_result(
    key: dg.AssetCheckKey,
    result: NodeResult,
    node: Mapping[str, Any],
    target_dir: Path,
    found: Sequence[str] = (),
) -> dg.AssetCheckResult:
    """The outcome of a dbt test. Its severity is the test's: dbt calls a mild failure `warn`.

    `found` says what was found, one line each, where more is known than how many rows.
    """
    is_mild = result.status == "warn"
    return dg.AssetCheckResult(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=result.status == "pass",
        severity=dg.AssetCheckSeverity.WARN if is_mild else dg.AssetCheckSeverity.ERROR,
        description="\n".join(found) or result.message or None,
        metadata={"failing_rows": result.failures or 0} | _common(result, node, target_dir),
    )


def describe(result: NodeResult, node: Mapping[str, Any]) -> str:
    """One line for people: what failed, where its file is, and what dbt says."""
    where = node.get("original_file_path", "")
    return f"{result.resource_type} {result.name} ({where}): {result.message or result.status}"


def _rows(result: NodeResult, node: Mapping[str, Any]) -> dict[str, Any]:
    if result.rows_affected is None:
        return {}
    built_whole = node["config"].get("materialized") in TABLE_MATERIALIZATIONS
    name = "dagster/row_count" if built_whole else "rows_changed"
    return {name: result.rows_affected}


def _common(result: NodeResult, node: Mapping[str, Any], target_dir: Path) -> dict[str, Any]:
    metadata: dict[str, Any] = {"seconds": round(result.seconds, 3)}
    if result.message:
        metadata["dbt"] = result.message
    compiled = _compiled_path(node, target_dir)
    if compiled.exists():
        metadata["compiled_sql"] = dg.MetadataValue.path(str(compiled))
    return metadata


def _compiled_path(node: Mapping[str, Any], target_dir: Path) -> Path:
    below: Path = target_dir / "compiled" / node["package_name"] / node["original_file_path"]
    # Generic tests are written into a folder named after the YAML file that lists them.
    return below / node["path"] if below.suffix in (".yml", ".yaml") else below
