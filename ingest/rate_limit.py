"""How many events a source may send: a fixed window of one second per source and process."""

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from ingest.rejection import RateLimitError


class RateLimit:
    """Raises RateLimitError for a request beyond the limit; 0 means no limit at all.

    Several workers count each for itself, so a source may reach the limit times their number.
    """

    def __init__(self, events_per_second: int) -> None:
        self._limit = events_per_second
        if events_per_second:
            self._item = RateLimitItemPerSecond(events_per_second)
            self._windows = FixedWindowRateLimiter(MemoryStorage())

    def take(self, source: str, event_count: int) -> None:
        """Count events of a source against its window."""
        if not self._limit:
            return
        # A batch larger than the limit must pass some time: it takes a whole window.
        cost = min(event_count, self._limit)
        if not self._windows.hit(self._item, source, cost=cost):
            raise RateLimitError
