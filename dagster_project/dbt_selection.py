"""Dagster's selection of assets and checks, in dbt's words."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from dagster_project.dbt_translator import UNIQUE_ID


def selection(context: dg.AssetExecutionContext, manifest: Mapping[str, Any]) -> list[str]:
    """The dbt arguments that build exactly what the run selected.

    Nothing when everything is selected. Otherwise every model and test by its full name, and the
    unit tests of the chosen models; tests that dbt would add on its own are left out, because the
    run has no place for their results.
    """
    assets = context.assets_def
    chosen = {
        assets.get_asset_spec(key).metadata[UNIQUE_ID] for key in context.selected_asset_keys
    } | {
        assets.get_spec_for_check_key(key).metadata[UNIQUE_ID]
        for key in context.selected_asset_check_keys
    }
    everything = {
        spec.metadata[UNIQUE_ID]
        for spec in (
            *(assets.get_asset_spec(key) for key in assets.node_keys_by_output_name.values()),
            *assets.node_check_specs_by_output_name.values(),
        )
    }
    if chosen == everything:
        return []
    unit_tests = [
        test
        for test in manifest["unit_tests"].values()
        if chosen.intersection(test["depends_on"]["nodes"])
    ]
    names = sorted(
        ".".join(node["fqn"])
        for node in (*(manifest["nodes"][unique_id] for unique_id in chosen), *unit_tests)
    )
    return ["--indirect-selection", "empty", "--select", *names]
