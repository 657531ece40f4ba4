"""What leaves the warehouse: the assets, and when deliveries run apart from the refresh."""

import dagster as dg
import psycopg

from cdp.database import database_url
from cdp.settings import Settings
from dagster_project.defs.delivery_jobs import activate_scheduled, retry_deliveries
from dagster_project.delivery_assets import audience_asset, deliveries
from dagster_project.instance import runs_in_progress
from dagster_project.outbox import waiting
from dagster_project.subscriptions import read_subscriptions


@dg.definitions
def delivery_definitions() -> dg.Definitions:
    subscriptions = read_subscriptions()
    return dg.Definitions(
        assets=[
            deliveries,
            *(audience_asset(row, subscriptions) for row in subscriptions.destinations),
        ],
        jobs=[activate_scheduled],
        schedules=[_schedule(number, cron) for number, cron in enumerate(subscriptions.crons, 1)],
        sensors=[due_deliveries],
    )


def _schedule(number: int, cron: str) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name=f"activations_{number}",
        job=activate_scheduled,
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Delivers what seeds/activations.csv schedules at {cron} (UTC).",
        run_config={"ops": {"activate__deliveries": {"config": {"schedule": cron}}}},
    )


@dg.sensor(
    job_name=retry_deliveries.name,
    description="Starts `retry_deliveries` when a row that was not taken is due again.",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def due_deliveries(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
) -> dg.RunRequest | dg.SkipReason:
    """Starts `retry_deliveries` when a row that a destination did not take is due again."""
    running = [
        run for run in runs_in_progress(context.instance) if run.job_name == retry_deliveries.name
    ]
    if running:
        return dg.SkipReason(f"Run {running[0].run_id} is {running[0].status.value.lower()}.")
    try:
        with psycopg.connect(database_url(settings), connect_timeout=5) as connection:
            due = waiting(connection)
    except psycopg.OperationalError as error:
        return dg.SkipReason(f"The database cannot be reached: {error}")
    if not due:
        return dg.SkipReason("No row waits to be tried again.")
    return dg.RunRequest()
