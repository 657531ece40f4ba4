"""Named jobs for deliveries, so that nobody types run configuration."""

import dagster as dg
import psycopg

from cdp.database import database_url
from cdp.settings import Settings
from dagster_project.defs.jobs import QUIET
from dagster_project.delivery_assets import DELIVERIES
from dagster_project.delivery_run import EVERY_SCHEDULE
from dagster_project.instance import DELIVERS
from dagster_project.outbox import waiting
from dagster_project.resend import describe, redeliver, resend
from dagster_project.warehouse_export import EXPORTED, export_key

SELECTION = dg.AssetSelection.assets(DELIVERIES)
DELIVERY_TAGS = {DELIVERS: "true"}

activate_all = dg.define_asset_job(
    "activate_all",
    selection=SELECTION,
    tags=DELIVERY_TAGS,
    config={
        **QUIET,
        "ops": {"activate__deliveries": {"config": {"schedule": EVERY_SCHEDULE}}},
    },
    description="Deliver every audience to every destination that subscribes to it, now.",
)

activate_scheduled = dg.define_asset_job(
    "activate_scheduled",
    selection=SELECTION,
    tags=DELIVERY_TAGS,
    description="Deliver the subscriptions of one schedule; started by that schedule.",
)

export_bigquery = dg.define_asset_job(
    "export_bigquery",
    selection=dg.AssetSelection.assets(*(export_key(source) for source in EXPORTED)),
    tags=DELIVERY_TAGS,
    config=QUIET,
    description="Bring the public tables in BigQuery up to date.",
)


@dg.op
def resend_rows(context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings]) -> None:
    """Send every row again that a destination did not take, given up or not."""
    outcomes = resend(settings, holder=_holder(context), on_wait=context.log.info)
    _report(context, describe(outcomes), [str(each) for each in outcomes if not each.delivered])


@dg.op
def retry_rows(context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings]) -> None:
    """Send the rows again that are due."""
    with psycopg.connect(database_url(settings)) as connection:
        due = waiting(connection)
    outcomes = redeliver(settings, due, holder=_holder(context), on_wait=context.log.info)
    _report(context, describe(outcomes), [str(each) for each in outcomes if not each.delivered])


@dg.job(
    config=QUIET,
    tags=DELIVERY_TAGS,
    description="Send again what `activate.delivery_rows` holds, dead or not.",
)
def resend_failed() -> None:
    resend_rows()


@dg.job(
    config=QUIET,
    tags=DELIVERY_TAGS,
    description="Send again what is due; started by the sensor.",
)
def retry_deliveries() -> None:
    retry_rows()


def _holder(context: dg.OpExecutionContext) -> str:
    return f"cdp delivery, run {context.run_id[:8]}"


def _report(context: dg.OpExecutionContext, summary: str, troubles: list[str]) -> None:
    context.log.info(summary)
    for trouble in troubles:
        context.log.warning(trouble)
