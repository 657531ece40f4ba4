"""When an asset counts as late, so that the Dagster UI says so although nothing failed."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import dagster as dg
from dagster._utils.schedules import cron_string_iterator

from dagster_project.subscriptions import BY_HAND, WITH_EACH_REFRESH, Subscriptions

# Refreshes start every few minutes; an hour without one that succeeded is no coincidence.
STALE_AFTER = timedelta(hours=1)
# Enough to have seen a year of the schedules that are rarer than daily.
TICKS = 400

WITH_THE_REFRESH = dg.FreshnessPolicy.time_window(fail_window=STALE_AFTER)


def by_schedule(cron: str) -> dg.FreshnessPolicy:
    """Late when the longest pause of the schedule has passed, and a run had time to end."""
    return dg.FreshnessPolicy.time_window(fail_window=_longest_pause(cron) + STALE_AFTER)


def of_destination(subscriptions: Subscriptions, name: str) -> dg.FreshnessPolicy | None:
    """By the most frequent schedule of the destination; None where it is served by hand only."""
    schedules = {
        each.schedule for each in subscriptions.activations if each.destination == name
    } - {BY_HAND}
    if WITH_EACH_REFRESH in schedules:
        return WITH_THE_REFRESH
    if not schedules:
        return None
    return by_schedule(min(schedules, key=_longest_pause))


def _longest_pause(cron: str) -> timedelta:
    ticks = cron_string_iterator(datetime.now(UTC).timestamp(), cron, "UTC")
    return max(later - earlier for earlier, later in pairwise(islice(ticks, TICKS)))
