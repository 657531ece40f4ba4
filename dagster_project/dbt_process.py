"""dbt in this process: started in a thread, its results handed over as each node finishes.

In process a refresh of the demo takes seconds; the command line would spend that again on starting
Python and on parsing. dbt keeps its flags and adapters in module globals, so one invocation runs
at a time.
"""

import contextlib
import ctypes
import queue
import threading
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbt.adapters.base.impl import BaseAdapter
from dbt.adapters.factory import FACTORY
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt_common.events.base_types import EventMsg
from dbt_common.events.functions import msg_to_dict
from dbt_common.exceptions import DbtBaseException

from cdp.pauses import seldom_collected
from cdp.settings import environment_set

FAILED_STATUSES = frozenset({"error", "fail", "runtime error", "partial success"})
_one_at_a_time = threading.Lock()


class DbtError(RuntimeError):
    """dbt could not start or could not finish; the message is dbt's own."""


@dataclass(frozen=True)
class NodeResult:
    """What became of one node: a model, seed, snapshot, test, unit test or function.

    `number` of `total` nodes of this invocation have finished. `status` is dbt's: success, pass,
    warn, fail, error, skipped. `rows_affected` is what the database said of the node's statement,
    `failures` how many rows a test found.
    """

    unique_id: str
    resource_type: str
    name: str
    status: str
    message: str
    seconds: float
    rows_affected: int | None
    failures: int | None
    number: int
    total: int

    @property
    def failed(self) -> bool:
        return self.status in FAILED_STATUSES


def run_dbt(
    arguments: Sequence[str],
    *,
    project_dir: Path,
    target_dir: Path,
    environment: Mapping[str, str],
) -> dbtRunnerResult:
    """Run a dbt command to its end, quietly, with `environment` for the profile."""
    with _one_at_a_time, environment_set(environment), seldom_collected():
        return dbtRunner().invoke(_complete(arguments, project_dir, target_dir))


def stream_dbt(
    arguments: Sequence[str],
    *,
    project_dir: Path,
    target_dir: Path,
    environment: Mapping[str, str],
) -> Generator[NodeResult]:
    """Run a dbt command and yield each node's result when it has finished, skipped ones included.

    A node that fails does not raise; look at `failed`. Raises DbtError when dbt itself cannot go
    on (no connection, a project that does not compile). When the consumer stops early - a
    terminated run, Ctrl-C - running statements are cancelled before this returns.
    """
    finished: queue.SimpleQueue[NodeResult | dbtRunnerResult] = queue.SimpleQueue()
    progress = _Progress(finished)

    def work() -> None:
        runner = dbtRunner(callbacks=[progress.take])
        finished.put(runner.invoke(_complete(arguments, project_dir, target_dir)))

    with _one_at_a_time, environment_set(environment), seldom_collected():
        thread = threading.Thread(target=work, name="dbt", daemon=True)
        thread.start()
        try:
            while not isinstance(item := _next_item(finished), dbtRunnerResult):
                yield item
        except BaseException:
            _cancel(thread)
            raise
        finally:
            thread.join()
    if item.exception is not None:
        raise DbtError(str(item.exception).strip()) from item.exception


def _complete(arguments: Sequence[str], project_dir: Path, target_dir: Path) -> list[str]:
    folders = ["--project-dir", str(project_dir), "--profiles-dir", str(project_dir)]
    written = ["--target-path", str(target_dir)]
    silent = ["--log-level", "none", "--log-level-file", "none", "--no-send-anonymous-usage-stats"]
    return [*arguments, *folders, *written, *silent]


def _next_item(
    finished: "queue.SimpleQueue[NodeResult | dbtRunnerResult]",
) -> NodeResult | dbtRunnerResult:
    # In slices: a wait without end would not notice a signal.
    while True:
        with contextlib.suppress(queue.Empty):
            return finished.get(timeout=0.5)


class _Progress:
    """Turns dbt's events into results. dbt calls it from its worker threads."""

    def __init__(self, finished: "queue.SimpleQueue[NodeResult | dbtRunnerResult]") -> None:
        self._finished = finished
        self._total = 0
        self._number = 0
        self._counting = threading.Lock()

    def take(self, event: EventMsg) -> None:
        name = event.info.name
        if name == "ConcurrencyLine":
            self._total = int(event.data.node_count)
        elif name == "NodeFinished" and not _is_only_text(event):
            with self._counting:
                self._number += 1
                self._finished.put(_node_result(event, self._number, self._total))


def _is_only_text(event: EventMsg) -> bool:
    """Ephemeral models become part of others; dbt does not count them."""
    return bool(event.data.node_info.materialized == "ephemeral")


def _node_result(event: EventMsg, number: int, total: int) -> NodeResult:
    data: dict[str, Any] = msg_to_dict(event)["data"]
    node, outcome = data["node_info"], data["run_result"]
    response = outcome.get("adapter_response") or {}
    affected = response.get("rows_affected")
    is_test = node["resource_type"] == "test"
    return NodeResult(
        unique_id=node["unique_id"],
        resource_type=node["resource_type"],
        name=node["node_name"],
        status=outcome["status"].lower(),
        message=outcome.get("message", "").strip(),
        seconds=float(outcome.get("execution_time", 0.0)),
        rows_affected=None if affected is None or int(affected) < 0 else int(affected),
        failures=int(outcome.get("num_failures", 0)) if is_test else None,
        number=number,
        total=max(total, number),
    )


def _cancel(thread: threading.Thread) -> None:
    """Make dbt end as Ctrl-C on its command line would.

    dbt cancels by itself when its main thread is interrupted, but that thread may be waiting for a
    statement: terminate the statements, so that it wakes and finds the interruption.
    """
    if thread.ident is None:
        return
    interrupted = ctypes.py_object(KeyboardInterrupt)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), interrupted)
    while thread.is_alive():
        for adapter in [
            each for each in FACTORY.adapters.values() if isinstance(each, BaseAdapter)
        ]:
            # The thread may be closing them at this moment; it is looked at again in a second.
            with contextlib.suppress(DbtBaseException), adapter.connection_named("cancel"):
                adapter.cancel_open_connections()  # type: ignore[no-untyped-call]
        thread.join(timeout=1)
