"""Whole runs of ``anomaly deliver``: settings as a file, alerts into the topic, what came out of it."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from notifications import an_alert

from anomaly_app.alerts import Alert, encode
from anomaly_app.alerts.values import iso_time
from anomaly_app.testing.worker import Sent, WorkerProcess, read, send

SESSION_S = 6


class DeliveryRun:
    """A delivery with topics of its own on some broker.

    Args:
        servers: of the broker.
        folder: for its files.
        name: begins the names of its topics.
        settings: TOML behind ``[delivery]``: its keys, then tables.
        create: makes topics known to a broker that needs that.
    """

    def __init__(
        self, servers: str, folder: Path, name: str, settings: str, create: Callable[..., None] = lambda *names: None
    ) -> None:
        self.servers, self.name, self.folder = servers, f"{name}-{time.time_ns()}", folder
        self.alerts = f"{self.name}.alerts"
        self.topics = {kind: f"{self.name}.{kind}" for kind in ("silences", "acks", "responses", "undelivered")}
        create(self.alerts, f"{self.name}-state", *self.topics.values())
        self.config = folder / f"{self.name}.toml"
        self.config.write_text(
            f"""
[kafka]
bootstrap_servers = "{servers}"
session_timeout_s = {SESSION_S}

[alerts]
topic = "{self.alerts}"

[delivery]
name = "{self.name}"
startup = "earliest"
silence_topic = "{self.topics["silences"]}"
ack_topic = "{self.topics["acks"]}"
response_topic = "{self.topics["responses"]}"
dead_letter_topic = "{self.topics["undelivered"]}"
{settings}
"""
        )

    def start(self, *options: str) -> WorkerProcess:
        """A process of it."""
        return WorkerProcess(
            {}, options=("--config", str(self.config), *options), command="deliver", port="delivery.port"
        )

    def send(self, alerts: Iterable[Alert], tenant: str = "") -> None:
        """Write alerts to the topic, as a worker would."""
        headers = [("tenant", tenant.encode())] if tenant else []
        asyncio.run(_send(self.servers, self.alerts, alerts, headers))

    def send_raw(self, values: Iterable[bytes]) -> None:
        """Write records that may be no alerts."""
        asyncio.run(send(self.servers, self.alerts, (Sent(None, value) for value in values)))

    def read(self, topic: str) -> list[Any]:
        """All records of a topic of it, by the end of its name, or of any topic."""
        return asyncio.run(read(self.servers, self.topics.get(topic, topic)))


async def _send(servers: str, topic: str, alerts: Iterable[Alert], headers: list[tuple[str, bytes]]) -> None:
    if not headers:
        await send(servers, topic, (Sent(json.dumps(alert.key).encode(), encode(alert)) for alert in alerts))
        return
    from aiokafka import AIOKafkaProducer

    async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
        for alert in alerts:
            await producer.send_and_wait(topic, encode(alert), json.dumps(alert.key).encode(), headers=headers)


def alerts_of(count: int, users: int = 50, buckets: int = 0, **changes: Any) -> list[Alert]:
    """Alerts of now, of some users, all different; with a second key column of few values if wanted."""
    now_ms = time.time_ns() // 1_000_000
    return [
        an_alert(
            number,
            key={"user_id": f"user-{number % users}", **({"bucket": str(number % buckets)} if buckets else {})},
            at_ms=now_ms + number,
            id=f"{number:032x}",
            detected_at=iso_time(now_ms + number),
            payload={"amount": number, "number": number},
            **changes,
        )
        for number in range(count)
    ]


def told_ids(requests: Iterable[Any]) -> Counter[str]:
    """Ids of alerts in the bodies of requests in the plain form, and how often each came."""
    return Counter(alert["id"] for request in requests for alert in _alerts(request.json()))


def _alerts(body: Any) -> Sequence[Any]:
    return body if isinstance(body, list) else body.get("alerts", [body])


def until(condition: Callable[[], Any], process: WorkerProcess | None, what: str, timeout_s: float = 60.0) -> None:
    """Wait for it; raises ``AssertionError`` with the output of the process if it does not come."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return
        assert process is None or process.process.poll() is None, f"it ended:\n{process.output}"
        time.sleep(0.1)
    raise AssertionError(f"{what} did not come; it said:\n{process.output if process is not None else ''}")


def ask(url: str, method: str = "GET", body: Any = None, **headers: str) -> tuple[int, Any]:
    """Status and body of an answer."""
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if data is not None:
        named.setdefault("Content-Type", "application/json")
    request = urllib.request.Request(url, data, named, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
            status = answer.status
    except urllib.error.HTTPError as error:
        with error:
            text, status = error.read(), error.code
    try:
        return status, json.loads(text)
    except ValueError:
        return status, text.decode()
