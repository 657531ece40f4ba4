"""Jobs that an operator starts by name, and the nightly one that keeps raw events in bounds."""

from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.storage.dagster_run import FINISHED_STATUSES

from cdp.database import database_url
from cdp.replay import replay_rejected as replay
from cdp.retention import drop_old_events
from cdp.settings import Settings
from dagster_project.defs.jobs import QUIET

RETENTION_CRON = "40 3 * * *"
RUNS_AT_ONCE = 100


@dg.op
def replay_quarantine(context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings]) -> None:
    """Send every rejected event and request through again."""
    result = replay(database_url(settings), settings)
    context.log.info(
        "%d entries replayed (%d events landed), %d still rejected: %s",
        result.replayed,
        result.accepted_events,
        result.still_rejected,
        dict(result.reasons) or "none",
    )
    context.add_output_metadata(
        {
            "replayed": result.replayed,
            "accepted_events": result.accepted_events,
            "still_rejected": result.still_rejected,
            "reasons": dict(result.reasons),
        }
    )


@dg.op
def drop_old_days(context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings]) -> None:
    """Drop raw events older than CDP_RAW_RETENTION_DAYS, or than the term of their source."""
    days = drop_old_events(
        database_url(settings), settings.raw_retention_days, settings.source_retention_days
    )
    context.add_output_metadata({"changed_days": [day.isoformat() for day in days]})


@dg.op
def delete_old_runs(context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings]) -> None:
    """Delete finished runs and their logs after CDP_RUN_RETENTION_DAYS."""
    before = datetime.now(UTC) - timedelta(days=settings.run_retention_days)
    old = dg.RunsFilter(statuses=list(FINISHED_STATUSES), created_before=before)
    count = 0
    while runs := context.instance.get_run_records(old, limit=RUNS_AT_ONCE):
        for record in runs:
            context.instance.delete_run(record.dagster_run.run_id)
        count += len(runs)
    context.add_output_metadata({"deleted_runs": count})


@dg.job(config=QUIET, description="After a fix: try again what `raw.rejected_events` holds.")
def replay_rejected() -> None:
    replay_quarantine()


@dg.job(
    config=QUIET,
    description="Drop raw events (CDP_RAW_RETENTION_...) and Dagster runs by age.",
)
def retention() -> None:
    drop_old_days()
    delete_old_runs()


@dg.schedule(
    job=retention,
    description="Starts `retention` every night.",
    cron_schedule=RETENTION_CRON,
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def retention_schedule() -> dg.RunRequest:
    """Starts `retention` every night; without a term set, raw events are kept for ever."""
    return dg.RunRequest()
