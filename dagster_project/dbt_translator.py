"""How dbt's resources appear in Dagster: keys, groups, descriptions and checks."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtProject

from dagster_project.freshness import WITH_THE_REFRESH
from dagster_project.stages import OWNERS, stage_of

UNIQUE_ID = "dagster_dbt/unique_id"
WATERMARK = dg.AssetKey(["decide", "watermark"])
# Where the assets of dbt lie when BigQuery computes: without it stand the tables in PostgreSQL.
BIGQUERY = "bigquery"


class StageTranslator(DagsterDbtTranslator):
    """Keys are [schema, table], groups are the stages, dbt tests are checks.

    `prefix` comes before every key. The batch, dated by `decide.watermark`, may be late.
    """

    def __init__(self, prefix: Sequence[str] = ()) -> None:
        super().__init__(DagsterDbtTranslatorSettings(enable_source_tests_as_checks=True))
        self._prefix = prefix

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        # The table's own name: a seed and a model may not share one in dbt, so one has an alias.
        table = dbt_resource_props.get("alias") or dbt_resource_props["name"]
        return dg.AssetKey([*self._prefix, _schema(dbt_resource_props), table])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str:
        return stage_of(_schema(dbt_resource_props))

    def get_asset_spec(
        self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetSpec:
        spec = super().get_asset_spec(manifest, unique_id, project)
        props = self.get_resource_props(manifest, unique_id)
        if not spec.owners:
            spec = spec.replace_attributes(owners=OWNERS[self.get_group_name(props)])
        if props["resource_type"] == "seed":
            spec = spec.replace_attributes(kinds={"dbt", "csv"})
        if spec.key == WATERMARK.with_prefix(self._prefix):
            spec = spec.replace_attributes(freshness_policy=WITH_THE_REFRESH)
        return spec

    def get_asset_check_spec(
        self,
        asset_spec: dg.AssetSpec,
        manifest: Mapping[str, Any],
        unique_id: str,
        project: DbtProject | None,  # noqa: ARG002 - the base class passes it
    ) -> dg.AssetCheckSpec | None:
        test = manifest["nodes"][unique_id]
        if self.get_asset_key(_node(manifest, checked_node(manifest, test))) != asset_spec.key:
            return None
        others = {
            self.get_asset_key(_node(manifest, parent)) for parent in test["depends_on"]["nodes"]
        } - {asset_spec.key}
        return dg.AssetCheckSpec(
            name=test["name"],
            asset=asset_spec.key,
            description=test.get("description") or None,
            additional_deps=sorted(others),
            metadata={UNIQUE_ID: unique_id},
            blocking=(test["config"].get("severity") or "error").lower() == "error",
        )


def checked_node(manifest: Mapping[str, Any], test: Mapping[str, Any]) -> str:
    """The node whose check a test is: the one it is attached to, else its last in the graph.

    dbt attaches only generic tests. A singular test over several models can be judged once the
    last of them is built, so it belongs to the one that has most of the others above it.
    """
    attached = test.get("attached_node")
    if attached:
        return str(attached)
    parents: Sequence[str] = test["depends_on"]["nodes"]
    return max(parents, key=lambda parent: (len(_ancestors(manifest, parent)), parent))


def _ancestors(manifest: Mapping[str, Any], unique_id: str) -> set[str]:
    found: set[str] = set()
    waiting = [unique_id]
    while waiting:
        for parent in manifest["parent_map"].get(waiting.pop(), []):
            if parent not in found:
                found.add(parent)
                waiting.append(parent)
    return found


def _node(manifest: Mapping[str, Any], unique_id: str) -> Mapping[str, Any]:
    node: Mapping[str, Any] = manifest["nodes"].get(unique_id) or manifest["sources"][unique_id]
    return node


def _schema(dbt_resource_props: Mapping[str, Any]) -> str:
    return str(dbt_resource_props["schema"])
