"""Time that passes only when everything waits for it."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable
from typing import TypeVar

from notifications import T0

from anomaly_app.sinks.breaker import Clock

T = TypeVar("T")


class FakeClock:
    def __init__(self) -> None:
        self.seconds = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._number = 0
        self.clock = Clock(lambda: T0 + round(self.seconds * 1_000), lambda: self.seconds, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._number += 1
        heapq.heappush(self._sleepers, (self.seconds + seconds, self._number, future))
        await future

    async def run(self, *work: Awaitable[T]) -> list[T]:
        """Let time pass until all of it is done."""
        tasks = [asyncio.ensure_future(each) for each in work]
        while True:
            await settle()
            if all(task.done() for task in tasks):
                return [task.result() for task in tasks]
            self._next()

    async def pass_until(self, seconds: float) -> None:
        """Let time pass up to a moment, whatever is done by then."""
        while True:
            await settle()
            if not self._sleepers or self._sleepers[0][0] > seconds:
                self.seconds = max(self.seconds, seconds)
                return
            self._next()

    def _next(self) -> None:
        assert self._sleepers, "everything waits, and not for time"
        when, _, future = heapq.heappop(self._sleepers)
        if not future.done():
            self.seconds = max(self.seconds, when)
            future.set_result(None)


async def settle() -> None:
    """Let everything go on that does not wait for time."""
    ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]  # nothing public tells it
    await asyncio.sleep(0)
    while ready:  # noqa: ASYNC110 (there is no event for it)
        await asyncio.sleep(0)
