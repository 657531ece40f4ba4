"""Logging decisions without slowing them: they are answered first, and written in groups."""

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from dagster_project.serving.background import again_and_again, end
from dagster_project.serving.database import REFUSED, SLOW, Database
from dagster_project.serving.errors import RequestError
from dagster_project.serving.metrics import Metrics

log = logging.getLogger(__name__)
GROUP_ROWS = 500
GATHER_SECONDS = 0.05  # a commit each for a handful of decisions would cost more than deciding
PAUSE_SECONDS = 1.0
STOP_SECONDS = 10.0  # those who run the service kill it some time after they asked it to stop

# Nobody waits for it: it may take longer than an answer. A lock says nothing about what is written,
# so that it is waited for again and again; what takes the rest of the time is tried in parts.
TIMEOUTS = "set local lock_timeout = '5s'; set local statement_timeout = '30s'"
# Again after a commit whose answer was lost, it changes nothing.
INSERT = """
insert into decide.decisions ({columns})
select {columns}
from jsonb_populate_recordset(null::decide.decisions, %s::jsonb)
on conflict (decision_id) do nothing
"""


class Decision(msgspec.Struct, frozen=True, gc=False):
    """A row of decide.decisions."""

    decision_id: UUID
    profile_id: str | None
    subject_id: str
    experience: str
    rule_key: str
    audience_keys: Sequence[str]
    context: msgspec.Raw
    is_holdout: bool
    holdout_percent: float
    rule_version: str
    decided_at: datetime
    campaign: str
    is_degraded: bool


INSERT_GROUP = INSERT.format(columns=", ".join(Decision.__struct_fields__)).encode()


class DecisionLog:
    """Writes decisions behind their answers, many per transaction.

    What waits is bounded: while the database is away, decisions beyond the bound are counted in
    `lost` and said in the log. A group that the database does not take is halved until it does; a
    decision that it does not take alone is lost, too.
    """

    def __init__(self, database: Database, max_waiting: int, metrics: Metrics) -> None:
        self.lost = 0
        self._metrics = metrics
        self._database = database
        self._waiting: asyncio.Queue[Decision] = asyncio.Queue(max_waiting)
        self._in_hand: list[Decision] = []
        self._most = GROUP_ROWS
        self._writer: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many decisions are not written yet."""
        return self._waiting.qsize() + len(self._in_hand)

    def start(self) -> None:
        self._writer = asyncio.create_task(again_and_again(self._write_next, 0, "Not logged yet"))

    async def stop(self) -> None:
        """Write what waits, as far as the database takes it at once."""
        await end(self._writer)
        until = time.monotonic() + STOP_SECONDS
        while self.waiting:
            self._in_hand += self._take(GROUP_ROWS - len(self._in_hand))
            if time.monotonic() > until or not await self._is_taken():
                self._lose(self.waiting, "stopped")
                return

    def add(self, decision: Decision) -> None:
        """Take a decision to be written soon."""
        try:
            self._waiting.put_nowait(decision)
        except asyncio.QueueFull:
            self._lose(1, "too many wait")

    async def _write_next(self) -> None:
        if not self._in_hand:
            self._in_hand = [await self._waiting.get()]
            await asyncio.sleep(GATHER_SECONDS)
            self._in_hand += self._take(GROUP_ROWS - 1)
        if not await self._is_taken():
            await asyncio.sleep(PAUSE_SECONDS)

    async def _is_taken(self) -> bool:
        """Try to write the first of those in hand. False while the database takes nothing at all.

        True after a group was too much or refused as well: the next try is for half of it.
        """
        group = self._in_hand[: self._most]
        try:
            await self._write(group)
        except RequestError as error:
            log.warning("Could not log %s decisions: %s", len(group), error)
            if error.code not in (SLOW, REFUSED):
                return False
            if len(group) > 1:
                self._most = len(group) // 2
                return True
            self._lose(1, str(error))
            self._most = GROUP_ROWS
        del self._in_hand[: len(group)]
        if not self._in_hand:
            self._most = GROUP_ROWS
        return True

    async def _write(self, group: list[Decision]) -> None:
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(TIMEOUTS)
            await connection.execute(INSERT_GROUP, [msgspec.json.encode(group).decode()])

    def _take(self, most: int) -> list[Decision]:
        count = min(most, self._waiting.qsize())
        return [self._waiting.get_nowait() for _each in range(count)]

    def _lose(self, count: int, why: str) -> None:
        self.lost += count
        self._metrics.decisions_lost.inc(count)
        log.error("Lost %s decisions of the log (%s in all): %s", count, self.lost, why)
