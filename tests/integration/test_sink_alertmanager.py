"""Alerts in a real Alertmanager: they appear, last, and are over; its silences hold; it may restart."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from eventually import until
from notifications import a_notification, an_alert, incoming

from anomaly_app.errors import SinkError
from anomaly_app.settings.delivery import AlertmanagerSink, WebhookSink
from anomaly_app.sinks.alertmanager import Alertmanager
from anomaly_app.sinks.messages import Messages
from anomaly_app.sinks.webhook import Webhook
from anomaly_app.testing import alertmanager as real
from anomaly_app.testing.receivers import FailingReceiver, in_thread

HOLD_MS = 6_000
CONFIGURATION = """\
route:
  receiver: hook
  group_by: [userId]
  group_wait: 100ms
  group_interval: 200ms
receivers:
  - name: hook
    webhook_configs:
      - url: {url}
        send_resolved: true
"""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def named(number: int, user: str) -> Any:
    return an_alert(number, key={"userId": user, "odd name": 'ü, "x"'}, at_ms=now_ms(), severity="critical")


class Running:
    """A server, its sink with a clock that ticks, and what the server's own receiver is told."""

    def __init__(self, server: real.Alertmanager, hook: FailingReceiver) -> None:
        self.server, self._hook = server, hook
        settings = AlertmanagerSink(url=server.url)
        self.sink = Alertmanager(settings, hold_ms=HOLD_MS, link="http://127.0.0.1:6067/")

    def told(self, user: str) -> list[str]:
        return [body["status"] for body in self.bodies if body["groupLabels"] == {"userId": user}]

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [request.json() for request in self._hook["/hook"].requests]

    def there(self, user: str) -> bool:
        return bool(self.server.alerts(f'userId="{user}"'))

    async def tick(self) -> None:
        while True:
            try:
                await self.sink.tick(now_ms())
            except SinkError:
                pass  # the next one finds it back
            await asyncio.sleep(0.2)


@asynccontextmanager
async def running() -> AsyncIterator[Running]:
    if problem := real.Alertmanager.missing():
        pytest.skip(problem)
    with (
        in_thread(FailingReceiver()) as hook,
        real.Alertmanager(configuration=CONFIGURATION.format(url=f"{hook.url}/hook")) as server,
    ):
        made = Running(server, hook)
        ticking = asyncio.create_task(made.tick())
        yield made
        ticking.cancel()
        await asyncio.wait([ticking])
        await made.sink.close()


async def test_an_alert_appears_lasts_while_more_come_and_is_over_after_hold() -> None:
    async with running() as am:
        began = now_ms()
        assert await am.sink.write(incoming(named(0, "ann"), tenant="eu"), now_ms()) == []
        await until(lambda: am.told("ann") == ["firing"])
        [ann] = await asyncio.to_thread(am.server.alerts)
        assert ann["labels"] == {
            "alertname": "unusual_transactions",
            "job": "unusual_transactions",
            "query": "unusual_transactions",
            "type": "selection",
            "severity": "critical",
            "tenant": "eu",
            "userId": "ann",
            "odd_name": 'ü, "x"',
        }
        assert ann["annotations"]["deviation"].startswith("max_amount 12,345.67 is 4,639 % above")
        assert ann["generatorURL"] == "http://127.0.0.1:6067/"
        while now_ms() < began + 2 * HOLD_MS:
            last = now_ms()
            await am.sink.write(incoming(named(1, "ann"), tenant="eu"), last)
            assert await asyncio.to_thread(am.there, "ann")
            await asyncio.sleep(0.5)
        assert am.told("ann") == ["firing"]
        await until(lambda: not am.there("ann"))
        assert now_ms() >= last + HOLD_MS
        await until(lambda: am.told("ann") == ["firing", "resolved"])


