"""Which tables go back to PostgreSQL when BigQuery computes, and how they get their shape there."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cdp.bigquery.publish import PublishedTable
from cdp.engine import postgres_variables
from cdp.settings import Settings
from dagster_project.dbt_process import DbtError, NodeResult, stream_dbt

WATERMARK_ID = "model.cdp.watermark"


def read_services(manifest: Mapping[str, Any]) -> list[str]:
    """Unique ids of the models over tables that services write, which only PostgreSQL has."""
    return sorted(
        unique_id
        for unique_id, parents in manifest["parent_map"].items()
        if unique_id.startswith("model.")
        and any(parent.startswith("source.cdp.decide.") for parent in parents)
    )


def published_tables(manifest: Mapping[str, Any]) -> list[PublishedTable]:
    """The tables with a contract, for other programs, and those that `decide` is made from."""
    built_here = [WATERMARK_ID, *read_services(manifest)]
    read_by_decide = {parent for each in built_here for parent in manifest["parent_map"][each]}
    return sorted(
        (
            PublishedTable(node["schema"], node["alias"], contract=_contract(node))
            for node in manifest["nodes"].values()
            if node["resource_type"] == "model"
            and node["config"]["materialized"] not in ("ephemeral", "view")
            and node["schema"] != "decide"
            and (node["config"]["contract"]["enforced"] or node["unique_id"] in read_by_decide)
        ),
        key=lambda table: (table.stage, table.name),
    )


def _contract(node: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    if not node["config"]["contract"]["enforced"]:
        return ()
    return tuple((name, column["data_type"]) for name, column in node["columns"].items())


def build_shapes(settings: Settings, project_dir: Path) -> None:
    """Have dbt make every table in PostgreSQL over no events, to be published to."""
    _run(settings, project_dir, ["build", "--vars", '{"structure_only": true}'])


def build_online_store(settings: Settings, project_dir: Path) -> None:
    """The last step of a refresh, on PostgreSQL, over the tables that were published there."""
    _run(settings, project_dir, ["build", "--select", "resource_type:seed", "path:models/decide"])


def _run(settings: Settings, project_dir: Path, arguments: Sequence[str]) -> None:
    results: list[NodeResult] = list(
        stream_dbt(
            [*arguments, "--exclude-resource-type", "test", "unit_test"],
            project_dir=project_dir,
            target_dir=settings.home / "dbt",
            environment=postgres_variables(settings),
        )
    )
    failed = [f"{result.name}: {result.message}" for result in results if result.failed]
    if failed:
        raise DbtError("\n".join(failed))
