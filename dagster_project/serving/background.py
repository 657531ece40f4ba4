"""Background tasks of the read side."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from dagster_project.serving.errors import RequestError

log = logging.getLogger(__name__)
PATIENCE_SECONDS = 1.0


async def again_and_again(
    do: Callable[[], Awaitable[None]], every_seconds: float, otherwise: str
) -> None:
    """Do something until cancelled. An error is logged, with what it leads to, and ends nothing."""
    while True:
        try:
            await do()
        except RequestError as error:
            log.warning("%s: %s", otherwise, error)
        except Exception:
            log.exception("%s", otherwise)
            await asyncio.sleep(PATIENCE_SECONDS)
        await asyncio.sleep(every_seconds)


async def end(task: asyncio.Task[None] | None) -> None:
    """Cancel a task and wait until it has ended.

    A cancellation that meets the end of a timeout, as those of a connection pool, can get lost
    before CPython 3.12 (`asyncio.wait_for`); the task is asked again until it listens.
    """
    while task and not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE_SECONDS)
