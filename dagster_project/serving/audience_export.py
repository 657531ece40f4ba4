"""GET /audiences/{id}/export: the members as CSV, however many, in constant memory.

COPY hands over one row at a time. Awaiting a million of them costs more than reading them, so a
thread reads and hands over blocks; between two blocks it waits for the client.
"""

import asyncio
from collections.abc import AsyncIterator, Generator

import anyio
import psycopg
from fastapi import APIRouter
from psycopg import IsolationLevel
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from cdp.database import database_url
from cdp.settings import Settings
from dagster_project.destinations.csv_files import members_statement
from dagster_project.serving.audiences import Name, find_audience
from dagster_project.serving.database import Database, answered
from dagster_project.serving.errors import unavailable

EXPORTS_AT_ONCE = 2
BLOCK_BYTES = 1 << 18


def audience_export_routes(settings: Settings, database: Database) -> APIRouter:
    router = APIRouter()
    exporting = asyncio.Semaphore(EXPORTS_AT_ONCE)
    url = database_url(settings, "serving")

    @router.get("/audiences/{audience}/export")
    async def export(audience: Name) -> Response:
        """The members as CSV, streamed: what the destination `csv` writes, in any order."""
        found = await find_audience(database, audience)
        if exporting.locked():
            raise unavailable("busy", f"{EXPORTS_AT_ONCE} exports are running; try again.")
        blocks = _in_turn(_csv(url, int(found["audience_id"])), exporting)
        # The first block is read before the answer begins, so that a failure can still be said.
        with answered():
            first = await anext(blocks)
        return StreamingResponse(
            _chained(first, blocks),
            media_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{found["audience_key"]}.csv"'},
        )

    return router


def _csv(url: str, audience_id: int) -> Generator[bytes]:
    """The file in blocks, read from one snapshot while the generator lives."""
    with psycopg.connect(url, connect_timeout=5) as connection:
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        connection.execute("set timezone = 'UTC'")
        statement = members_statement(audience_id, in_order=False)
        with connection.cursor().copy(statement) as copy:
            block = bytearray()
            for row in copy:
                block += row
                if len(block) >= BLOCK_BYTES:
                    yield bytes(block)
                    block.clear()
            yield bytes(block)


async def _in_turn(blocks: Generator[bytes], exporting: asyncio.Semaphore) -> AsyncIterator[bytes]:
    """The blocks, each read in a thread; a client that goes away ends the reading."""
    async with exporting:
        try:
            while (block := await run_in_threadpool(next, blocks, None)) is not None:
                yield block
        finally:
            with anyio.CancelScope(shield=True):
                await run_in_threadpool(blocks.close)


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for block in rest:
        yield block
