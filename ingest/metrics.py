"""What the write side counts, for Prometheus. One registry per application, not per process."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ingest.arrival import Arrival

MILLISECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
GROUP_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2500, 5000)


class Metrics:
    """The counters of one worker process; with several workers each answers for itself."""

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
            "cdp_ingest_queue_events", "Events that wait for their commit.", registry=self.registry
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
            "cdp_ingest_database_up", "1 while events can be stored.", registry=self.registry
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
        return generate_latest(self.registry)
