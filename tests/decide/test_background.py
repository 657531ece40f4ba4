"""Background tasks of the read side: what does not end them, and what does."""

import asyncio
import contextlib

import pytest

from dagster_project.serving.background import again_and_again, end
from dagster_project.serving.errors import RequestError


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


async def test_no_error_ends_what_is_done_again_and_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done = asyncio.Event()
    errors = [RequestError(503, "away", "It is away."), ValueError("odd"), KeyError("odder")]

    async def do() -> None:
        if errors:
            raise errors.pop()
        done.set()

    task = asyncio.create_task(again_and_again(do, 0.001, "Nothing changes"))
    await asyncio.wait_for(done.wait(), 10)
    await end(task)
    assert task.cancelled()
    assert caplog.text.count("Nothing changes") == 3
    assert "Nothing changes: It is away." in caplog.text
    assert "ValueError: odd" in caplog.text
