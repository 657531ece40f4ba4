"""When a delivery counts as late."""

from datetime import timedelta

import dagster as dg
import pytest

from dagster_project.defs.warehouse_export import EXPORT_CRON, export_asset
from dagster_project.delivery_assets import audience_asset, deliveries
from dagster_project.freshness import STALE_AFTER, by_schedule, of_destination
from dagster_project.subscriptions import (
    CsvOptions,
    DestinationRow,
    Subscription,
    Subscriptions,
)
from dagster_project.warehouse_export import EXPORTED

ROW = DestinationRow("csv", "csv", "", "", CsvOptions())


def subscribed(*schedules: str) -> Subscriptions:
    others = Subscription("other", "elsewhere", schedule="refresh")
    return Subscriptions(
        (ROW,),
        (
            others,
            *(
                Subscription(f"audience_{number}", "csv", schedule=schedule)
                for number, schedule in enumerate(schedules)
            ),
        ),
    )


def policy_of(asset: dg.AssetsDefinition) -> dg.FreshnessPolicy | None:
    [spec] = asset.specs
    return spec.freshness_policy


def within(window: timedelta) -> dg.FreshnessPolicy:
    return dg.FreshnessPolicy.time_window(fail_window=window)


@pytest.mark.parametrize(
    ("schedules", "window"),
    [
        (["refresh"], STALE_AFTER),
        (["manual", "0 6 * * *", "refresh"], STALE_AFTER),
        (["0 6 * * *"], timedelta(days=1) + STALE_AFTER),
        (["@daily", "0 */4 * * *"], timedelta(hours=4) + STALE_AFTER),
        # From Friday to Monday.
        (["0 6 * * 1-5", "manual"], timedelta(days=3) + STALE_AFTER),
    ],
)
def test_a_destination_is_late_by_its_most_frequent_schedule(
    schedules: list[str], window: timedelta
) -> None:
    asset = audience_asset(ROW, subscribed(*schedules))
    assert policy_of(asset) == within(window)


def test_what_is_delivered_by_hand_is_never_late() -> None:
    assert of_destination(subscribed("manual"), "csv") is None


def test_the_deliveries_of_a_refresh_and_the_exports_have_a_policy() -> None:
    assert policy_of(deliveries) == within(STALE_AFTER)
    assert policy_of(export_asset(EXPORTED[0])) == by_schedule(EXPORT_CRON)
    assert policy_of(export_asset(EXPORTED[0], is_exported=False)) is None
