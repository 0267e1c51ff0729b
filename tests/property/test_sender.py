"""Whatever a receiver does, every notification ends, and the receiver is asked as it wishes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from fake_clock import FakeClock
from hypothesis import given, settings, strategies as st
from notifications import T0, a_notification

from anomaly_app.delivery.notification import Notification
from anomaly_app.errors import SinkError
from anomaly_app.sinks.breaker import LONGEST_S
from anomaly_app.sinks.sender import AT_ONCE, Outcome, Sender

HOUR_MS = 3_600_000

ACTS = st.one_of(
    st.just("take"),
    st.just("fail"),
    st.just("refuse"),
    st.floats(0.1, 500.0).map(lambda seconds: ("wait", seconds)),
    st.floats(0.1, 20.0).map(lambda seconds: ("slow", seconds)),
)


class Receiver:
    """Acts by a script, and takes everything at its end."""

    def __init__(self, time: FakeClock, script: list[object]) -> None:
        self._time, self._script = time, list(script)
        self.not_before = 0.0
        self.busy = self.most_busy = 0
        self.early: list[float] = []
        self.taken: list[str] = []
        self.cancel: dict[str, tuple[asyncio.Future[Outcome], int]] = {}
        """By notification: what is called off, at which of its attempts."""
        self._attempts: Counter[str] = Counter()

    async def send(self, notification: Notification) -> None:
        # An attempt that was let through before the others' answer may still come.
        if self._time.seconds < self.not_before and not self.busy:
            self.early.append(self._time.seconds)
        act = self._script.pop(0) if self._script else "take"
        self._attempts[notification.id] += 1
        sending, attempt = self.cancel.get(notification.id, (None, 0))
        if sending is not None and attempt == self._attempts[notification.id]:
            sending.cancel()
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        try:
            await self._time.clock.sleep(act[1] if isinstance(act, tuple) and act[0] == "slow" else 0.01)
        finally:
            self.busy -= 1
        if isinstance(act, tuple) and act[0] == "wait":
            self.not_before = max(self.not_before, self._time.seconds + act[1])
            raise SinkError("answer 429", retry_after_s=act[1])
        if act == "fail":
            raise SinkError("answer 500")
        if act == "refuse":
            raise SinkError("answer 400", retriable=False)
        self.taken.append(notification.id)

    async def close(self) -> None:
        pass


@settings(max_examples=150)
@given(
    script=st.builds(lambda before, after: ["fail"] * before + after, st.integers(0, 9), st.lists(ACTS, max_size=60)),
    starts=st.lists(st.floats(0, 300), min_size=1, max_size=12),
    cancelled=st.dictionaries(st.integers(0, 11), st.integers(1, 4), max_size=8),
    seed=st.integers(0, 99),
)
def test_every_notification_ends(
    script: list[object], starts: list[float], cancelled: dict[int, int], seed: int
) -> None:
    async def scenario() -> None:
        time = FakeClock()
        receiver = Receiver(time, script)
        sender = Sender(
            "a/b/0",
            receiver,
            timeout_ms=10**9,
            give_up_after_ms=HOUR_MS,
            clock=time.clock,
            chance=random.Random(seed),
        )

        async def send(number: int, start: float) -> Outcome | None:
            await time.clock.sleep(start)
            sending = asyncio.ensure_future(sender.send(a_notification(id=str(number)), T0 + round(start * 1_000)))
            receiver.cancel[str(number)] = (sending, cancelled.get(number, 0))
            await asyncio.wait([sending])
            return None if sending.cancelled() else sending.result()

        outcomes = await time.run(*[send(number, start) for number, start in enumerate(starts)])
        for number, outcome in enumerate(outcomes):
            assert (outcome is None) <= (number in cancelled)
            if outcome is not None:
                assert outcome.sent == (str(number) in receiver.taken)
                assert outcome.sent or outcome.problem
        assert len(set(receiver.taken)) == len(receiver.taken)
        assert receiver.most_busy <= AT_ONCE
        assert not receiver.early
        waits = sum(act[1] for act in script if isinstance(act, tuple))
        assert time.seconds <= max(starts) + waits + 2 * LONGEST_S * (len(script) + 1)
        # Nothing that was called off keeps the others out.
        [after] = await time.run(sender.send(a_notification(id="after"), T0 + round(time.seconds * 1_000)))
        assert after.sent or after.problem == "answer 400" or receiver._script

    asyncio.run(scenario())
