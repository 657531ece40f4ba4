"""Dagster's own state: where it is kept, its configuration, and runs whose process has died."""

import os
import socket
from pathlib import Path

import dagster as dg
from dagster import DagsterInstance, DagsterRun
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES

from cdp.settings import Settings, environment_set

# Runs with the same value of this tag never run at the same time.
ONE_AT_A_TIME = "cdp/one_at_a_time"
# Runs with this tag leave at least one place in the queue to others.
DELIVERS = "cdp/delivers"
# Who executes a run that no daemon watches: host, process, and when that process started.
EXECUTED_BY = "cdp/executed_by"

TEMPLATE = Path(__file__).parent / "dagster.yaml"
# The variable's name, not its value: the file holds no secret.
POSTGRES_STORAGE = """
storage:
  postgres:
    postgres_url:
      env: CDP_DAGSTER_DATABASE_URL
"""
SQLITE_STORAGE = """
# As Dagster keeps events by default, in the same files, with fewer seconds for each refresh.
event_log_storage:
  module: dagster_project.event_log
  class: EventLog
  config:
    dagster_home:
      env: DAGSTER_HOME
"""


def dagster_home(settings: Settings) -> Path:
    """Folder of Dagster's state, created with its dagster.yaml when missing."""
    home = settings.home / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    configuration = home / "dagster.yaml"
    if not configuration.exists():
        scratch = home / f"dagster.yaml.{os.getpid()}"
        storage = POSTGRES_STORAGE if settings.dagster_database_url else SQLITE_STORAGE
        scratch.write_text(TEMPLATE.read_text() + storage)
        scratch.replace(configuration)
    return home


def open_instance(settings: Settings) -> DagsterInstance:
    """The persistent instance, the same that the web server and the daemon use."""
    home = str(dagster_home(settings))
    with environment_set({"DAGSTER_HOME": home}):
        return DagsterInstance.from_config(home)


def process_mark(pid: int | None = None) -> str:
    """Names a process, this one unless told, so that no later one of its number is taken for it."""
    return _mark(os.getpid() if pid is None else pid)


def end_dead_runs(instance: DagsterInstance) -> list[str]:
    """Mark as failed the runs of processes on this host that are gone; return their ids.

    Dagster's daemon watches the processes that it launched. A run in the process of `cdp refresh`
    is nobody's: after a kill -9 it would stay "started" for ever.
    """
    ended = []
    for run in runs_in_progress(instance):
        mark = run.tags.get(EXECUTED_BY)
        if mark and _is_gone(mark):
            instance.report_run_failed(run, "Its process ended before the run did.")
            ended.append(run.run_id)
    return ended


def runs_in_progress(
    instance: DagsterInstance, tags: dict[str, str] | None = None
) -> list[DagsterRun]:
    """The runs that are queued, starting or running."""
    statuses = [dg.DagsterRunStatus.QUEUED, *IN_PROGRESS_RUN_STATUSES]
    return list(instance.get_runs(dg.RunsFilter(statuses=statuses, tags=tags or {})))


def _mark(pid: int) -> str:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        started, state = fields[19], fields[0]
    except OSError:
        started, state = "", "Z"
    return f"{socket.gethostname()}:{pid}:{started if state != 'Z' else ''}"


def _is_gone(mark: str) -> bool:
    host, pid, _started = mark.rsplit(":", 2)
    return host == socket.gethostname() and mark != _mark(int(pid))
