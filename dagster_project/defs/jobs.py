"""Named jobs, so that nobody types run configuration."""

import dagster as dg

from dagster_project.audience_reports import AUDIENCE
from dagster_project.instance import ONE_AT_A_TIME

# The proof of `verify` costs a full refresh, so a refresh does not include it.
EQUALS_FULL = dg.AssetCheckKey(dg.AssetKey(["decide", "watermark"]), "incremental_equals_full")
# Without what has partitions, which a refresh reports itself, and of what leaves the warehouse only
# the asset that delivers everything.
EVERYTHING = (
    (dg.AssetSelection.all() - dg.AssetSelection.groups("activate"))
    | dg.AssetSelection.assets(["activate", "deliveries"])
) - (dg.AssetSelection.assets(AUDIENCE) | dg.AssetSelection.checks(EQUALS_FULL))
REFRESH_TAGS = {ONE_AT_A_TIME: "refresh"}
# The whole log of a run is in the UI; without this each of its events is on the terminal too.
QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}

refresh = dg.define_asset_job(
    "refresh",
    selection=EVERYTHING,
    tags=REFRESH_TAGS,
    config=QUIET,
    description="Build and test every dbt model from what has landed, then deliver every audience.",
)

full_refresh = dg.define_asset_job(
    "full_refresh",
    selection=EVERYTHING,
    tags=REFRESH_TAGS,
    config={**QUIET, "ops": {"dbt_models": {"config": {"full_refresh": True}}}},
    description="Like `refresh`, but rebuilds the incremental models from all of history.",
)

rebuild_identity = dg.define_asset_job(
    "rebuild_identity",
    selection=EVERYTHING - dg.AssetSelection.groups("activate"),
    tags=REFRESH_TAGS,
    config={**QUIET, "ops": {"dbt_models": {"config": {"full_refresh": True}}}},
    description="Derive who is one person, and all that follows, from raw again; deliver nothing.",
)
