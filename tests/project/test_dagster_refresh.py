"""The job `refresh` end to end, and what starts it: real events, real dbt, real Dagster."""

import csv
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cdp.postgres import EmbeddedPostgres
from cdp.settings import PROJECT_DIR, Settings
from dagster_project.audience_reports import AUDIENCE
from dagster_project.dbt_translator import WATERMARK
from dagster_project.defs.audiences import audience, changed_definitions
from dagster_project.defs.jobs import REFRESH_TAGS
from dagster_project.defs.sensors import new_events
from dagster_project.instance import EXECUTED_BY, end_dead_runs, open_instance, process_mark
from dagster_project.landed import landed_since_watermark
from dagster_project.run import RefreshResult, refresh
from tests.warehouse import land

# One process for all of it: a refresh is the dear part.
pytestmark = pytest.mark.xdist_group("refresh")


@pytest.fixture(scope="module")
def settings(
    cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """A platform with a buyer and a visitor, before its first refresh."""
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        connection.execute("create database refreshed template migrated")
    url = make_conninfo(cluster.url("refreshed"))
    with psycopg.connect(url) as connection:
        land(
            connection,
            [
                order("big@example.com", "o1", 800),
                {"type": "page", "anonymousId": "a1", "timestamp": ago(days=2)},
            ],
        )
    yield Settings(home=tmp_path_factory.mktemp("home"), DATABASE_URL=url)
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        connection.execute("drop database refreshed with (force)")


@pytest.fixture(scope="module")
def first(settings: Settings) -> RefreshResult:
    return refresh(settings)


def order(email: str, order_id: str, amount: int) -> dict[str, object]:
    return {
        "type": "track",
        "event": "Order Completed",
        "userId": email,
        "timestamp": ago(days=1),
        "properties": {"order_id": order_id, "revenue": amount},
        "context": {"traits": {"email": email}},
    }


def ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


def connect(settings: Settings) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(str(settings.database_url))


def catch_up(settings: Settings) -> None:
    """Move the watermark to where a refresh would leave it now."""
    with connect(settings) as connection:
        connection.execute(
            "update decide.watermark"
            " set to_xid = pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
        )


def member_emails(settings: Settings, audience_key: str) -> list[str]:
    with (settings.exports / f"{audience_key}.csv").open(newline="") as file:
        return [row["email"] for row in csv.DictReader(file)]


def test_a_refresh_turns_events_into_profiles_and_files(
    settings: Settings, first: RefreshResult
) -> None:
    assert first.message == ""
    assert first.success
    assert first.rows["unify.profiles"] == 2
    assert member_emails(settings, "high_value_last_30_days") == ["big@example.com"]


def test_the_run_is_where_the_ui_shows_it(settings: Settings, first: RefreshResult) -> None:
    with open_instance(settings) as instance:
        run = instance.get_run_by_id(first.run_id)
        assert run is not None
        assert (run.job_name, run.status) == ("refresh", dg.DagsterRunStatus.SUCCESS)
        vip = instance.get_latest_materialization_event(dg.AssetKey(["unify", "profiles"]))
        assert vip is not None
        partitions = instance.get_materialized_partitions(dg.AssetKey(["activate", "audience_csv"]))
        assert "high_value_last_30_days" in partitions


def test_the_watermark_says_how_long_the_oldest_event_had_waited(
    settings: Settings, first: RefreshResult
) -> None:
    with open_instance(settings) as instance:
        records = instance.fetch_materializations(WATERMARK, limit=10).records
    [metadata] = [
        each.asset_materialization.metadata
        for each in records
        if each.asset_materialization and each.run_id == first.run_id
    ]
    assert float(str(metadata["lag_seconds"].value)) > 0
    assert "1 refreshes" in str(metadata["lag"].value)


def last_report(instance: dg.DagsterInstance, key: str) -> dict[str, object]:
    """Metadata of the latest materialisation of an audience's partition."""
    [record, *_] = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=AUDIENCE, asset_partitions=[key]), limit=1
    ).records
    assert record.asset_materialization is not None
    return {name: each.value for name, each in record.asset_materialization.metadata.items()}


