"""Background tasks of the read side."""

import asyncio

PATIENCE_SECONDS = 1.0


async def end(task: asyncio.Task[None] | None) -> None:
    """Cancel a task and wait until it has ended.

    A cancellation that meets the end of a timeout, as those of a connection pool, can get lost
    before CPython 3.12 (`asyncio.wait_for`); the task is asked again until it listens.
    """
    while task and not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE_SECONDS)
