"""The public tables in BigQuery: one asset each, a job for all, and an hourly schedule."""

from collections.abc import Iterator

import dagster as dg

from cdp.database import database_url
from cdp.settings import Settings, load_settings
from dagster_project.defs.delivery_jobs import export_bigquery
from dagster_project.destinations.bigquery_tables import open_tables
from dagster_project.freshness import by_schedule
from dagster_project.stages import OWNERS
from dagster_project.warehouse_export import (
    EXPORTED,
    Exported,
    ExportedTable,
    export_key,
    export_table,
)

ROW_COUNTS_AGREE = "row_counts_agree"
EXPORT_CRON = "50 * * * *"


def export_asset(source: ExportedTable, *, is_exported: bool = True) -> dg.AssetsDefinition:
    """One table: whole at first, then what was written since."""
    key = dg.AssetKey(export_key(source))

    @dg.asset(
        key=key,
        deps=[dg.AssetKey([source.schema, source.name])],
        group_name="activate",
        owners=OWNERS["activate"],
        kinds={"bigquery", "table"},
        pool="deliver_bigquery",
        # Where nothing is exported nothing is late.
        freshness_policy=by_schedule(EXPORT_CRON) if is_exported else None,
        retry_policy=dg.RetryPolicy(max_retries=2, delay=30, backoff=dg.Backoff.EXPONENTIAL),
        check_specs=[
            dg.AssetCheckSpec(
                ROW_COUNTS_AGREE,
                asset=key,
                description="BigQuery has as many rows as the table had when it was read.",
                # So that the run fails, which alerts.
                blocking=True,
            )
        ],
        description=f"`{source.schema}.{source.name}` in BigQuery.",
    )
    def export(
        context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]
    ) -> Iterator[dg.MaterializeResult[None]]:
        exported = export_table(
            database_url(settings),
            settings,
            open_tables(settings),
            source,
            holder=f"cdp export, run {context.run.run_id[:8]}",
        )
        yield dg.MaterializeResult(
            metadata={
                "dagster/row_count": exported.row_count,
                "rows_written": exported.rows,
                "bytes_loaded": exported.bytes_loaded,
                "how": exported.how,
            },
            check_results=[
                dg.AssetCheckResult(
                    check_name=ROW_COUNTS_AGREE,
                    passed=exported.agrees,
                    metadata={"rows": exported.row_count, "expected": exported.expected},
                    description=None if exported.agrees else _difference(source, exported),
                )
            ],
        )

    return export


def _difference(source: ExportedTable, exported: Exported) -> str:
    return (
        f"{source.schema}.{source.name} has {exported.expected:,} rows, its table in BigQuery "
        f"{exported.row_count:,} after a whole load. The next export is whole again; if it differs "
        "too, see whether something else writes that table."
    )


@dg.definitions
def warehouse_export() -> dg.Definitions:
    is_exported = load_settings().bigquery_project_id is not None

    @dg.schedule(
        job=export_bigquery,
        description="Starts `export_bigquery` every hour where BIGQUERY_PROJECT_ID is set.",
        cron_schedule=EXPORT_CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    def export_bigquery_schedule() -> dg.RunRequest | dg.SkipReason:
        """Starts `export_bigquery` every hour where BIGQUERY_PROJECT_ID is set."""
        if not is_exported:
            return dg.SkipReason("BIGQUERY_PROJECT_ID is not set: nothing is exported.")
        return dg.RunRequest()

    return dg.Definitions(
        assets=[export_asset(source, is_exported=is_exported) for source in EXPORTED],
        schedules=[export_bigquery_schedule],
    )
