"""Named jobs, so that nobody types run configuration."""

import dagster as dg

from dagster_project.instance import ONE_AT_A_TIME

EVERYTHING = dg.AssetSelection.all() - dg.AssetSelection.assets(["activate", "audience_csv"])
REFRESH_TAGS = {ONE_AT_A_TIME: "refresh"}

refresh = dg.define_asset_job(
    "refresh",
    selection=EVERYTHING,
    tags=REFRESH_TAGS,
    description="Build and test every dbt model from what has landed, then deliver every audience.",
)

full_refresh = dg.define_asset_job(
    "full_refresh",
    selection=EVERYTHING,
    tags=REFRESH_TAGS,
    config={"ops": {"dbt_models": {"config": {"full_refresh": True}}}},
    description="Like `refresh`, but rebuilds the incremental models from all of history.",
)
