from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

import pytest
from fake_clock import FakeClock, settle
from notifications import T0, a_notification, an_alert, incoming

from anomaly_app.delivery.notification import Incoming, Notification
from anomaly_app.errors import SinkError
from anomaly_app.sinks.breaker import FAILURES, LONGEST_S
from anomaly_app.sinks.sender import AT_ONCE, Outcome, Sender, StreamSender

DAY_MS = 24 * 3_600_000


class Scripted:
    """A sink that does as it is told, and knows when it was asked."""

    batch_size, batch_wait_ms = 100, 0

    def __init__(self, time: FakeClock, behave: Callable[[float, str], Exception | None]) -> None:
        self._time, self._behave = time, behave
        self.asked: list[tuple[float, str]] = []
        self.busy = self.most_busy = 0
        self.ticks = 0

    async def send(self, notification: Notification) -> None:
        await self._do(notification.id)

    async def write(self, alerts: Sequence[Incoming], now_ms: int) -> Sequence[tuple[Incoming, str]]:
        await self._do(str(len(alerts)))
        return [(alert, "never") for alert in alerts if alert.offset == 1]

    async def tick(self, now_ms: int) -> None:
        self.ticks += 1
        await self._do("tick")

    async def close(self) -> None:
        pass

    async def _do(self, what: str) -> None:
        self.asked.append((self._time.seconds, what))
        self.busy += 1
        self.most_busy = max(self.busy, self.most_busy)
        await asyncio.sleep(0)
        self.busy -= 1
        problem = self._behave(self._time.seconds, what)
        if problem is not None:
            raise problem


def sender(time: FakeClock, sink: Scripted, give_up_after_ms: int = DAY_MS) -> Sender:
    return Sender(
        "ops/slack/0",
        sink,
        timeout_ms=15_000,
        give_up_after_ms=give_up_after_ms,
        clock=time.clock,
        chance=random.Random(7),
    )


def down_until(seconds: float) -> Callable[[float, str], Exception | None]:
    return lambda now, what: SinkError("it is away") if now < seconds else None


async def test_what_fails_is_sent_again_with_growing_pauses() -> None:
    time = FakeClock()
    sink = Scripted(time, down_until(10))
    [outcome] = await time.run(sender(time, sink).send(a_notification(), T0))
    assert outcome == Outcome(True, len(sink.asked))
    pauses = [after - before for (before, _), (after, _) in zip(sink.asked, sink.asked[1:], strict=False)]
    assert [0.5 * 2**n <= pause <= 2.0**n for n, pause in enumerate(pauses)] == [True] * len(pauses)


async def test_what_the_receiver_will_never_take_is_not_sent_again() -> None:
    time = FakeClock()
    sink = Scripted(time, lambda now, what: SinkError("answer 400: no", retriable=False))
    one = sender(time, sink)
    [outcome] = await time.run(one.send(a_notification(), T0))
    assert outcome == Outcome(False, 1, "answer 400: no")
    assert one.health.results == {"refused": 1} and one.state == "closed"


async def test_it_is_given_up_by_its_age_which_outlives_restarts() -> None:
    time = FakeClock()
    sink = Scripted(time, down_until(1e9))
    outcome, old = await time.run(
        sender(time, sink).send(a_notification(), T0),
        sender(time, sink).send(a_notification(id="old"), T0 - DAY_MS),
    )
    assert not outcome.sent and outcome.problem == "given up after 1 day: it is away"
    assert time.seconds == pytest.approx(DAY_MS / 1_000, abs=LONGEST_S)
    assert old.attempts == 1 and not old.sent


async def test_zero_means_one_attempt() -> None:
    time = FakeClock()
    [outcome] = await time.run(sender(time, Scripted(time, down_until(1)), 0).send(a_notification(), T0))
    assert outcome == Outcome(False, 1, "given up after one attempt: it is away")


async def test_retry_after_holds_for_all_that_wait_for_the_receiver() -> None:
    time = FakeClock()
    asked_to_wait = SinkError("answer 429", retry_after_s=30.0)
    sink = Scripted(time, lambda now, what: asked_to_wait if now < 30 else None)
    one = sender(time, sink)
    first = asyncio.ensure_future(one.send(a_notification(id="a"), T0))
    await time.pass_until(5)
    await time.run(first, one.send(a_notification(id="b"), T0))
    assert [now for now, _ in sink.asked] == [0, 30, 30]


async def test_a_receiver_that_is_down_is_asked_by_one_and_rarely_whoever_waits() -> None:
    time = FakeClock()
    hour = 3_600
    sink = Scripted(time, down_until(hour))
    one = sender(time, sink)
    outcomes = await time.run(*[one.send(a_notification(id=str(number)), T0) for number in range(100)])
    assert all(outcome.sent for outcome in outcomes)
    late = [now for now, _ in sink.asked if 600 < now < hour]
    assert len(late) <= (hour - 600) / (LONGEST_S / 2) + 1, "about each minute, not 100 times each minute"
    assert max(now for now, _ in sink.asked) < hour + LONGEST_S + 1, "all of them soon after it is back"
    assert sink.most_busy <= AT_ONCE


