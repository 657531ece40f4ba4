"""The nightly proof that what the refreshes added up equals a computation from scratch."""

import dagster as dg

from cdp.database import database_url
from cdp.settings import Settings
from dagster_project.dbt_manifest import DBT_PROJECT_DIR
from dagster_project.defs.jobs import EQUALS_FULL, QUIET
from dagster_project.exclusive import REFRESH, exclusive
from dagster_project.verification import Verification
from dagster_project.verification import verify as compare

VERIFY_CRON = "10 2 * * *"


@dg.asset_check(asset=EQUALS_FULL.asset_key, name=EQUALS_FULL.name, blocking=True)
def incremental_equals_full(
    context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings]
) -> dg.AssetCheckResult:
    """Every public table equals what a full refresh in scratch schemas says, row for row.

    A refresh waits while it runs. It passes with a warning in its metadata where there is nothing
    to compare with: before the first refresh, after a change of rules, or when raw events were
    dropped by age.
    """
    holder = f"cdp verify, run {context.run.run_id[:8]}"
    url = database_url(settings)
    with exclusive(url, REFRESH, holder=holder, on_wait=context.log.info):
        verification = compare(settings, DBT_PROJECT_DIR, context.log.debug)
    return _result(verification)


def _result(verification: Verification) -> dg.AssetCheckResult:
    if verification.skipped:
        return dg.AssetCheckResult(
            passed=True, description=verification.skipped, metadata={"skipped": True}
        )
    lines = [
        f"{table}: {each.missing} rows missing, {each.surplus} too many"
        for table, each in verification.differences.items()
    ]
    samples = [text for each in verification.differences.values() for text in each.samples]
    return dg.AssetCheckResult(
        passed=not verification.differences,
        description="; ".join(lines) or "Every table equals a full refresh.",
        metadata={
            **{f"rows {table}": count for table, count in verification.compared_rows.items()},
            "samples": dg.MetadataValue.md("\n".join(f"- `{text}`" for text in samples) or "none"),
        },
    )


verify = dg.define_asset_job(
    "verify",
    selection=dg.AssetSelection.checks(EQUALS_FULL),
    config=QUIET,
    description="Compare every public table with a full refresh in scratch schemas.",
)


@dg.schedule(
    job=verify,
    description="Starts `verify` every night.",
    cron_schedule=VERIFY_CRON,
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def verify_schedule() -> dg.RunRequest:
    """Starts `verify` every night."""
    return dg.RunRequest()
