"""Jobs beside the refresh: replay, retention, and telling somebody about a failed run."""

import json
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.definitions.run_status_sensor_definition import RunStatusSensorCursor

from cdp.settings import Settings
from dagster_project.defs.alerts import dead_destinations, failed_runs, late_batch, untold_runs
from dagster_project.defs.maintenance import replay_rejected, retention

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
REJECTED = (
    "insert into raw.rejected_events"
    " (received_at, source, path, code, message, body, body_encoding)"
    " values (now(), 'test', %s, 'too_strict', 'A rule that has been mended since.', %s, 'utf-8')"
)


def count(database: str, table: str) -> int:
    with psycopg.connect(database) as connection:
        row = connection.execute(f"select count(*) from {table}").fetchone()
    assert row is not None
    return int(row[0])


def run(
    job: dg.JobDefinition, settings: Settings, instance: dg.DagsterInstance | None = None
) -> dg.ExecuteInProcessResult:
    return job.execute_in_process(
        instance=instance,
        resources={"settings": dg.ResourceDefinition.hardcoded_resource(settings)},
        run_config=QUIET,
    )


def test_replay_lands_what_is_acceptable_now(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(REJECTED, ["/track", json.dumps({"event_type": "a", "user_id": "u"})])
        connection.execute(REJECTED, ["/track", "{not json"])
    assert run(replay_rejected, Settings(DATABASE_URL=database)).success
    assert count(database, "raw.events") == 1
    assert count(database, "raw.rejected_events where replayed_at is null") == 1


def test_retention_drops_old_days_and_keeps_the_rest(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(
            "create table raw.events_20200101 partition of raw.events"
            " for values from ('2020-01-01 00:00:00+00') to ('2020-01-02 00:00:00+00')"
        )
    run(retention, Settings(DATABASE_URL=database))
    assert count(database, "pg_class where relname = 'events_20200101'") == 1
    run(retention, Settings(DATABASE_URL=database, raw_retention_days=30))
    assert count(database, "pg_class where relname = 'events_20200101'") == 0


def test_finished_runs_go_by_age_and_running_ones_stay(database: str) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        for status in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.STARTED):
            instance.add_run(dg.DagsterRun(job_name="refresh", run_id=f"{status}", status=status))
        settings = Settings(DATABASE_URL=database, run_retention_days=1)
        run(retention, settings, instance)
        assert len(instance.get_runs()) == 3, "none is a day old"
        long_ago = datetime.now(UTC) + timedelta(days=2)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dagster_project.defs.maintenance.datetime", clock_at(long_ago))
            run(retention, settings, instance)
        kept = [each.status for each in instance.get_runs()]
        assert dg.DagsterRunStatus.STARTED in kept
        assert len(kept) == 2, "the one that was running, and the one that deleted"


def clock_at(instant: datetime) -> type[datetime]:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Clock":
            return cls.fromtimestamp(instant.timestamp(), tz)

    return Clock


class Receiver:
    """An HTTP server that keeps what it is sent."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.received.append(json.loads(body))
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:
                """Nothing on the terminal."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/alerts"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    listening = Receiver()
    thread = threading.Thread(target=listening.server.serve_forever)
    thread.start()
    yield listening
    listening.server.shutdown()
    listening.server.server_close()
    thread.join()


@dg.op
def stumble() -> None:
    raise dg.Failure(description="model unify.profiles: division by zero")


@dg.job
def failing() -> None:
    stumble()


@pytest.fixture
def failure() -> Iterator[dg.RunFailureSensorContext]:
    with dg.DagsterInstance.ephemeral() as instance:
        result = failing.execute_in_process(
            instance=instance, run_config=QUIET, raise_on_error=False
        )
        yield dg.build_run_status_sensor_context(
            sensor_name="failed_runs",
            dagster_event=result.get_run_failure_event(),
            dagster_instance=instance,
            dagster_run=result.dagster_run,
        ).for_run_failure()


def test_a_failed_run_is_posted_with_its_reason(
    failure: dg.RunFailureSensorContext, receiver: Receiver
) -> None:
    failed_runs(failure, settings=Settings(alert_webhook_url=receiver.url))
    [alert] = receiver.received
    assert alert["job"] == "failing"
    assert alert["run_id"] == failure.dagster_run.run_id
    assert alert["reason"] == "model unify.profiles: division by zero"
    assert alert["text"].startswith("failing failed (run ")


def test_every_job_is_watched_whatever_started_it(receiver: Receiver) -> None:
    """Also a run of `cdp refresh`, which no code location started."""
    settings = Settings(alert_webhook_url=receiver.url)
    begin = RunStatusSensorCursor(record_id=0)  # type: ignore[no-untyped-call]
    jobs = ["rebuild_audience", "refresh"]
    with dg.DagsterInstance.ephemeral() as instance:
        for name in jobs:
            run_id = str(uuid.uuid4())
            started = dg.DagsterRun(name, run_id, status=dg.DagsterRunStatus.STARTED)
            instance.add_run(started)
            instance.report_run_failed(started, f"{name} has no disk")
        context = dg.build_sensor_context(
            instance=instance,
            cursor=begin.to_json(),
            repository_name="__repository__",
            resources={"settings": settings},
        )
        failed_runs.evaluate_tick(context)
    assert [(each["job"], each["reason"]) for each in receiver.received] == [
        (name, f"{name} has no disk") for name in jobs
    ]


def test_what_a_receiver_refuses_fails_the_tick_and_is_posted_later(
    failure: dg.RunFailureSensorContext, receiver: Receiver
) -> None:
    settings = Settings(alert_webhook_url=receiver.url)
    receiver.status = 500
    with pytest.raises(Exception, match="500"):
        failed_runs(failure, settings=settings)
    with dg.build_sensor_context(instance=failure.instance) as context:
        with pytest.raises(Exception, match="500"):
            untold_runs(context, settings=settings)
        receiver.received.clear()
        receiver.status = 200
        untold_runs(context, settings=settings)
        untold_runs(context, settings=settings)
    [alert] = receiver.received
    assert alert["run_id"] == failure.dagster_run.run_id
    assert alert["reason"] == "model unify.profiles: division by zero"


def test_a_batch_that_is_late_is_told_once(database: str, receiver: Receiver) -> None:
    settings = Settings(DATABASE_URL=database, alert_webhook_url=receiver.url, alert_lag_minutes=30)

    def tick(cursor: str) -> str | None:
        with dg.build_sensor_context(cursor=cursor) as context:
            result = late_batch(context, settings=settings)
        assert isinstance(result, dg.SensorResult)
        return result.cursor

    assert not tick("")
    with psycopg.connect(database) as connection:
        connection.execute(
            "insert into raw.events (message_id, type, occurred_at, received_at, source, payload)"
            " values ('m', 'page', now(), now() - interval '40 minutes', 'web', '{}')"
        )
    assert not receiver.received
    told = tick("")
    assert [alert["text"] for alert in receiver.received] == [
        "Events have waited for 40 minutes to be refreshed."
    ]
    assert tick(str(told)) == told
    assert len(receiver.received) == 1


GIVEN_UP = """
insert into activate.delivery_rows
    (destination, audience_id, profile_id, change, sent, message_id, delivery_id, as_of, status,
    first_tried_at)
values
    ('crm', 1, gen_random_uuid(), 'entered', '{}', 'm1', gen_random_uuid(), now(), 'dead', now()),
    ('mail', 1, gen_random_uuid(), 'entered', '{}', 'm2', gen_random_uuid(), now(), 'pending',
    now() - interval '10 minutes')
"""


def test_a_dead_destination_is_told_once_and_again_after_it_had_been_well(
    database: str, receiver: Receiver
) -> None:
    settings = Settings(DATABASE_URL=database, alert_webhook_url=receiver.url, alert_lag_minutes=30)
    cursor = ""

    def told_in_a_tick() -> list[str]:
        nonlocal cursor
        receiver.received.clear()
        with dg.build_sensor_context(cursor=cursor) as context:
            result = dead_destinations(context, settings=settings)
        assert isinstance(result, dg.SensorResult)
        cursor = str(result.cursor)
        return [alert["reason"] for alert in receiver.received]

    def change(statement: str) -> None:
        with psycopg.connect(database) as connection:
            connection.execute(statement.encode())

    assert told_in_a_tick() == []
    change(GIVEN_UP)
    assert told_in_a_tick() == ["crm: 1 rows were given up"]
    assert told_in_a_tick() == []
    change("update activate.delivery_rows set first_tried_at = now() - interval '31 minutes'")
    assert told_in_a_tick() == ["mail: 1 rows have waited for more than 30 minutes"]
    change("delete from activate.delivery_rows where destination = 'crm'")
    assert told_in_a_tick() == []
    change(
        "insert into activate.destination_states (destination, disabled_at, disabled_reason)"
        " values ('crm', now(), 'It answered 410.')"
    )
    assert told_in_a_tick() == ["crm: disabled: It answered 410."]


def test_without_an_address_nobody_is_told(failure: dg.RunFailureSensorContext) -> None:
    assert isinstance(failed_runs(failure, settings=Settings()), dg.SkipReason)
