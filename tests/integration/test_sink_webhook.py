"""Webhooks to a receiver that fails in every way that it can."""

from __future__ import annotations

import asyncio
import random

import pytest
from notifications import a_notification

from anomaly_app.settings.delivery import WebhookSink
from anomaly_app.sinks import breaker
from anomaly_app.sinks.messages import Messages
from anomaly_app.sinks.sender import SYSTEM_CLOCK, Sender
from anomaly_app.sinks.webhook import Webhook
from anomaly_app.testing.receivers import DIE, HALF, HANG, TAKE, Behaviour, FailingReceiver, error, redirect

FAILURES = (
    DIE,
    HALF,
    HANG,
    error(500),
    error(503, ""),
    error(429, retry_after="0.02"),
    redirect("http://127.0.0.1:9/"),
)


async def test_every_notification_is_taken_and_doubles_have_their_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "FIRST_S", 0.01)
    monkeypatch.setattr(breaker, "LONGEST_S", 0.04)
    chance = random.Random(20261127)
    down = range(200, 260)  # requests that come while it is away altogether

    def choose(path: str, number: int) -> Behaviour | None:
        if number in down:
            return error(502)
        return chance.choice(FAILURES) if chance.random() < 0.3 else TAKE

    async with FailingReceiver(choose=choose) as receiver:
        settings = WebhookSink.model_validate({"url": f"{receiver.url}/ops", "timeout": "100ms"})
        sink = Webhook(settings, Messages(settings), "d")
        one = Sender("ops/webhook/0", sink, timeout_ms=settings.timeout, give_up_after_ms=3_600_000)
        names = [f"n-{number}" for number in range(400)]
        outcomes = await asyncio.gather(*[one.send(a_notification(id=name), SYSTEM_CLOCK.now_ms()) for name in names])
        await one.close()
        box = receiver["/ops"]
        assert all(outcome.sent for outcome in outcomes) and sorted(box.kept) == sorted(names)
        # Only what was taken without an answer comes again: where it died, or its answer came too late.
        assert sum(box.doubles.values()) == len(box.taken) - len(names)
        bodies = {request.key: request.body for request in box.taken}
        assert all(request.body == bodies[request.key] for request in box.taken)
        assert one.health.results["sent"] == 400 and one.health.results["failed"] == len(box.requests) - 400
        assert one.state == "closed"
