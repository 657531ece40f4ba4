"""Requests to be erased before anything is erased: what commands say, and when the job starts."""

import uuid
from collections.abc import Callable, Iterator

import dagster as dg
import psycopg
import pytest
from typer.testing import CliRunner

from cdp.cli import app
from cdp.erasure_requests import request_erasure
from cdp.errors import UserError
from cdp.settings import Settings
from dagster_project.defs.erasures import erasure_requests
from dagster_project.defs.jobs import REFRESH_TAGS


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def tick(instance: dg.DagsterInstance, database: str) -> dg.RunRequest | dg.SkipReason:
    settings = Settings(DATABASE_URL=database)
    context = dg.build_sensor_context(instance=instance, resources={"settings": settings})
    result = erasure_requests(context)
    assert isinstance(result, dg.RunRequest | dg.SkipReason)
    return result


def ask(database: str) -> None:
    with psycopg.connect(database) as connection:
        request_erasure(connection, [("user_id", "u17")])


def set_status(database: str, status: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("update raw.erasure_requests set status = %s", [status])


def run_of(job_name: str) -> dg.DagsterRun:
    return dg.DagsterRun(
        job_name=job_name,
        run_id=str(uuid.uuid4()),
        status=dg.DagsterRunStatus.STARTED,
        tags=REFRESH_TAGS,
    )


def test_a_request_starts_the_job_and_what_was_killed_is_taken_up_again(
    instance: dg.DagsterInstance, database: str
) -> None:
    assert isinstance(tick(instance, database), dg.SkipReason)
    ask(database)
    assert isinstance(tick(instance, database), dg.RunRequest)
    set_status(database, "running")
    assert isinstance(tick(instance, database), dg.RunRequest)


def test_a_refresh_does_not_keep_the_job_from_the_queue_and_an_erasure_does(
    instance: dg.DagsterInstance, database: str
) -> None:
    ask(database)
    instance.add_run(run_of("refresh"))
    assert isinstance(tick(instance, database), dg.RunRequest)
    instance.add_run(run_of("erase_profiles"))
    assert isinstance(tick(instance, database), dg.SkipReason)


def test_a_request_that_failed_waits_for_somebody_or_for_the_next_one(
    instance: dg.DagsterInstance, database: str
) -> None:
    ask(database)
    set_status(database, "failed")
    assert isinstance(tick(instance, database), dg.SkipReason)
    ask(database)
    assert isinstance(tick(instance, database), dg.RunRequest)


def test_while_the_database_is_away_the_sensor_says_so(instance: dg.DagsterInstance) -> None:
    skipped = tick(instance, "host=/nowhere dbname=cdp")
    assert isinstance(skipped, dg.SkipReason)
    assert "cannot be reached" in str(skipped.skip_message)


@pytest.fixture
def cdp(database: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs a command that is refused, and returns why."""
    monkeypatch.setenv("DATABASE_URL", database)

    def refused(*arguments: str) -> str:
        result = CliRunner().invoke(app, arguments)
        assert isinstance(result.exception, UserError)
        return str(result.exception)

    return refused


def test_a_request_that_cannot_be_meant_is_refused(cdp: Callable[..., str]) -> None:
    assert "Name at least one identifier" in cdp("erase")
    assert "--mode is 'forget'" in cdp("erase", "--user-id", "u17", "--mode", "forget")
    assert "email is empty" in cdp("erase", "--email", " ")


def test_a_certificate_is_printed_once_there_is_one(database: str, cdp: Callable[..., str]) -> None:
    assert "Nobody asked to be erased." in CliRunner().invoke(app, ["erasures"]).output
    unknown = str(uuid.uuid4())
    assert f"There is no request {unknown}" in cdp("erasures", unknown)
    ask(database)
    with psycopg.connect(database) as connection:
        row = connection.execute("select request_id from raw.erasure_requests").fetchone()
    assert row is not None
    assert "the job erase_profiles does it" in cdp("erasures", str(row[0]))
