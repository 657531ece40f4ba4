"""Telling somebody that a run has failed."""

import dagster as dg
import httpx

from cdp.settings import Settings
from dagster_project.defs.jobs import full_refresh, refresh
from dagster_project.defs.maintenance import replay_rejected, retention

TIMEOUT_SECONDS = 10


@dg.run_failure_sensor(
    monitored_jobs=[refresh, full_refresh, replay_rejected, retention],
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
)
def failed_runs(
    context: dg.RunFailureSensorContext, settings: dg.ResourceParam[Settings]
) -> dg.SkipReason | None:
    """Posts every failed run to CDP_ALERT_WEBHOOK_URL as JSON; `text` is what Slack shows.

    A receiver that does not answer with success fails the tick, which the UI shows.
    """
    if settings.alert_webhook_url is None:
        return dg.SkipReason("CDP_ALERT_WEBHOOK_URL is not set: nobody is told.")
    run = context.dagster_run
    reason = "\n".join(_reasons(context)) or context.failure_event.message or "no reason given"
    response = httpx.post(
        settings.alert_webhook_url,
        json={
            "text": f"{run.job_name} failed (run {run.run_id[:8]}):\n{reason}",
            "job": run.job_name,
            "run_id": run.run_id,
            "reason": reason,
        },
        timeout=TIMEOUT_SECONDS,
    )
    response.raise_for_status()
    return None


def _reasons(context: dg.RunFailureSensorContext) -> list[str]:
    reasons = []
    for event in context.get_step_failure_events():
        data = event.step_failure_data
        if data.user_failure_data is not None and data.user_failure_data.description:
            reasons.append(data.user_failure_data.description)
        elif data.error is not None:
            reasons.append((data.error.cause or data.error).message.strip())
    return reasons
