"""With CDP_ENGINE=bigquery: raw events to BigQuery before dbt, and its tables back after it.

The assets of dbt then lie under `bigquery`, and the tables in PostgreSQL, which deliveries and the
services read, are what is published from them.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from cdp.bigquery.publish import PublishedTable, missing_tables, publish
from cdp.bigquery.raw_load import load_raw
from cdp.bigquery.raw_tables import TABLES
from cdp.database import database_url
from cdp.rebase import rebase_restored
from cdp.settings import Settings, load_settings
from dagster_project.dbt_manifest import DBT_PROJECT_DIR, load_manifest
from dagster_project.dbt_translator import BIGQUERY, WATERMARK
from dagster_project.exclusive import REFRESH, exclusive
from dagster_project.progress import OnStep
from dagster_project.published_tables import (
    build_online_store,
    build_shapes,
    published_tables,
    read_services,
)
from dagster_project.stages import OWNERS, stage_of

LOADING = "load of raw to BigQuery"


@dg.definitions
def bigquery() -> dg.Definitions:
    if load_settings().engine != "bigquery":
        return dg.Definitions()
    return dg.Definitions(assets=[loaded_raw(), published(load_manifest())])


def loaded_raw() -> dg.AssetsDefinition:
    """The raw tables on BigQuery."""

    @dg.multi_asset(
        name="loaded_raw",
        specs=[
            dg.AssetSpec(
                [BIGQUERY, "raw", table.name],
                deps=[["raw", table.name]],
                group_name="collect",
                owners=OWNERS["collect"],
                kinds={"bigquery", "table"},
                description="Loaded from PostgreSQL by range of landing transaction, each once.",
            )
            for table in TABLES
        ],
    )
    def load(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        on_step: dg.ResourceParam[OnStep],
    ) -> Iterator[dg.MaterializeResult[None]]:
        url = database_url(settings)
        holder = f"cdp load, run {context.run.run_id[:8]}"
        with exclusive(url, LOADING, holder=holder, on_wait=context.log.info):
            on_step("raw events to BigQuery", 0, 1)
            rebase_restored(url)  # a restored dump has ids that mean nothing here
            loaded = load_raw(
                settings, url, on_range=lambda events: context.log.info("%d events loaded.", events)
            )
        for key in context.selected_asset_keys:
            metadata = {"new_events": loaded.events, "ranges": loaded.ranges}
            yield dg.MaterializeResult(asset_key=key, metadata=metadata)

    return load


def published(manifest: Mapping[str, Any]) -> dg.AssetsDefinition:
    """The tables in PostgreSQL that the services, deliveries and decisions read."""
    tables = published_tables(manifest)
    keys = {table: dg.AssetKey([table.stage, table.name]) for table in tables}
    nodes = [manifest["nodes"][each] for each in read_services(manifest)]
    built_here = [dg.AssetKey([node["schema"], node["name"]]) for node in nodes]

    @dg.multi_asset(
        name="published",
        specs=[
            *(
                dg.AssetSpec(
                    key,
                    deps=[key.with_prefix(BIGQUERY), WATERMARK.with_prefix(BIGQUERY)],
                    group_name=stage_of(key.path[0]),
                    owners=OWNERS[stage_of(key.path[0])],
                    kinds={"postgres", "table"},
                    description="Published from BigQuery, with all the others in one transaction.",
                )
                for key in (*keys.values(), WATERMARK)
            ),
            *(
                dg.AssetSpec(
                    key,
                    deps=[WATERMARK.with_prefix(BIGQUERY)],
                    group_name=stage_of(key.path[0]),
                    owners=OWNERS[stage_of(key.path[0])],
                    kinds={"postgres", "table", "dbt"},
                    description="Made here, of what is published and of what services write.",
                )
                for key in built_here
            ),
        ],
    )
    def publish_tables(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        on_step: dg.ResourceParam[OnStep],
    ) -> Iterator[dg.MaterializeResult[None]]:
        url = database_url(settings)
        holder = f"cdp publication, run {context.run.run_id[:8]}"
        with exclusive(url, REFRESH, holder=holder, on_wait=context.log.info):
            if missing := missing_tables(url, tables):
                context.log.info("Making %s and what belongs to it.", _names(missing))
                build_shapes(settings, DBT_PROJECT_DIR)
            written = publish(settings, url, tables, on_table=on_step)
            build_online_store(settings, DBT_PROJECT_DIR)
        for table, result in written.items():
            yield dg.MaterializeResult(
                asset_key=keys[table],
                metadata={"dagster/row_count": result.rows, "rows_changed": result.written},
            )
        for key in (WATERMARK, *built_here):
            yield dg.MaterializeResult(asset_key=key)

    return publish_tables


def _names(tables: list[PublishedTable]) -> str:
    return ", ".join(f"{table.stage}.{table.name}" for table in tables)
