"""What the write side counts, for Prometheus. One registry per application, not per process.

Several worker processes share one address, so each of them answers for all: they count in files
of a folder that prometheus_client finds in the environment when it is imported.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from cdp.settings import environment_set, environment_variable
from ingest.arrival import Arrival

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

MILLISECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
GROUP_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2500, 5000)


@contextmanager
def shared_by_workers() -> Iterator[None]:
    """Have the processes that are started meanwhile count together."""
    with (
        TemporaryDirectory(prefix="cdp-ingest-metrics-") as folder,
        environment_set({SHARED_FOLDER: folder}),
    ):
        yield


class Metrics:
    """The counters of an application; where worker processes count together, those of all."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "cdp_ingest_requests",
            "Requests answered, by path and status.",
            ["path", "status"],
            registry=self.registry,
        )
        self.events = Counter(
            "cdp_ingest_events",
            "Events by source and outcome (accepted, suppressed or the code of the rejection).",
            ["source", "outcome"],
            registry=self.registry,
        )
        self.queue_events = Gauge(
            "cdp_ingest_queue_events",
            "Events that wait for their commit.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.commit_seconds = Histogram(
            "cdp_ingest_commit_seconds",
            "Time from the start of a commit to its end on disk.",
            buckets=MILLISECONDS,
            registry=self.registry,
        )
        self.commit_events = Histogram(
            "cdp_ingest_commit_events",
            "Events in one commit.",
            buckets=GROUP_SIZES,
            registry=self.registry,
        )
        self.database_up = Gauge(
            "cdp_ingest_database_up",
            "1 while events can be stored.",
            registry=self.registry,
            multiprocess_mode="mostrecent",
        )
        self._request_counters: dict[tuple[str, int], Counter] = {}
        self._event_counters: dict[tuple[str, str], Counter] = {}

    def count_request(self, path: str, status: int) -> None:
        """Count an answer. `path` is a route's pattern, never what a client made up."""
        counter = self._request_counters.get((path, status))
        if counter is None:
            counter = self.requests.labels(path, str(status))
            self._request_counters[(path, status)] = counter
        counter.inc()

    def count_events(self, arrival: Arrival) -> None:
        """Count what a request brought, once it is on disk."""
        source = arrival.receipt.source
        if arrival.accepted:
            self._count_outcome(source, "accepted", len(arrival.accepted))
        if arrival.suppressed:
            self._count_outcome(source, "suppressed", len(arrival.suppressed))
        for part in arrival.rejected:
            self._count_outcome(source, part.code, 1)

    def _count_outcome(self, source: str, outcome: str, count: int) -> None:
        counter = self._event_counters.get((source, outcome))
        if counter is None:
            counter = self.events.labels(source, outcome)
            self._event_counters[(source, outcome)] = counter
        counter.inc(count)

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        if values.ValueClass is values.MutexValue:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        _forget_ended_workers()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)


def _forget_ended_workers() -> None:
    """Leave out what waits in a worker that no longer runs. What it has counted stays."""
    for file in Path(environment_variable(SHARED_FOLDER)).glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid)  # type: ignore[no-untyped-call]
