"""The job `verify`: it finds no difference where there is none, and any that there is."""

import dagster as dg
import psycopg
import pytest

from dagster_project.defs.jobs import EQUALS_FULL
from dagster_project.instance import open_instance
from dagster_project.run import refresh, verify
from tests.operate.conftest import Platform
from tests.unify.test_incremental import History


@pytest.fixture(scope="module")
def refreshed(platform: Platform) -> Platform:
    """Refreshed twice, so that incremental models have added to what stood; something is new."""
    history = History(platform.url, seed=3)
    for _run in range(2):
        history.go_on()
        history.go_on()
        result = refresh(platform.settings)
        assert result.success, result.message
    history.go_on()
    return platform


def last_check(platform: Platform) -> dg.AssetCheckEvaluation:
    with open_instance(platform.settings) as instance:
        [record] = instance.event_log_storage.get_asset_check_execution_history(
            EQUALS_FULL, limit=1
        )
    assert record.event is not None
    event = record.event.dagster_event
    assert event is not None
    return event.asset_check_evaluation_data


def test_a_refresh_does_not_pay_for_it(refreshed: Platform) -> None:
    with open_instance(refreshed.settings) as instance:
        assert not instance.event_log_storage.get_asset_check_execution_history(
            EQUALS_FULL, limit=1
        )


def test_what_refreshes_added_up_equals_a_full_one(refreshed: Platform) -> None:
    result = verify(refreshed.settings)
    assert result.success, result.failures
    check = last_check(refreshed)
    assert check.description == "Every table equals a full refresh."
    events = refreshed.value("select count(*) from unify.events")
    assert check.metadata["rows unify.events"].value == events > 0
    assert check.metadata["rows segment.audience_members"].value is not None
    left = refreshed.rows("select nspname from pg_namespace where nspname like 'verify%%'")
    assert left == []


def test_a_difference_fails_the_run_and_is_shown(refreshed: Platform) -> None:
    profile_id = refreshed.value("select min(profile_id::text) from unify.profiles")
    with psycopg.connect(refreshed.url) as connection:
        change = "update unify.profiles set total_orders = total_orders + %s where profile_id = %s"
        connection.execute(change, [1, profile_id])
        connection.commit()
        try:
            assert not verify(refreshed.settings).success
        finally:
            connection.execute(change, [-1, profile_id])
    check = last_check(refreshed)
    assert check.description == "unify.profiles: 1 rows missing, 1 too many"
    assert profile_id in str(check.metadata["samples"].value)


def test_where_older_events_were_dropped_nothing_is_compared(refreshed: Platform) -> None:
    refreshed.execute(
        "delete from raw.events where received_at = (select min(received_at) from raw.events)"
    )
    assert verify(refreshed.settings).success
    assert "have been dropped" in str(last_check(refreshed).description)
