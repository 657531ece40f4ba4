"""Group commit: whatever waits is stored by one transaction, and answered only after it.

While one transaction is on its way to disk the next group gathers, so the cost of a commit is
shared by more requests the busier the service is. One writer per process, one connection.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import psycopg

from cdp.suppression import NEWER, Suppressions
from ingest.arrival import Accepted, Arrival, Rejected
from ingest.group_commit import execute_with_copies
from ingest.metrics import Metrics
from ingest.rejection import UnavailableError
from ingest.rows import COPY_EVENTS, COPY_REJECTED, insert_landings, rejected_row

log = logging.getLogger(__name__)

Connection = psycopg.AsyncConnection[tuple[object, ...]]
Chore = Callable[[Connection], Awaitable[None]]

GROUP_EVENTS = 1_000  # about 20 ms of work; a larger commit would only delay its answers
PARTITION_CHECK_SECONDS = 3_600.0
SUPPRESSION_CHECK_SECONDS = 60.0  # a commit that does not know the newest fails anyway
LONGEST_PAUSE_SECONDS = 2.0

# SQLSTATE classes that say "this row", not "this server": bad data, broken constraint, too large.
ROW_ERROR_CLASSES = frozenset({"22", "23", "54"})
NO_PARTITION = "23514"
SUPPRESSIONS_ADDED = "CDP01"  # raised by raw.require_suppressions


@dataclass(slots=True)
class _Waiting:
    arrival: Arrival
    done: asyncio.Future[None]
    event_count: int
    byte_count: int


class Writer:
    """Stores arrivals. `store` returns when its arrival is committed with fsync."""

    def __init__(
        self,
        url: str,
        metrics: Metrics,
        *,
        queue_events: int,
        queue_bytes: int,
        commit_timeout_seconds: float,
        chores: Sequence[tuple[float, Chore]] = (),
    ) -> None:
        """`chores` are run on the writer's connection: at its start and every so many seconds."""
        self._url = url
        self._metrics = metrics
        self._queue_events = queue_events
        self._queue_bytes = queue_bytes
        self._commit_timeout_seconds = commit_timeout_seconds
        self._suppressions = Suppressions()
        self._chores = [
            (PARTITION_CHECK_SECONDS, ensure_partitions),
            (SUPPRESSION_CHECK_SECONDS, self._learn_suppressions),
            *chores,
        ]
        self._due_at = [0.0] * len(self._chores)
        self._waiting: deque[_Waiting] = deque()
        self._in_flight: list[_Waiting] = []
        self._held_events = 0
        self._held_bytes = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._has_tried = asyncio.Event()
        self.is_ready = False

    async def start(self) -> None:
        """Begin to connect and to store.

        Returns when the first attempt has ended, well or not: a process that accepts requests
        before would refuse what it can store a moment later. `is_ready` tells how it ended.
        """
        self._task = asyncio.create_task(self._run(), name="group commit")
        await self._has_tried.wait()

    async def stop(self) -> None:
        """Store what waits, then close. Later arrivals are refused."""
        self._is_stopping = True
        self._wake.set()
        if self._task:
            await self._task
        self._fail(self._waiting)

    async def store(self, arrival: Arrival) -> None:
        """Wait until the arrival is on disk, its rejected parts included.

        A row that PostgreSQL refuses is moved from `accepted` to `rejected`. Raises
        UnavailableError when the queue is full or the database is away.
        """
        if not arrival.event_count:
            return
        count, size = arrival.event_count, arrival.byte_count
        is_full = (
            self._held_events + count > self._queue_events
            or self._held_bytes + size > self._queue_bytes
        )
        # An arrival larger than the whole queue must still get through when nothing else waits.
        if not self.is_ready or self._is_stopping or (is_full and self._held_events):
            raise UnavailableError
        waiting = _Waiting(arrival, asyncio.get_running_loop().create_future(), count, size)
        self._held_events += count
        self._held_bytes += size
        self._waiting.append(waiting)
        self._wake.set()
        try:
            await waiting.done
        finally:
            self._held_events -= count
            self._held_bytes -= size

    @property
    def held_events(self) -> int:
        """Events whose commit has not ended."""
        return self._held_events

    async def _run(self) -> None:
        pause = 0.1
        while True:
            try:
                async with await self._connect() as connection:
                    pause = 0.1
                    await self._serve(connection)
                return
            except (psycopg.Error, OSError, TimeoutError) as error:
                if self.is_ready or pause == 0.1:
                    log.warning("database unavailable", extra={"reason": _reason(error)})
            except Exception:
                log.exception("the writer failed and begins again")
            finally:
                self._answer_unavailable()
            if self._is_stopping:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop_requested(), pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _stop_requested(self) -> None:
        while not self._is_stopping:
            self._wake.clear()
            await self._wake.wait()

    async def _connect(self) -> Connection:
        connection = await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, connect_timeout=5
        )
        try:
            await connection.execute("set synchronous_commit = on")
            self._due_at = [0.0] * len(self._chores)
            await self._do_chores(connection)
        except BaseException:
            await connection.close()
            raise
        self._set_ready(True)
        return connection

    async def _serve(self, connection: Connection) -> None:
        while True:
            if not self._waiting and not self._is_stopping:
                self._wake.clear()
                idle_seconds = max(0.0, min(self._due_at) - time.monotonic())
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), idle_seconds)
            await self._do_chores(connection)
            if self._waiting:
                self._take_group()
                await self._store_group(connection, list(self._in_flight))
                self._in_flight = []
                if not self.is_ready:
                    raise TimeoutError
            elif self._is_stopping:
                return

    def _take_group(self) -> None:
        count = 0
        while self._waiting and count < GROUP_EVENTS:
            waiting = self._waiting.popleft()
            count += waiting.event_count
            self._in_flight.append(waiting)

    async def _do_chores(self, connection: Connection) -> None:
        now = time.monotonic()
        for number, (every_seconds, chore) in enumerate(self._chores):
            if now >= self._due_at[number]:
                async with asyncio.timeout(self._commit_timeout_seconds):
                    await chore(connection)
                self._due_at[number] = now + every_seconds

    async def _store_group(self, connection: Connection, group: list[_Waiting]) -> None:
        for waiting in group:
            waiting.arrival.drop_suppressed(self._suppressions)
        try:
            await self._commit(connection, [waiting.arrival for waiting in group])
        except psycopg.Error as error:
            if error.sqlstate == SUPPRESSIONS_ADDED:
                await self._learn_suppressions(connection)
                await self._store_group(connection, group)
                return
            if not _is_row_error(error):
                raise
            if error.sqlstate == NO_PARTITION:
                await ensure_partitions(connection)
            if len(group) > 1:
                middle = len(group) // 2
                await self._store_group(connection, group[:middle])
                await self._store_group(connection, group[middle:])
                return
            await self._quarantine_refused_rows(connection, group[0].arrival)
            await self._commit(connection, [group[0].arrival])
        for waiting in group:
            if not waiting.done.done():
                waiting.done.set_result(None)

    async def _commit(self, connection: Connection, arrivals: list[Arrival]) -> None:
        started = time.perf_counter()
        # Cancelling a server that does not react takes long; those who wait are answered before.
        limit = self._commit_timeout_seconds
        answer = asyncio.get_running_loop().call_later(limit, self._answer_unavailable)
        try:
            async with asyncio.timeout(limit):
                statements = _statements(arrivals, self._suppressions.last_id)
                await execute_with_copies(connection, *statements)
        finally:
            answer.cancel()
        self._metrics.queue_events.set(self._held_events)
        self._metrics.commit_seconds.observe(time.perf_counter() - started)
        self._metrics.commit_events.observe(sum(arrival.event_count for arrival in arrivals))

    async def _quarantine_refused_rows(self, connection: Connection, arrival: Arrival) -> None:
        for event, error in await _refused_rows(connection, arrival.accepted):
            reason = error.diag.message_primary or "no reason given"
            arrival.accepted.remove(event)
            arrival.rejected.append(
                Rejected(
                    "not_storable",
                    f"PostgreSQL cannot store this event: {reason}.",
                    event.message_id,
                    event.index,
                    event.body,
                )
            )

    async def _learn_suppressions(self, connection: Connection) -> None:
        cursor = await connection.execute(NEWER, [self._suppressions.last_id])
        self._suppressions.add(await cursor.fetchall())

    def _answer_unavailable(self) -> None:
        self._set_ready(False)
        self._fail(self._in_flight)
        self._fail(self._waiting)

    def _set_ready(self, is_ready: bool) -> None:
        self._has_tried.set()
        self.is_ready = is_ready
        self._metrics.database_up.set(is_ready)

    def _fail(self, waiting: deque[_Waiting] | list[_Waiting]) -> None:
        while waiting:
            entry = waiting.pop()
            if not entry.done.done():
                entry.done.set_exception(UnavailableError())
                entry.done.exception()  # a client that has gone does not fetch it


