"""Desks of notifying sinks: what is sent, given up, or left to whoever comes next."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest
from notifications import a_notification

from anomaly_app.delivery.notification import Notification
from anomaly_app.delivery.status import ToldStatus
from anomaly_app.errors import SinkError
from anomaly_app.runtime import outbox
from anomaly_app.runtime.delivery_group import LeaseLost
from anomaly_app.runtime.outbox import Outbox
from anomaly_app.sinks.sender import Sender


@dataclass
class Waits:
    """A delivery."""

    id: str
    sink: str
    notification: Notification
    since_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)


@dataclass
class FakeSink:
    """Takes what it is sent, or does what it is told."""

    failure: SinkError | None = None
    hold: asyncio.Event | None = None
    taken: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    async def send(self, notification: Notification) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.hold is not None:
                await self.hold.wait()
            if self.failure is not None:
                raise self.failure
            self.taken.append(notification.id)
        finally:
            self.at_once -= 1

    async def close(self) -> None:
        pass


@dataclass
class Letters:
    """The dead letters."""

    letters: list[tuple[str, str, str]] = field(default_factory=list)

    async def notification(self, way: str, notification: Notification, reason: str, since_ms: int) -> None:
        self.letters.append((way, notification.id, reason))


class Office:
    """An outbox of one sink, running."""

    def __init__(self, sink: FakeSink, give_up_after_ms: int = 60_000) -> None:
        self.sink, self.letters, self.recent = sink, Letters(), deque[ToldStatus]()
        self.held_back: list[tuple[str, int]] = []
        self.may_send = True
        sender = Sender("ops/slack/0", sink, timeout_ms=1_000, give_up_after_ms=give_up_after_ms)
        letters: Any = self.letters
        self.outbox = Outbox(
            [(sender, give_up_after_ms)], letters, self.check, self.recent,
            lambda way, count: self.held_back.append((way, count)),
        )  # fmt: skip
        (self.desk,) = self.outbox.desks.values()
        self.running = asyncio.create_task(self.desk.run())

    def check(self) -> None:
        if not self.may_send:
            raise LeaseLost("another one")

    def put(self, *ids: str, since_ms: int | None = None, **changes: Any) -> None:
        deliveries = [Waits(id_, "ops/slack/0", a_notification(id=id_, **changes)) for id_ in ids]
        for delivery in deliveries:
            delivery.since_ms = since_ms or delivery.since_ms
        self.outbox.put(deliveries)

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 (what is waited for has no event)
                await asyncio.sleep(0.01)

    async def end(self) -> None:
        await self.outbox.finish(1.0)
        await self.running


async def test_everything_is_sent_once_and_its_fate_is_told() -> None:
    office = Office(FakeSink())
    office.put("a", "b", "c")
    office.put("b", "c", "d", held_back=3)
    # A delivery is off the desk a turn of the loop after it was taken.
    await office.until(lambda: len(office.sink.taken) == 4 and len(office.desk) == 0)
    assert sorted(office.sink.taken) == ["a", "b", "c", "d"]
    assert sorted(office.outbox.settled()) == [(id_, "sent", "") for id_ in "abcd"]
    assert office.outbox.settled() == []
    assert [told.fate for told in office.recent] == ["sent"] * 4
    assert office.held_back == [("ops/slack/0", 3)]
    await office.end()


async def test_only_a_few_are_on_their_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "AT_ONCE", 3)
    hold = asyncio.Event()
    office = Office(FakeSink(hold=hold))
    office.put(*(str(number) for number in range(20)))
    await office.until(lambda: office.sink.at_once == 3)
    assert len(office.desk) == 20
    hold.set()
    await office.until(lambda: len(office.sink.taken) == 20)
    assert office.sink.most_at_once == 3
    await office.end()


async def test_what_is_refused_is_a_dead_letter_before_it_is_settled() -> None:
    office = Office(FakeSink(failure=SinkError("answer 400", retriable=False)))
    office.put("a")
    await office.until(lambda: len(office.desk) == 0 or office.letters.letters)
    await office.until(lambda: office.recent)
    assert office.letters.letters == [("ops/slack/0", "a", "answer 400")]
    assert office.outbox.settled() == [("a", "gave_up", "answer 400")]
    assert (office.recent[0].fate, office.recent[0].problem) == ("gave_up", "answer 400")
    await office.end()


async def test_while_the_receiver_is_away_what_waits_for_its_turn_is_given_up_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox, "AT_ONCE", 1)
    monkeypatch.setattr(outbox, "SWEEP_S", 0.05)
    office = Office(FakeSink(failure=SinkError("answer 503")), give_up_after_ms=3_600_000)
    now_ms = time.time_ns() // 1_000_000
    office.put("first")
    await office.until(lambda: office.desk.sender.health.problem)
    office.put("old", since_ms=now_ms - 3_700_000)
    office.put("young")
    monkeypatch.setattr(type(office.desk.sender), "state", "open")
    await office.until(lambda: office.letters.letters)
    ((way, id_, reason),) = office.letters.letters
    assert (way, id_) == ("ops/slack/0", "old") and "its turn has not come in time: answer 503" in reason
    assert [settled[0] for settled in office.outbox.settled()] == ["old"] and len(office.desk) == 2
    await office.end()


async def test_nothing_is_sent_by_who_may_not_any_more() -> None:
    office = Office(FakeSink())
    office.may_send = False
    office.put("a")
    with pytest.raises(LeaseLost):
        async with asyncio.timeout(5):
            await office.running
    assert office.sink.taken == [] and office.outbox.settled() == []


async def test_an_orderly_end_waits_for_what_is_on_its_way_but_not_for_who_hangs() -> None:
    hold = asyncio.Event()
    office = Office(FakeSink(hold=hold))
    office.put("a")
    await office.until(lambda: office.sink.at_once == 1)
    asyncio.get_running_loop().call_later(0.1, hold.set)
    await office.end()
    assert office.outbox.settled() == [("a", "sent", "")]
    hanging = Office(FakeSink(hold=asyncio.Event()))
    hanging.put("b")
    await hanging.until(lambda: hanging.sink.at_once == 1)
    async with asyncio.timeout(3):
        await hanging.outbox.finish(0.1)
    assert hanging.outbox.settled() == [], "it is sent again, with the same id"
    await hanging.running
