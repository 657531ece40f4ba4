"""When the job `refresh` runs because something landed."""

import dagster as dg
import psycopg

from cdp.database import database_url
from cdp.settings import Settings
from dagster_project.defs.jobs import REFRESH_TAGS, refresh
from dagster_project.instance import end_dead_runs, runs_in_progress
from dagster_project.landed import landed_since_watermark


@dg.sensor(
    job=refresh,
    description="Starts `refresh` when events have landed beyond the watermark.",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def new_events(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
) -> dg.SensorResult | dg.SkipReason:
    """Starts `refresh` when events have landed beyond `decide.watermark`.

    The cursor is the last landing transaction that a run was asked for, so that a refresh that
    fails is not started again and again for the same events; the schedule tries it anyway.
    """
    end_dead_runs(context.instance)
    running = runs_in_progress(context.instance, REFRESH_TAGS)
    if running:
        return dg.SkipReason(f"Run {running[0].run_id} is {running[0].status.value.lower()}.")
    try:
        with psycopg.connect(database_url(settings), connect_timeout=5) as connection:
            landed = landed_since_watermark(connection, after_xid=context.cursor)
    except psycopg.OperationalError as error:
        return dg.SkipReason(f"The database cannot be reached: {error}")
    if landed.last_xid is None:
        return dg.SkipReason("No event has landed since the last refresh that was started.")
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=f"events up to transaction {landed.last_xid}")],
        cursor=landed.last_xid,
    )
