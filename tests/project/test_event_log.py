"""Where Dagster keeps events when it keeps them in SQLite: its own files, opened less often."""

import os
import threading
import uuid
from pathlib import Path

import dagster as dg
import psutil
from dagster import DagsterInstance
from dagster._core.storage.event_log import SqliteEventLogStorage

from cdp.settings import Settings, load_settings
from dagster_project.event_log import KEPT_FILES, EventLog
from dagster_project.instance import SQLITE_STORAGE, dagster_home, open_instance


@dg.asset
def something() -> int:
    return 1


@dg.asset_check(asset=something)
def something_is_there() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


def run_once(instance: DagsterInstance) -> str:
    result = dg.materialize([something, something_is_there], instance=instance)
    assert result.success
    return result.run_id


def materialised_by(instance: DagsterInstance) -> str:
    event = instance.get_latest_materialization_event(something.key)
    assert event is not None
    return event.run_id


def kinds_of_events(instance: DagsterInstance, run_id: str) -> list[str]:
    return [
        each.get_dagster_event().event_type_value
        for each in instance.all_logs(run_id)
        if each.is_dagster_event
    ]


def kept_open(settings: Settings) -> set[str]:
    """The files of the event log that this process has open."""
    opened = [Path(each.path) for each in psutil.Process().open_files()]
    folder = settings.home / "dagster" / "history" / "runs"
    return {path.name for path in opened if path.suffix == ".db" and path.parent == folder}


def test_either_class_goes_on_with_what_the_other_wrote(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    configuration = dagster_home(settings) / "dagster.yaml"
    chosen = configuration.read_text()
    with open_instance(settings) as instance:
        assert isinstance(instance.event_log_storage, EventLog)
        first = run_once(instance)

    configuration.write_text(chosen.removesuffix(SQLITE_STORAGE))
    with open_instance(settings) as instance:
        assert type(instance.event_log_storage) is SqliteEventLogStorage
        assert materialised_by(instance) == first
        second = run_once(instance)
        written = kinds_of_events(instance, second)

    configuration.write_text(chosen)
    with open_instance(settings) as instance:
        assert materialised_by(instance) == second
        third = run_once(instance)
        again = kinds_of_events(instance, third)
    assert again == written
    assert {"ASSET_MATERIALIZATION", "ASSET_CHECK_EVALUATION"} <= set(written)


def test_who_watches_a_run_sees_its_events_while_it_goes_on(tmp_path: Path) -> None:
    """As the pages of a run do, from another process than the run's: both have its file open."""
    settings = load_settings(home=tmp_path)
    run_id, seen = str(uuid.uuid4()), threading.Semaphore(0)

    def callback(_event: dg.EventLogEntry, _cursor: str) -> None:
        seen.release()

    with open_instance(settings) as running, open_instance(settings) as watching:
        running.report_engine_event("begun", run_id=run_id, job_name="refresh")
        assert len(watching.all_logs(run_id)) == 1
        watching.watch_event_logs(run_id, None, callback)
        for number in range(2, 5):
            running.report_engine_event("goes on", run_id=run_id, job_name="refresh")
            assert seen.acquire(timeout=30), number


def test_after_a_wipe_it_goes_on_in_new_files(tmp_path: Path) -> None:
    settings, run_id = load_settings(home=tmp_path), str(uuid.uuid4())
    with open_instance(settings) as instance:
        instance.report_engine_event("before", run_id=run_id, job_name="refresh")
        instance.wipe()
        instance.report_engine_event("after", run_id=run_id, job_name="refresh")
        with open_instance(settings) as other:
            assert [each.message for each in other.all_logs(run_id)] == ["after"]


def test_it_keeps_few_files_open_and_none_at_the_end(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    with open_instance(settings) as instance:
        runs = [run_once(instance) for _ in range(KEPT_FILES + 3)]
        kept = kept_open(settings)
        assert len(kept) == KEPT_FILES
        assert {"index.db", f"{runs[-1]}.db"} <= kept
        assert instance.get_run_stats(runs[0]).steps_succeeded == 2
    assert kept_open(settings) == set()


def test_the_environment_is_as_before(tmp_path: Path) -> None:
    before = dict(os.environ)
    with open_instance(load_settings(home=tmp_path)):
        assert dict(os.environ) == before
