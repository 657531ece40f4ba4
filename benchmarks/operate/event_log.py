"""What Dagster's event log costs a refresh: its own SQLite class, and the one of this project.

    python -m benchmarks.operate.event_log [refreshes with each, default 4]

Refreshes of an empty warehouse, alternately, in a folder of their own. Prints the seconds of a
refresh in process, without the start of Python, and of them those that wrote events.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from dagster._core.storage.event_log import SqliteEventLogStorage

from cdp.database import start_database
from cdp.postgres import EmbeddedPostgres
from cdp.settings import Settings, load_settings
from dagster_project.instance import SQLITE_STORAGE, dagster_home
from dagster_project.run import refresh

written: list[float] = []


def timing(store_event: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """`store_event` that notes its seconds."""

    def timed(storage: Any, event: Any) -> None:
        began = time.perf_counter()
        store_event(storage, event)
        written.append(time.perf_counter() - began)

    return timed


def seconds(settings: Settings) -> tuple[float, float, int]:
    """Of a refresh: its seconds, those spent writing events, and the number of events."""
    written.clear()
    began = time.perf_counter()
    result = refresh(settings)
    if not result.success:
        sys.exit("\n".join(result.failures))
    return time.perf_counter() - began, sum(written), len(written)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    timed = patch.object(
        SqliteEventLogStorage, "store_event", timing(SqliteEventLogStorage.store_event)
    )
    temporary = tempfile.TemporaryDirectory(prefix="cdp-events-", ignore_cleanup_errors=True)
    with timed, temporary as folder:
        settings = load_settings(home=Path(folder), dagster_database_url=None)
        start_database(settings)
        configuration = dagster_home(settings) / "dagster.yaml"
        ours = configuration.read_text()
        variants = {"Dagster": ours.removesuffix(SQLITE_STORAGE), "EventLog": ours}
        measured: dict[str, list[tuple[float, float, int]]] = {name: [] for name in variants}
        try:
            seconds(settings)  # the first builds everything
            for _ in range(rounds):
                for name, text in variants.items():
                    configuration.write_text(text)
                    measured[name].append(seconds(settings))
        finally:
            EmbeddedPostgres(settings.home).stop()
    medians = {}
    for name, each in measured.items():
        medians[name] = statistics.median(whole for whole, _, _ in each)
        events = statistics.median(writing for _, writing, _ in each)
        print(
            f"{name:16} {medians[name]:5.1f} s a refresh, {events:.1f} s of it {each[0][2]} events"
        )
    print(f"  EventLog beside Dagster's: {medians['EventLog'] / medians['Dagster']:.2f}")


if __name__ == "__main__":
    main()
