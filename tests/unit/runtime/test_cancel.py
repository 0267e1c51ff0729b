"""Tasks end even if they swallow a cancellation."""

from __future__ import annotations

import asyncio
import contextlib

from anomaly_app.runtime.cancel import cancel


async def test_a_swallowed_cancellation_is_repeated() -> None:
    async def stubborn() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    tasks = [asyncio.create_task(stubborn()), asyncio.create_task(asyncio.sleep(0))]
    await asyncio.sleep(0)
    await asyncio.wait_for(cancel(tasks), 5)
    assert all(task.done() for task in tasks)


async def test_what_a_task_raised_is_not_raised_again() -> None:
    async def fails() -> None:
        raise ValueError

    task = asyncio.create_task(fails())
    await asyncio.sleep(0)
    await cancel([task])
    assert task.done()
