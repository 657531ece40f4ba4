"""Dagster's selection of assets and checks, in dbt's words."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from dagster_project.dbt_translator import UNIQUE_ID

NO_UNIT_TESTS = ("--exclude-resource-type", "unit_test")


def selection(context: dg.AssetExecutionContext, manifest: Mapping[str, Any]) -> list[str]:
    """The dbt arguments that build exactly what the run selected, without unit tests.

    These show that the SQL is right, whatever the data: `make test` runs them. Where not everything
    is selected, every model and test is named in full; tests that dbt would add on its own are left
    out, because the run has no place for their results.
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
        return [*NO_UNIT_TESTS]
    names = sorted(".".join(manifest["nodes"][unique_id]["fqn"]) for unique_id in chosen)
    return [*NO_UNIT_TESTS, "--indirect-selection", "empty", "--select", *names]
