"""Jobs that an operator starts by name, and the nightly one that keeps raw events in bounds."""

import dagster as dg

from cdp.database import database_url
from cdp.replay import replay_rejected as replay
from cdp.retention import drop_old_events
from cdp.settings import Settings, load_settings
from dagster_project.defs.jobs import QUIET

RETENTION_CRON = "40 3 * * *"


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
    """Drop the days of raw events that are older than CDP_RAW_RETENTION_DAYS."""
    days = drop_old_events(database_url(settings), settings.raw_retention_days)
    context.add_output_metadata({"dropped_days": [day.isoformat() for day in days]})


@dg.job(config=QUIET, description="After a fix: try again what `raw.rejected_events` holds.")
def replay_rejected() -> None:
    replay_quarantine()


@dg.job(
    config=QUIET, description="Drop raw events older than CDP_RAW_RETENTION_DAYS, by whole days."
)
def retention() -> None:
    drop_old_days()


@dg.schedule(
    job=retention,
    cron_schedule=RETENTION_CRON,
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def retention_schedule() -> dg.RunRequest | dg.SkipReason:
    """Starts `retention` every night where CDP_RAW_RETENTION_DAYS is set."""
    if load_settings().raw_retention_days is None:
        return dg.SkipReason("CDP_RAW_RETENTION_DAYS is not set: raw events are kept for ever.")
    return dg.RunRequest()
