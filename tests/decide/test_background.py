"""Ending a background task of the read side."""

import asyncio
import contextlib

from dagster_project.serving.background import end


async def test_a_task_that_loses_a_cancellation_is_ended_all_the_same() -> None:
    async def deaf_once() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    task = asyncio.create_task(deaf_once())
    await asyncio.sleep(0)

    await end(task)

    assert task.cancelled()
    await end(None)
