"""A circuit breaker: asks a receiver that is down no more than now and then, whoever waits for it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

State: TypeAlias = Literal["closed", "open", "half_open"]

FAILURES = 5
"""In a row open it."""
FIRST_S, LONGEST_S = 1.0, 60.0
"""Of the pauses between attempts, which double."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Where time comes from.

    Args:
        now_ms: by the wall, in ms since 1970.
        monotonic: in seconds since some moment; never set back.
        sleep: for so many seconds.
    """

    now_ms: Callable[[], int]
    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]


def backoff_s(failures: int, chance: random.Random) -> float:
    """How long to wait after so many failures: doubling, with jitter, so that not all come back at one moment."""
    return chance.uniform(0.5, 1.0) * min(LONGEST_S, FIRST_S * 2.0 ** min(failures - 1, 30))


class Breaker:
    """Lets through while a receiver answers; when it does not, one attempt at a time, with pauses.

    Args:
        clock: where time comes from.
        chance: of the jitter.

    Attributes:
        recoveries: how often it has closed again.
    """

    def __init__(self, clock: Clock, chance: random.Random) -> None:
        self._clock, self._chance = clock, chance
        self._failures = 0
        self._not_before = 0.0
        self._probe = asyncio.Lock()
        self._recovered = asyncio.Event()
        self.recoveries = 0

    @property
    def state(self) -> State:
        """``open`` while it waits, ``half_open`` while one attempt finds out."""
        if self._closed():
            return "closed"
        return "open" if self._clock.monotonic() < self._not_before else "half_open"

    async def enter(self) -> bool:
        """Wait until an attempt may be made; who has waited longest goes first.

        Returns:
            Whether it is the one that finds out; to be given to what ends the attempt: :meth:`succeeded`,
            :meth:`failed` or :meth:`left`.
        """
        while (pause := self._not_before - self._clock.monotonic()) > 0 and self._closed():
            await self._clock.sleep(pause)
        if self._closed():
            return False
        await self._probe.acquire()
        try:
            while (pause := self._not_before - self._clock.monotonic()) > 0:
                await self._clock.sleep(pause)
        except BaseException:
            self._probe.release()
            raise
        if self._closed():
            self._probe.release()
            return False
        return True

    async def pause(self, seconds: float) -> None:
        """Sleep, or until the receiver is back."""
        sleeping = asyncio.ensure_future(self._clock.sleep(seconds))
        waking = asyncio.ensure_future(self._recovered.wait())
        try:
            await asyncio.wait((sleeping, waking), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            waking.cancel()

    def succeeded(self, probe: bool) -> None:
        """The receiver took it."""
        recovered = not self._closed()
        self._failures = 0  # a Retry-After that another attempt was told holds on
        if recovered:
            self.recoveries += 1
            self._recovered.set()
            self._recovered = asyncio.Event()
        self.left(probe)

    def failed(self, probe: bool, retry_after_s: float | None) -> None:
        """The receiver is away or asks for patience.

        Args:
            probe: as :meth:`enter` said.
            retry_after_s: how long it asks everybody to wait; None if it does not say.
        """
        self._failures += 1
        pause = retry_after_s or 0.0
        if not self._closed():
            pause = max(pause, backoff_s(self._failures - FAILURES + 1, self._chance))
        if pause:
            self._not_before = max(self._not_before, self._clock.monotonic() + pause)
        self.left(probe)

    def left(self, probe: bool) -> None:
        """The attempt ended in another way, or was called off."""
        if probe:
            self._probe.release()

    def _closed(self) -> bool:
        return self._failures < FAILURES
