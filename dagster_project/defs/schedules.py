"""When the job `refresh` runs by the clock: time moves members too, with or without events."""

import dagster as dg

from cdp.settings import load_settings
from dagster_project.defs.jobs import REFRESH_TAGS, refresh
from dagster_project.instance import end_dead_runs, runs_in_progress


@dg.definitions
def schedules() -> dg.Definitions:
    @dg.schedule(
        job=refresh,
        description="Starts `refresh` at the times of CDP_REFRESH_CRON.",
        cron_schedule=load_settings().refresh_cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    def refresh_schedule(
        context: dg.ScheduleEvaluationContext,
    ) -> dg.RunRequest | dg.SkipReason:
        """Starts `refresh` at the times of CDP_REFRESH_CRON, unless one is queued or running."""
        end_dead_runs(context.instance)
        running = runs_in_progress(context.instance, REFRESH_TAGS)
        if running:
            return dg.SkipReason(f"Run {running[0].run_id} is {running[0].status.value.lower()}.")
        return dg.RunRequest()

    return dg.Definitions(schedules=[refresh_schedule])
