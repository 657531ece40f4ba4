"""The dbt project and the raw tables that it reads."""

import dagster as dg

from cdp.settings import load_settings
from dagster_project.dbt_manifest import DBT_PROJECT_DIR, load_manifest
from dagster_project.dbt_models import dbt_models
from dagster_project.dbt_translator import BIGQUERY, StageTranslator
from dagster_project.published_tables import read_services


@dg.definitions
def warehouse() -> dg.Definitions:
    manifest = load_manifest()
    is_elsewhere = load_settings().engine != "postgres"
    translator = StageTranslator(prefix=(BIGQUERY,) if is_elsewhere else ())
    built_here = read_services(manifest) if is_elsewhere else []
    sources = [
        StageTranslator()
        .get_asset_spec(manifest, unique_id, None)
        .replace_attributes(kinds={"postgres", "table"})
        for unique_id in manifest["sources"]
    ]
    models = dbt_models(manifest, DBT_PROJECT_DIR, translator, left_out=built_here)
    return dg.Definitions(assets=[*sources, models])
