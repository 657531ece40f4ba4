"""Load on a service that remembers which events were acknowledged."""

import contextlib
import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx

BATCH_EVENTS = 20


@dataclass
class Load:
    """Clients that send events with ids of their own for as long as the block runs."""

    url: str
    acknowledged: set[str] = field(default_factory=set)
    statuses: set[int] = field(default_factory=set)
    failures: int = 0
    _ids: Iterator[int] = field(default_factory=itertools.count)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def running(self, clients: int = 8) -> Iterator["Load"]:
        """Send from so many threads until the end of the block."""
        threads = [threading.Thread(target=self._send, args=(n % 2 == 0,)) for n in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(timeout=60)
        assert not any(thread.is_alive() for thread in threads), "a client hangs"

    def _send(self, in_batches: bool) -> None:
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while not self._stop.is_set():
                try:
                    self._send_once(client, in_batches)
                except httpx.TransportError:
                    self.failures += 1
                    self._stop.wait(0.02)

    def _send_once(self, client: httpx.Client, in_batches: bool) -> None:
        count = BATCH_EVENTS if in_batches else 1
        ids = [f"event-{next(self._ids)}" for _ in range(count)]
        events = [{"type": "page", "messageId": message_id} for message_id in ids]
        if in_batches:
            reply = client.post("/v1/batch", json={"batch": events})
        else:
            reply = client.post("/v1/page", json=events[0])
        self.statuses.add(reply.status_code)
        if reply.status_code == 200:
            assert reply.json().get("accepted", 1) == count
            self.acknowledged.update(ids)
        else:
            assert reply.headers["Retry-After"]
            self._stop.wait(0.02)
