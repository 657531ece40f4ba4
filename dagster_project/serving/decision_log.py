"""Logging decisions without slowing them: they are answered first, and written in groups."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
import psycopg

from dagster_project.serving.background import end
from dagster_project.serving.database import Database
from dagster_project.serving.errors import RequestError
from dagster_project.serving.metrics import Metrics

log = logging.getLogger(__name__)
GROUP_ROWS = 500
GATHER_SECONDS = 0.05  # a commit each for a handful of decisions would cost more than deciding
PAUSE_SECONDS = 1.0

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
    `lost` and said in the log.
    """

    def __init__(self, database: Database, max_waiting: int, metrics: Metrics) -> None:
        self.lost = 0
        self._metrics = metrics
        self._database = database
        self._waiting: asyncio.Queue[Decision] = asyncio.Queue(max_waiting)
        self._writer: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        return self._waiting.qsize()

    def start(self) -> None:
        self._writer = asyncio.create_task(self._write_groups())

    async def stop(self) -> None:
        """Write what waits, as far as the database takes it at once."""
        await end(self._writer)
        while group := self._take():
            if not await self._is_written(group):
                self._lose(len(group) + self._waiting.qsize(), "stopped")
                return

    def add(self, decision: Decision) -> None:
        """Take a decision to be written soon."""
        try:
            self._waiting.put_nowait(decision)
        except asyncio.QueueFull:
            self._lose(1, "too many wait")

    async def _write_groups(self) -> None:
        group: list[Decision] = []
        try:
            while True:
                group = [await self._waiting.get()]
                await asyncio.sleep(GATHER_SECONDS)
                group += self._take(GROUP_ROWS - 1)
                while not await self._is_written(group):
                    await asyncio.sleep(PAUSE_SECONDS)
                group = []
        except asyncio.CancelledError:
            for decision in group:
                self.add(decision)
            raise

    async def _is_written(self, group: list[Decision]) -> bool:
        try:
            await self._write(group)
        except RequestError as error:
            log.warning("Could not log %s decisions: %s", len(group), error)
            return False
        except psycopg.Error as error:
            self._lose(len(group), str(error))
        return True

    async def _write(self, group: list[Decision]) -> None:
        async with self._database.connection() as connection:
            await connection.execute(INSERT_GROUP, [msgspec.json.encode(group).decode()])

    def _take(self, most: int = GROUP_ROWS) -> list[Decision]:
        count = min(most, self._waiting.qsize())
        return [self._waiting.get_nowait() for _each in range(count)]

    def _lose(self, count: int, why: str) -> None:
        self.lost += count
        self._metrics.decisions_lost.inc(count)
        log.error("Lost %s decisions of the log (%s in all): %s", count, self.lost, why)
