"""Telling somebody: that a run has failed, that none has ended for too long, or that a destination
does not take what it is sent."""

import json
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import httpx
import psycopg

from cdp.database import database_url
from cdp.settings import Settings
from dagster_project.landed import oldest_waiting

TIMEOUT_SECONDS = 10
TOLD_TAG = "cdp/told"  # of a failed run: "no", or "later" once the receiver has taken it
NOBODY_IS_TOLD = dg.SkipReason("CDP_ALERT_WEBHOOK_URL is not set: nobody is told.")
# A run that could not deliver everything succeeds, because the rest is tried again by itself.
TROUBLED = """
select destination, string_agg(trouble, '; ' order by trouble)
from (
    select destination, 'disabled: ' || coalesce(disabled_reason, 'no reason given') as trouble
    from activate.destination_states
    where disabled_at is not null
    union all
    select destination, count(*) || ' rows were given up'
    from activate.delivery_rows
    where status = 'dead'
    group by destination
    union all
    select destination, count(*) || ' rows have waited for more than ' || %(minutes)s || ' minutes'
    from activate.delivery_rows
    where status <> 'dead' and first_tried_at < now() - make_interval(mins => %(minutes)s)
    group by destination
) as troubles
group by destination
"""


# Every job: none is listed, so none can be forgotten. And every location, because the runs of `cdp`
# in a terminal or a cron table belong to none.
@dg.run_failure_sensor(
    monitor_all_code_locations=True,
    description="Posts every failed run to CDP_ALERT_WEBHOOK_URL.",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
)
def failed_runs(
    context: dg.RunFailureSensorContext, settings: dg.ResourceParam[Settings]
) -> dg.SkipReason | None:
    """Posts every failed run to CDP_ALERT_WEBHOOK_URL as JSON; `text` is what Slack shows.

    A receiver that does not answer with success fails the tick, which the UI shows, and the run is
    left to `untold_runs`, because Dagster evaluates a failure once.
    """
    if settings.alert_webhook_url is None:
        return NOBODY_IS_TOLD
    run = context.dagster_run
    try:
        _post_failure(settings.alert_webhook_url, context.instance, run)
    except httpx.HTTPError:
        context.instance.add_run_tags(run.run_id, {TOLD_TAG: "no"})
        raise
    return None


@dg.sensor(
    description="Posts the failed runs that the receiver of alerts did not take at first.",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def untold_runs(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
) -> dg.SkipReason:
    """Posts what `failed_runs` could not, the oldest first, until the receiver takes it."""
    if settings.alert_webhook_url is None:
        return NOBODY_IS_TOLD
    untold = context.instance.get_runs(dg.RunsFilter(tags={TOLD_TAG: "no"}), ascending=True)
    for run in untold:
        _post_failure(settings.alert_webhook_url, context.instance, run)
        context.instance.add_run_tags(run.run_id, {TOLD_TAG: "later"})
    return dg.SkipReason(f"{len(untold)} failed runs were told late.")


@dg.sensor(
    description="Posts once when an event has waited longer than CDP_ALERT_LAG_MINUTES.",
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def late_batch(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
) -> dg.SensorResult | dg.SkipReason:
    """Posts once when an event has waited longer than CDP_ALERT_LAG_MINUTES to be refreshed.

    This is what notices that nothing fails because nothing runs. It asks nothing of a run.
    """
    if settings.alert_webhook_url is None:
        return NOBODY_IS_TOLD
    try:
        with psycopg.connect(database_url(settings), connect_timeout=5) as connection:
            since = oldest_waiting(connection)
        problem = None
    except psycopg.OperationalError as error:
        since, problem = None, f"The database cannot be reached: {error}"
    minutes = (datetime.now(UTC) - since).total_seconds() / 60 if since else 0.0
    if minutes > settings.alert_lag_minutes:
        problem = f"Events have waited for {minutes:.0f} minutes to be refreshed."
    if problem is None:
        waiting = f"The oldest event that waits came {minutes:.0f} minutes ago."
        return dg.SensorResult(skip_reason=waiting, cursor="")
    if not context.cursor:
        _post(settings.alert_webhook_url, {"text": problem, "job": None, "reason": problem})
    return dg.SensorResult(skip_reason=problem, cursor="told")


@dg.sensor(
    description="Posts once when a destination has stopped to take what it is sent.",
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def dead_destinations(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
) -> dg.SensorResult | dg.SkipReason:
    """Posts once per destination that is disabled, or whose rows were given up or wait for longer
    than CDP_ALERT_LAG_MINUTES, and again after it had been well. The cursor names those in trouble.
    """
    if settings.alert_webhook_url is None:
        return NOBODY_IS_TOLD
    try:
        with psycopg.connect(database_url(settings), connect_timeout=5) as connection:
            minutes = {"minutes": settings.alert_lag_minutes}
            rows = connection.execute(TROUBLED, minutes).fetchall()
        troubles = {str(destination): str(trouble) for destination, trouble in rows}
    except psycopg.OperationalError as error:
        return dg.SkipReason(f"The database cannot be reached: {error}")
    told = json.loads(context.cursor or "[]")
    new = [f"{name}: {troubles[name]}" for name in sorted(troubles) if name not in told]
    if new:
        reason = "\n".join(new)
        text = f"A destination does not take what it is sent.\n{reason}"
        _post(settings.alert_webhook_url, {"text": text, "job": None, "reason": reason})
    return dg.SensorResult(
        skip_reason=f"{len(troubles)} destinations are in trouble.",
        cursor=json.dumps(sorted(troubles)),
    )


def _post_failure(url: str, instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    reason = "\n".join(_reasons(instance, run.run_id)) or "no reason given"
    text = f"{run.job_name} failed (run {run.run_id[:8]}):\n{reason}"
    _post(url, {"text": text, "job": run.job_name, "run_id": run.run_id, "reason": reason})


def _post(url: str, alert: dict[str, Any]) -> None:
    httpx.post(url, json=alert, timeout=TIMEOUT_SECONDS).raise_for_status()


def _reasons(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """What the failed steps say; where none has failed, what the end of the run says."""
    reasons = []
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        data = entry.get_dagster_event().step_failure_data
        if data.user_failure_data is not None and data.user_failure_data.description:
            reasons.append(data.user_failure_data.description)
        elif data.error is not None:
            reasons.append((data.error.cause or data.error).message.strip())
    if reasons:
        return reasons
    ends = instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    return [message for entry in ends if (message := entry.get_dagster_event().message)]
