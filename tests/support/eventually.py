"""Waiting for what other threads and programs do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


async def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Ask, in a thread, until it holds."""
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline, "does not come to hold"
        await asyncio.sleep(0.05)
