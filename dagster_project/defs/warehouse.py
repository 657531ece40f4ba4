"""The dbt project and the raw tables that it reads."""

import dagster as dg

from cdp.settings import load_settings
from dagster_project.dbt_manifest import DBT_PROJECT_DIR, load_manifest
from dagster_project.dbt_models import dbt_models
from dagster_project.dbt_translator import BIGQUERY, StageTranslator


@dg.definitions
def warehouse() -> dg.Definitions:
    manifest = load_manifest()
    prefix = () if load_settings().engine == "postgres" else (BIGQUERY,)
    translator = StageTranslator(prefix=prefix)
    sources = [
        StageTranslator()
        .get_asset_spec(manifest, unique_id, None)
        .replace_attributes(kinds={"postgres", "table"})
        for unique_id in manifest["sources"]
    ]
    return dg.Definitions(assets=[*sources, dbt_models(manifest, DBT_PROJECT_DIR, translator)])