def test_each_audience_is_reported_with_its_size_trend_and_sql(
    settings: Settings, first: RefreshResult
) -> None:
    with open_instance(settings) as instance:
        report = last_report(instance, "high_value_last_30_days")
        assert instance.get_materialized_partitions(AUDIENCE) >= {"vip", "lapsed_customers"}
    assert (report["members"], report["entered"], report["exited"]) == (1, 1, 0)
    assert "from unify.profiles as profiles" in str(report["sql"])
    assert "data:image/svg+xml;base64," in str(report["trend"])


def test_an_audience_is_built_again_on_its_own_when_its_definition_changed(
    settings: Settings, first: RefreshResult
) -> None:
    def tick(instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorResult | dg.SkipReason:
        context = dg.build_sensor_context(
            instance=instance, cursor=cursor, resources={"settings": settings}
        )
        result = changed_definitions(context)
        assert isinstance(result, dg.SensorResult | dg.SkipReason)
        return result

    resources = {"settings": dg.ResourceDefinition.hardcoded_resource(settings)}
    with dg.DagsterInstance.ephemeral() as instance:
        assert isinstance(tick(instance, None), dg.SkipReason)
        for text, members in (('{"min_total_orders": 1}', 1), ('{"max_total_orders": 9}', 2)):
            with connect(settings) as connection:
                connection.execute(
                    "insert into raw.audience_definitions (audience_key, name, definition,"
                    " is_enabled) values ('sent', 'Sent', %s, true)",
                    [text],
                )
            asked = tick(instance, None)
            assert isinstance(asked, dg.SensorResult)
            assert [each.partition_key for each in asked.run_requests or []] == ["sent"]
            assert isinstance(tick(instance, asked.cursor), dg.SkipReason)
            instance.add_dynamic_partitions("audience", ["sent"])
            built = dg.materialize(
                [audience], instance=instance, partition_key="sent", resources=resources
            )
            assert built.success
            assert last_report(instance, "sent")["members"] == members
            assert isinstance(tick(instance, None), dg.SkipReason)
    with connect(settings) as connection:
        connection.execute("delete from raw.audience_definitions")


def test_a_full_refresh_leads_to_the_same_files_and_says_nothing_on_the_terminal(
    settings: Settings, first: RefreshResult, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in settings.exports.glob("*.csv")}
    result = refresh(settings, full=True)
    assert result.success
    assert {path.name: path.read_bytes() for path in settings.exports.glob("*.csv")} == before
    assert capfd.readouterr() == ("", "")


def test_a_refresh_that_fails_says_what_and_what_to_do(
    settings: Settings, first: RefreshResult
) -> None:
    with connect(settings) as connection:
        connection.execute("alter table raw.events rename column payload to hidden")
    try:
        result = refresh(settings)
    finally:
        with connect(settings) as connection:
            connection.execute("alter table raw.events rename column hidden to payload")
    assert not result.success
    assert "stg_events" in result.message
    assert 'column "payload" does not exist' in result.message
    assert "cdp refresh" in result.message


Evaluate = Callable[[str | None], dg.SensorResult | dg.SkipReason]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def evaluate(settings: Settings, first: RefreshResult, instance: dg.DagsterInstance) -> Evaluate:
    """One tick of the sensor, with the cursor that the tick before left."""

    def tick(cursor: str | None) -> dg.SensorResult | dg.SkipReason:
        context = dg.build_sensor_context(
            instance=instance, cursor=cursor, resources={"settings": settings}
        )
        result = new_events(context)
        assert isinstance(result, dg.SensorResult | dg.SkipReason)
        return result

    return tick


def test_the_sensor_asks_for_one_refresh_per_landing(
    settings: Settings, evaluate: Evaluate
) -> None:
    catch_up(settings)
    assert isinstance(evaluate(None), dg.SkipReason)
    with connect(settings) as connection:
        land(connection, [order("new@example.com", "o2", 5)])
    asked = evaluate(None)
    assert isinstance(asked, dg.SensorResult)
    assert len(asked.run_requests or []) == 1
    # The run that was asked for may fail; the same events are no reason for another one.
    assert isinstance(evaluate(asked.cursor), dg.SkipReason)
    catch_up(settings)
    assert isinstance(evaluate(asked.cursor), dg.SkipReason)
    assert isinstance(evaluate(None), dg.SkipReason)


def test_the_sensor_waits_while_a_refresh_runs(
    settings: Settings, evaluate: Evaluate, instance: dg.DagsterInstance
) -> None:
    with connect(settings) as connection:
        land(connection, [order("other@example.com", "o3", 5)])
    instance.add_run(started_run("refresh", REFRESH_TAGS))
    skipped = evaluate(None)
    assert isinstance(skipped, dg.SkipReason)
    assert "is started" in str(skipped.skip_message)


def test_the_sensor_skips_while_the_database_is_away(instance: dg.DagsterInstance) -> None:
    away = Settings(DATABASE_URL="host=/nowhere dbname=cdp")
    context = dg.build_sensor_context(instance=instance, resources={"settings": away})
    skipped = new_events(context)
    assert isinstance(skipped, dg.SkipReason)
    assert "cannot be reached" in str(skipped.skip_message)


def test_events_of_an_open_transaction_are_not_new_yet(
    settings: Settings, first: RefreshResult
) -> None:
    catch_up(settings)
    with connect(settings) as reader:
        reader.autocommit = True
        with connect(settings) as slow:
            land(slow, [order("slow@example.com", "o4", 5)])
            assert landed_since_watermark(reader).count == 0
        assert landed_since_watermark(reader).count == 1


def test_after_a_restore_into_another_cluster_everything_is_new(
    settings: Settings, first: RefreshResult
) -> None:
    catch_up(settings)
    with connect(settings) as connection:
        assert landed_since_watermark(connection).count == 0
        connection.execute("update decide.watermark set system_identifier = 1")
        assert landed_since_watermark(connection).count >= 2
        connection.rollback()


def test_a_run_whose_process_was_killed_is_marked_as_failed(instance: dg.DagsterInstance) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        mark = process_mark(process.pid)
        instance.add_run(started_run("refresh", {EXECUTED_BY: mark}))
        instance.add_run(started_run("refresh", {EXECUTED_BY: process_mark(os.getpid())}))
        assert end_dead_runs(instance) == []
        process.kill()
    [ended] = end_dead_runs(instance)
    run = instance.get_run_by_id(ended)
    assert run is not None
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert run.tags[EXECUTED_BY] == mark


def started_run(job_name: str, tags: dict[str, str]) -> dg.DagsterRun:
    return dg.DagsterRun(
        job_name=job_name,
        run_id=str(uuid.uuid4()),
        status=dg.DagsterRunStatus.STARTED,
        tags=tags,
    )


WITHOUT_DATABASE = """
import dagster as dg
from dagster_project.definitions import definitions
loaded = definitions()
repository = loaded.get_repository_def()
print(",".join(sorted({spec.group_name for spec in loaded.resolve_all_asset_specs()})))
print(",".join(sorted(repository.job_names)))
print(repository.get_schedule_def("refresh_schedule").default_status.value)
print(repository.get_sensor_def("new_events").default_status.value)
"""


def test_the_definitions_load_while_the_database_is_away(tmp_path: Path) -> None:
    completed = subprocess.run(
        [sys.executable, "-c", WITHOUT_DATABASE],
        cwd=PROJECT_DIR,
        env=os.environ | {"DATABASE_URL": "host=/nowhere dbname=cdp", "CDP_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    groups, jobs, schedule, sensor = completed.stdout.splitlines()
    assert groups == "activate,collect,decide,segment,unify"
    assert {"refresh", "full_refresh"} <= set(jobs.split(","))
    assert (schedule, sensor) == ("RUNNING", "RUNNING")
