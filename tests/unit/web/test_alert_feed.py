from __future__ import annotations

import asyncio

from fake_worker import make_alert

from anomaly_app.alerts import Alert
from anomaly_app.web import AlertFeed, Subscription

ALERTS = [make_alert(number) for number in range(6)]


async def read(subscription: Subscription) -> list[Alert]:
    return [alert async for alert in subscription]


def test_it_keeps_the_latest() -> None:
    feed = AlertFeed(recent=3)
    for alert in ALERTS:
        feed.publish(alert)
    assert feed.latest(10) == ALERTS[:2:-1]
    assert feed.latest(1) == [ALERTS[5]]
    assert feed.published == 6


async def test_every_reader_gets_every_alert_from_when_it_came() -> None:
    feed = AlertFeed()
    feed.publish(ALERTS[0])
    one, other = feed.subscribe(), feed.subscribe()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        readers = [tasks.create_task(read(one)), tasks.create_task(read(other))]
        for alert in ALERTS[1:]:
            feed.publish(alert)
            await asyncio.sleep(0)
        one.close()
        other.close()
    assert [reader.result() for reader in readers] == [ALERTS[1:], ALERTS[1:]]
    assert (feed.readers, feed.dropped) == (0, 0)


async def test_a_slow_reader_loses_the_oldest_and_it_is_counted() -> None:
    feed = AlertFeed(queue=2)
    slow = feed.subscribe()
    for alert in ALERTS:
        feed.publish(alert)
    assert (slow.dropped, feed.dropped) == (4, 4)
    assert await slow.take() == ALERTS[4:]
    slow.close()
    assert feed.dropped == 4


async def test_what_waits_is_still_read_after_the_end() -> None:
    feed = AlertFeed()
    subscription = feed.subscribe()
    feed.publish(ALERTS[0])
    subscription.close()
    feed.publish(ALERTS[1])
    async with asyncio.timeout(5):
        assert await read(subscription) == [ALERTS[0]]


async def test_closing_wakes_a_reader_that_waits() -> None:
    subscription = AlertFeed().subscribe()
    waiting = asyncio.create_task(subscription.take())
    await asyncio.sleep(0)
    subscription.close()
    async with asyncio.timeout(5):
        assert await waiting == []
