"""Alerts and settings for tests of delivery, and somebody who plays the process around the dispatcher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anomaly_app.alerts import Alert, AlertSource, encode
from anomaly_app.alerts.values import iso_time
from anomaly_app.delivery.dispatcher import Dispatcher
from anomaly_app.delivery.notification import Incoming, Notification
from anomaly_app.delivery.routes import RouteTree
from anomaly_app.settings import LoadedSettings, load_settings

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
START = 1_767_600_000_000  # a Monday, 08:00 UTC

SINK = """
[[delivery.receivers]]
name = "{name}"
[[delivery.receivers.webhook]]
url = "http://localhost:9/{name}"
{more}
"""


def receiver(name: str, more: str = "") -> str:
    return SINK.format(name=name, more=more)


def load(text: str, folder: Path) -> LoadedSettings:
    path = folder / "anomaly.toml"
    path.write_text(text, "utf-8")
    return load_settings(config_file=path, environ={})


def alert(number: int, **given: Any) -> Alert:
    key = given.pop("key", {"user_id": given.pop("user", "ann")})
    fields: dict[str, Any] = {
        "id": f"{number:032x}",
        "job": "sales",
        "version": "1",
        "query": "unusual",
        "key": key,
        "type": "pattern",
        "severity": "medium",
        "score": None,
        "event_time": iso_time(START + number),
        "detected_at": iso_time(START + number),
        "explanation": f"alert {number}",
        "rows": [],
        "rows_total": 0,
        "payload": {},
        "source": AlertSource(topic="sales", partition=0, offset=number),
    }
    return Alert(**(fields | given))


def incoming(number: int, tenant: str = "", partition: int = 0, offset: int | None = None, **given: Any) -> Incoming:
    made = alert(number, **given)
    return Incoming(made, encode(made), partition, number if offset is None else offset, tenant)


@dataclass
class Play:
    """A process: takes, stores, sends what is stored, and can die."""

    loaded: LoadedSettings
    entries: dict[bytes, bytes] = field(default_factory=dict)
    sent: list[tuple[int, str, Notification]] = field(default_factory=list)
    works: Callable[[str], bool] = lambda sink: True
    now: int = START

    def __post_init__(self) -> None:
        self.tree = RouteTree.compile(self.loaded)
        self.start()

    def start(self) -> None:
        self.dispatcher = Dispatcher(self.tree, self.loaded.settings.delivery, dict(self.entries))

    def take(self, *alerts: Incoming) -> None:
        self.dispatcher.take(alerts, self.now)
        self.step()

    def step(self) -> None:
        """What is due is decided, stored and sent."""
        while True:
            self.dispatcher.advance(self.now)
            self.store()
            ready = [each for each in self.dispatcher.outbox.values() if self.works(each.sink)]
            if not ready:
                return
            for each in ready:
                self.sent.append((self.now, each.sink, each.notification))
                self.dispatcher.settled(each.id, "sent", self.now)

    def store(self, changes: Sequence[tuple[bytes, bytes | None]] | None = None) -> None:
        for key, entry in self.dispatcher.changes() if changes is None else changes:
            if entry is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = entry

    def until(self, then: int) -> None:
        """Let time go on, and look whenever something is due."""
        while (due := self.dispatcher.due_ms()) is not None and due <= then:
            self.now = max(self.now, due)
            self.step()
        self.now = then

    def told(self) -> list[tuple[int, str, str, list[str]]]:
        """Seconds since the start, receiver, reason, and users that are told; cleared by this."""
        found = [
            (
                (now - START) // SECOND,
                told.receiver,
                told.reason,
                [row.labels.get("user_id", "") for row in told.alerts],
            )
            for now, _, told in self.sent
        ]
        self.sent.clear()
        return found