async def test_one_that_the_receiver_chokes_on_delays_no_other() -> None:
    time = FakeClock()
    sink = Scripted(time, lambda now, what: SinkError("answer 500") if what == "poison" else None)
    one = sender(time, sink)
    poison = [asyncio.ensure_future(one.send(a_notification(id="poison"), T0)) for _ in range(FAILURES - 1)]
    await time.pass_until(1)
    [outcome] = await time.run(one.send(a_notification(id="good"), T0))
    assert outcome.sent and time.seconds < LONGEST_S
    for task in poison:
        task.cancel()


async def test_an_attempt_that_is_called_off_leaves_the_way_to_others() -> None:
    time = FakeClock()
    asked: list[str] = []
    hanging = asyncio.Event()

    class Sick:
        async def send(self, notification: Notification) -> None:
            asked.append(notification.id)
            if len(asked) == FAILURES + 1:
                await hanging.wait()
            if len(asked) <= FAILURES:
                raise SinkError("it is away")

        async def close(self) -> None:
            pass

    one = Sender("a/b/0", Sick(), timeout_ms=10**9, give_up_after_ms=DAY_MS, clock=time.clock)
    task = asyncio.ensure_future(one.send(a_notification(), T0))
    other = asyncio.ensure_future(one.send(a_notification(id="other"), T0))
    await time.pass_until(LONGEST_S)
    assert len(asked) == FAILURES + 1 and one.state == "half_open", "one finds out, the other waits for it"
    (task if asked[-1] == "n-1" else other).cancel()
    await settle()
    assert len(asked) == FAILURES + 2 and one.state == "closed"
    await asyncio.gather(task, other, return_exceptions=True)


async def test_a_sink_that_ignores_its_time_out_is_called_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anomaly_app.sinks.sender.GRACE_S", 0.01)

    class Hanging:
        async def send(self, notification: Notification) -> None:
            await asyncio.Event().wait()

        async def close(self) -> None:
            pass

    one = Sender("ops/webhook/0", Hanging(), timeout_ms=10, give_up_after_ms=0)
    outcome = await one.send(a_notification(), T0)
    assert outcome.problem == "given up after one attempt: it took too long"


async def test_a_fault_of_a_sink_costs_one_notification_and_tells_no_value() -> None:
    time = FakeClock()
    sink = Scripted(time, lambda now, what: KeyError("hunter2") if what == "odd" else None)
    one = sender(time, sink)
    odd, good = await time.run(one.send(a_notification(id="odd"), T0), one.send(a_notification(id="good"), T0))
    assert good.sent and not odd.sent
    assert odd.problem.startswith("a fault of the program: KeyError in test_sender.py, line ")


async def test_health_tells_since_when_and_why() -> None:
    time = FakeClock()
    observed: list[str] = []
    sink = Scripted(time, down_until(100))
    one = Sender(
        "a/b/0",
        sink,
        timeout_ms=1_000,
        give_up_after_ms=DAY_MS,
        clock=time.clock,
        observe=lambda result, seconds: observed.append(result),
    )
    task = asyncio.ensure_future(one.send(a_notification(), T0))
    await time.pass_until(50)
    assert one.health.failing_since_ms == T0 and one.health.problem == "it is away" and one.state != "closed"
    await time.run(task)
    assert one.health.failing_since_ms is None and one.health.problem == ""
    assert one.health.sent_ms is not None and one.health.sent_ms >= T0 + 100_000
    assert observed == ["failed"] * (len(observed) - 1) + ["sent"]
    assert one.health.results == {"failed": len(observed) - 1, "sent": 1}


async def test_a_batch_is_written_until_it_is_taken_and_the_refused_are_given_back() -> None:
    time = FakeClock()
    sink = Scripted(time, down_until(20))
    one = StreamSender("ops/influxdb/0", sink, give_up_after_ms=DAY_MS, clock=time.clock)
    alerts = incoming(an_alert(0), an_alert(1), an_alert(2))
    [refused] = await time.run(one.write(alerts))
    assert refused == [(alerts[1], "never")]


async def test_a_sink_that_has_been_away_for_long_gets_one_attempt_a_batch() -> None:
    time = FakeClock()
    sink = Scripted(time, down_until(1e9))
    one = StreamSender("ops/influxdb/0", sink, give_up_after_ms=60_000, clock=time.clock)
    alerts = incoming(an_alert())
    await time.run(one.write(alerts))
    before = len(sink.asked)
    [refused] = await time.run(one.write(alerts))
    assert len(sink.asked) == before + 1
    assert refused == [(alerts[0], "given up after 1 minute: it is away")]


async def test_a_sink_is_asked_for_one_thing_at_a_time() -> None:
    time = FakeClock()
    sink = Scripted(time, lambda now, what: None)
    one = StreamSender("ops/alertmanager/0", sink, give_up_after_ms=DAY_MS, clock=time.clock)
    alerts = incoming(an_alert())
    await time.run(one.write(alerts), one.tick(), one.write(alerts), one.tick())
    assert len(sink.asked) == 4 and sink.most_busy == 1


async def test_nothing_is_said_again_to_a_sink_that_is_away() -> None:
    time = FakeClock()
    sink = Scripted(time, down_until(100))
    one = StreamSender("ops/alertmanager/0", sink, give_up_after_ms=DAY_MS, clock=time.clock)
    task = asyncio.ensure_future(one.write(incoming(an_alert())))
    await time.pass_until(50)
    await one.tick()
    assert sink.ticks == 0
    await time.run(task)
    await one.tick()
    assert sink.ticks == 1
