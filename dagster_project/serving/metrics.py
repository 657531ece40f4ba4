"""What the read side counts, for Prometheus. One registry per application, not per process."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """The counters of one process of the read side."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Histogram(
            "cdp_serving_request_seconds",
            "Time to answer a request, by route and status.",
            ["route", "status"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._decisions = Counter(
            "cdp_serving_decisions",
            "Decisions made, by experience, and whether from the batch alone.",
            ["experience", "degraded"],
            registry=self.registry,
        )
        self.refused = Counter(
            "cdp_serving_refused",
            "Requests refused: without a token, beyond its scopes, or beyond its rate.",
            ["code"],
            registry=self.registry,
        )
        self.decisions_lost = Counter(
            "cdp_serving_decisions_lost",
            "Decisions that were answered and could not be logged.",
            registry=self.registry,
        )
        self.decisions_waiting = Gauge(
            "cdp_serving_decisions_waiting",
            "Decisions that wait to be logged.",
            registry=self.registry,
        )

    def observe_request(self, route: str, status: int, seconds: float) -> None:
        """Count an answer. `route` is a route's pattern, never what a client made up."""
        self._requests.labels(route, str(status)).observe(seconds)

    def count_decision(self, experience: str, is_degraded: bool) -> None:
        self._decisions.labels(experience, str(is_degraded).lower()).inc()

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
