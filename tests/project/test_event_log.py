"""Where Dagster keeps events when it keeps them in SQLite: its own files, opened less often."""

import os
from pathlib import Path

import dagster as dg
from dagster import DagsterInstance
from dagster._core.storage.event_log import SqliteEventLogStorage

from cdp.settings import Settings, load_settings
from dagster_project.event_log import KEPT_FILES, EventLog
from dagster_project.instance import dagster_home, open_instance


@dg.asset
def something() -> int:
    return 1


def run_once(instance: DagsterInstance) -> str:
    result = dg.materialize([something], instance=instance)
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
    opened = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            path = descriptor.readlink()
        except OSError:
            continue  # it was that of this listing
        if path.suffix == ".db" and path.is_relative_to(settings.home / "dagster/history/runs"):
            opened.add(path.name)
    return opened


def test_either_class_goes_on_with_what_the_other_wrote(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    configuration = dagster_home(settings) / "dagster.yaml"
    chosen = configuration.read_text()
    with open_instance(settings) as instance:
        assert isinstance(instance.event_log_storage, EventLog)
        first = run_once(instance)

    configuration.write_text(chosen.partition("event_log_storage:")[0])
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


def test_it_keeps_few_files_open_and_none_at_the_end(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    with open_instance(settings) as instance:
        runs = [run_once(instance) for _ in range(KEPT_FILES + 3)]
        kept = kept_open(settings)
        assert len(kept) == KEPT_FILES
        assert {"index.db", f"{runs[-1]}.db"} <= kept
        assert instance.get_run_stats(runs[0]).steps_succeeded == 1
    assert kept_open(settings) == set()


def test_the_environment_is_as_before(tmp_path: Path) -> None:
    before = dict(os.environ)
    with open_instance(load_settings(home=tmp_path)):
        assert dict(os.environ) == before
