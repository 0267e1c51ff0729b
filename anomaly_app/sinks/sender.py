"""Sends until it is taken or given up: attempts with pauses, time-outs, a circuit breaker, and numbers of all that.

Pauses belong to the receiver and not to the call, which is why no library for retries is used: what waits for one
receiver waits together, a ``Retry-After`` holds for all of it, one attempt finds out whether the receiver is back, and
how long it has been tried outlives the process.
"""

from __future__ import annotations

import asyncio
import random
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from anomaly_app.delivery.notification import Incoming, Notification
from anomaly_app.errors import SinkError
from anomaly_app.sinks.base import Sink, StreamSink
from anomaly_app.sinks.breaker import Breaker, Clock, State, backoff_s
from anomaly_app.words import duration

AT_ONCE = 4
"""Attempts at one receiver."""
GRACE_S = 5.0
"""Beyond the time-out of an attempt, after which it is called off whatever it does."""

SYSTEM_CLOCK = Clock(lambda: time.time_ns() // 1_000_000, time.monotonic, asyncio.sleep)

Result: TypeAlias = Literal["sent", "failed", "refused"]
"""Of an attempt: it was taken; it did not get through; the receiver will never take it."""
Observe: TypeAlias = Callable[[Result, float], None]
"""Told each attempt and how many seconds it took."""


class Outcome(msgspec.Struct, frozen=True):
    """How sending ended.

    Args:
        sent: it was taken.
        attempts: in this process.
        problem: why it was given up; "" if it was sent. Never tells a secret.
    """

    sent: bool
    attempts: int
    problem: str = ""


@dataclass(slots=True)
class Health:
    """Numbers of one sink, for metrics and pages.

    Args:
        results: attempts by result.
        remarks: what was counted beside, such as ``template_failed``.
        seconds: that attempts took, in all.
        problem: of the last failure; "" since something was sent.
        failing_since_ms: first failure after the last success, in ms since 1970; None if the last attempt got through.
        sent_ms: last success, in ms since 1970; None if there was none.
    """

    results: Counter[Result] = field(default_factory=Counter)
    remarks: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    problem: str = ""
    failing_since_ms: int | None = None
    sent_ms: int | None = None


class _Attempts:
    """Attempts at one receiver.

    Args:
        name: of the sink, such as ``ops/slack/0``.
        timeout_ms: of an attempt.
        clock: where time comes from.
        observe: is told each attempt.
        chance: of the jitter.
    """

    def __init__(
        self, name: str, timeout_ms: int | None, clock: Clock, observe: Observe | None, chance: random.Random | None
    ) -> None:
        self.name, self.health = name, Health()
        self._timeout_s = None if timeout_ms is None else timeout_ms / 1_000 + GRACE_S
        self._clock, self._observe = clock, observe
        self._chance = chance or random.Random()
        self._breaker = Breaker(clock, self._chance)

    @property
    def state(self) -> State:
        """Of the circuit breaker: ``closed`` is good."""
        return self._breaker.state

    async def _attempt(self, call: Callable[[], Awaitable[None]]) -> SinkError | None:
        """One attempt, when the breaker allows it; what went wrong, None if nothing did."""
        probe = await self._breaker.enter()
        began, problem = self._clock.monotonic(), None
        settled = False
        try:
            try:
                async with asyncio.timeout(self._timeout_s):
                    await call()
            except TimeoutError:
                problem = SinkError("it took too long")
            except SinkError as error:
                problem = error
            # One notification that we fail on must not stop the others.
            except Exception as error:
                problem = SinkError(_fault(error), retriable=False)
            settled = True
        finally:
            if not settled:
                self._breaker.left(probe)
        if problem is None or not problem.retriable:
            self._breaker.succeeded(probe)  # it is there, even if it does not like what it was sent
        else:
            self._breaker.failed(probe, problem.retry_after_s)
        result: Result = "sent" if problem is None else "failed" if problem.retriable else "refused"
        self._note(result, problem, self._clock.monotonic() - began)
        return problem

    def _note(self, result: Result, problem: SinkError | None, seconds: float) -> None:
        health, now_ms = self.health, self._clock.now_ms()
        health.results[result] += 1
        health.seconds += seconds
        if problem is None:
            health.problem, health.failing_since_ms, health.sent_ms = "", None, now_ms
        else:
            health.problem = str(problem)
            if not problem.retriable:
                health.failing_since_ms = None
            elif health.failing_since_ms is None:
                health.failing_since_ms = now_ms
        if self._observe is not None:
            self._observe(result, seconds)


class Sender(_Attempts):
    """Sends notifications to one sink; any number of tasks may do so at once.

    Args:
        name: of the sink, such as ``ops/slack/0``.
        sink: which sends.
        timeout_ms: of an attempt, as set for the sink.
        give_up_after_ms: how long a notification is tried.
        clock: where time comes from.
        observe: is told each attempt.
        chance: of the jitter.
    """

    def __init__(
        self,
        name: str,
        sink: Sink,
        *,
        timeout_ms: int,
        give_up_after_ms: int,
        clock: Clock = SYSTEM_CLOCK,
        observe: Observe | None = None,
        chance: random.Random | None = None,
    ) -> None:
        super().__init__(name, timeout_ms, clock, observe, chance)
        self._sink, self._give_up_after_ms = sink, give_up_after_ms
        self._room = asyncio.Semaphore(AT_ONCE)

    async def send(self, notification: Notification, since_ms: int) -> Outcome:
        """Send it until it is taken, refused or given up. Cancelling it is safe: it may be sent again then.

        Args:
            notification: to be sent.
            since_ms: when it was first to be sent, in ms since 1970; before a restart, too.
        """
        attempts, deadline = 0, since_ms + self._give_up_after_ms
        while True:
            # Who pauses holds no place: others may get through, such as past one that the receiver chokes on.
            async with self._room:
                problem = await self._attempt(lambda: self._sink.send(notification))
            attempts += 1
            if problem is None:
                return Outcome(True, attempts)
            if not problem.retriable:
                return Outcome(False, attempts, str(problem))
            left_s = (deadline - self._clock.now_ms()) / 1_000
            if left_s <= 0:
                return Outcome(False, attempts, f"given up after {_length(self._give_up_after_ms)}: {problem}")
            pause = max(backoff_s(attempts, self._chance), problem.retry_after_s or 0.0)
            await self._breaker.pause(min(pause, left_s))

    async def close(self) -> None:
        """Give back connections."""
        await self._sink.close()


class StreamSender(_Attempts):
    """Writes batches of alerts to one sink, one after the other.

    Args:
        name: of the sink, such as ``ops/influxdb/0``.
        sink: which writes, and bounds the time of each of its requests.
        give_up_after_ms: once the sink has failed for so long, a batch is tried once and given up.
        clock: where time comes from.
        observe: is told each attempt.
        chance: of the jitter.
    """

    def __init__(
        self,
        name: str,
        sink: StreamSink,
        *,
        give_up_after_ms: int,
        clock: Clock = SYSTEM_CLOCK,
        observe: Observe | None = None,
        chance: random.Random | None = None,
    ) -> None:
        super().__init__(name, None, clock, observe, chance)
        self._sink, self._give_up_after_ms = sink, give_up_after_ms
        self._turn = asyncio.Lock()
        self.batch_size, self.batch_wait_ms = sink.batch_size, sink.batch_wait_ms

    async def write(self, alerts: Sequence[Incoming]) -> Sequence[tuple[Incoming, str]]:
        """Write them until all are taken, refused or given up.

        Args:
            alerts: in the order of their partitions.

        Returns:
            those that were refused or given up, and why.
        """
        attempts = 0
        refused: Sequence[tuple[Incoming, str]] = ()

        async def write() -> None:
            nonlocal refused
            async with self._turn:
                refused = await self._sink.write(alerts, self._clock.now_ms())

        while True:
            problem = await self._attempt(write)
            attempts += 1
            if problem is None:
                return refused
            if not problem.retriable:
                return [(alert, str(problem)) for alert in alerts]
            failing_since_ms, now_ms = self.health.failing_since_ms, self._clock.now_ms()
            left_s = ((failing_since_ms or now_ms) + self._give_up_after_ms - now_ms) / 1_000
            if left_s <= 0:
                why = f"given up after {_length(self._give_up_after_ms)}: {problem}"
                return [(alert, why) for alert in alerts]
            pause = max(backoff_s(attempts, self._chance), problem.retry_after_s or 0.0)
            await self._breaker.pause(min(pause, left_s))

    async def tick(self) -> None:
        """What is due without an alert; nothing while the sink is away."""

        async def tick() -> None:
            async with self._turn:
                await self._sink.tick(self._clock.now_ms())

        if self._breaker.state == "closed":
            await self._attempt(tick)

    async def close(self) -> None:
        """Give back connections."""
        await self._sink.close()


def _length(milliseconds: int) -> str:
    return duration(milliseconds) if milliseconds else "one attempt"


def _fault(error: Exception) -> str:
    """Where it happened. Its words are left out: they may quote a secret."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"a fault of the program: {type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno}"