async def ensure_partitions(connection: Connection) -> None:
    """Create the partitions of the days around today that do not exist yet."""
    await connection.execute("select raw.ensure_partitions()")


def _statements(arrivals: list[Arrival], last_suppression: int) -> tuple[bytes, list[bytes]]:
    """The statements that store a group, and the rows of each `copy` among them."""
    landings: dict[tuple[str, str], tuple[int, ...]] = {}
    for arrival in arrivals:
        day_and_source = (arrival.receipt.received_at.date().isoformat(), arrival.receipt.source)
        earlier = landings.get(day_and_source, (0, 0, 0, 0))
        landings[day_and_source] = tuple(map(sum, zip(earlier, arrival.counts, strict=True)))
    event_rows = b"".join(event.row for arrival in arrivals for event in arrival.accepted)
    rejected_rows = b"".join(
        rejected_row(part, arrival.receipt) for arrival in arrivals for part in arrival.rejected
    )
    copies = [(COPY_EVENTS, event_rows), (COPY_REJECTED, rejected_rows)]
    copies = [(statement, rows) for statement, rows in copies if rows]
    accounting = insert_landings(
        (day, source, *counts) for (day, source), counts in landings.items()
    )
    check = f"select raw.require_suppressions({last_suppression})"
    query = ";".join([*(statement for statement, _ in copies), accounting, check])
    return query.encode(), [rows for _, rows in copies]


async def _refused_rows(
    connection: Connection, events: list[Accepted]
) -> list[tuple[Accepted, psycopg.Error]]:
    """Find the rows that PostgreSQL refuses, by halves, storing nothing."""
    try:
        async with (
            connection.transaction(force_rollback=True),
            connection.cursor() as cursor,
            cursor.copy(COPY_EVENTS) as copy,
        ):
            await copy.write(b"".join(event.row for event in events))
    except psycopg.Error as error:
        if not _is_row_error(error):
            raise
        if len(events) == 1:
            return [(events[0], error)]
        middle = len(events) // 2
        return [
            *await _refused_rows(connection, events[:middle]),
            *await _refused_rows(connection, events[middle:]),
        ]
    return []


def _is_row_error(error: psycopg.Error) -> bool:
    return (error.sqlstate or "")[:2] in ROW_ERROR_CLASSES


def _reason(error: BaseException) -> str:
    """What went wrong, without the rows that PostgreSQL quotes in the details of an error."""
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return error.diag.message_primary
    return str(error) or type(error).__name__