async def test_its_own_silences_work() -> None:
    async with running() as am:
        silence = await asyncio.to_thread(lambda: am.server.silence(userId="ann"))
        await am.sink.write(incoming(named(0, "ann"), named(1, "bob")), now_ms())
        await until(lambda: am.told("bob") == ["firing"])
        [ann] = await asyncio.to_thread(lambda: am.server.alerts('userId="ann"'))
        assert ann["status"]["state"] == "suppressed" and ann["status"]["silencedBy"] == [silence]
        assert am.told("ann") == []
        await asyncio.to_thread(lambda: am.server.expire(silence))
        await until(lambda: am.told("ann")[:1] == ["firing"])


async def test_what_lasts_is_there_again_after_a_restart() -> None:
    async with running() as am:
        await am.sink.write(incoming(named(0, "ann")), now_ms())
        await until(lambda: am.there("ann"))
        last = now_ms()
        await asyncio.to_thread(am.server.kill)
        with pytest.raises(SinkError, match="it cannot be reached"):
            await am.sink.write(incoming(named(1, "bob")), now_ms())
        await asyncio.to_thread(am.server.start)
        await until(lambda: am.there("ann"))
        assert not await asyncio.to_thread(am.there, "bob"), "its reader writes it again"
        await until(lambda: not am.there("ann"))
        assert now_ms() >= last + HOLD_MS - 1_000


async def test_the_silence_of_a_source_lasts_until_records_come_again() -> None:
    async with running() as am:
        of_source = {"key": {"userId": "sales"}, "query": "", "payload": {}}
        silence = an_alert(0, type="silence", severity="high", at_ms=now_ms(), **of_source)
        await am.sink.write(incoming(silence), now_ms())
        began = now_ms()
        while now_ms() < began + HOLD_MS + 2_000:
            await asyncio.sleep(0.5)
            assert await asyncio.to_thread(am.there, "sales")
        over = an_alert(1, type="silence_over", severity="low", at_ms=now_ms(), **of_source)
        await am.sink.write(incoming(over), now_ms())
        await until(lambda: am.told("sales") == ["firing", "resolved"])
        assert await asyncio.to_thread(am.server.alerts) == []


async def test_any_text_anywhere_is_taken() -> None:
    chance = random.Random(20261127)
    alphabet = "ab01 ,=\\\"'`#._-/:%{}[]<>\n\r\t\x00\x1b\x7fäß客\u2028🙂"

    def text() -> str:
        return "".join(chance.choices(alphabet, k=chance.randrange(8)))

    alerts = [
        an_alert(
            number,
            key={text(): text(), f"number{text()}": number},
            payload={text(): text(), text(): 1.5},
            explanation=text(),
            job=text() or "j",
            at_ms=now_ms(),
        )
        for number in range(300)
    ]
    async with running() as am:
        assert await am.sink.write(incoming(*alerts, tenant=text()), now_ms()) == []
        await until(lambda: len(am.server.alerts()) == 300)


def shape(value: object) -> object:
    """Names and kinds of values; of an array those of its first element."""
    if isinstance(value, dict):
        return {name: shape(part) for name, part in value.items()}
    return [shape(value[0])] if isinstance(value, list) else type(value).__name__


async def test_our_webhook_has_the_form_of_alertmanagers() -> None:
    async with running() as am:
        alert = named(0, "ann")
        await am.sink.write(incoming(alert), now_ms())
        await until(lambda: am.told("ann") == ["firing"])
        real_body = am.bodies[0]
    async with FailingReceiver() as receiver:
        settings = WebhookSink.model_validate({"url": f"{receiver.url}/hook"})
        sink = Webhook(settings, Messages(settings, link="http://127.0.0.1:6067/"), "d")
        await sink.send(a_notification(alert))
        await sink.close()
        [request] = receiver["/hook"].requests
    ours = request.json()
    for body in (ours, real_body):
        for labels in (body["groupLabels"], body["commonLabels"], body["commonAnnotations"]):
            labels.clear()  # whatever there is
        for entry in body["alerts"]:
            entry["labels"].clear()
            entry["annotations"].clear()
    assert shape(ours) == shape(real_body)
    assert ours["version"] == real_body["version"] and ours["alerts"][0]["endsAt"] == "0001-01-01T00:00:00Z"
