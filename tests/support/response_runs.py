"""Responses under test: rules, alerts, and state that is kept as a topic keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from anomaly_app.alerts import Alert, AlertSource
from anomaly_app.delivery.matchers import parse_matchers
from anomaly_app.delivery.notification import Incoming
from anomaly_app.delivery.response_rules import Rule, Step
from anomaly_app.delivery.responses import Responses

HTTP, OPS = Step("http", "freeze the account"), Step("notify", "notify", "ops", ("ops/slack/0", "ops/email/0"))
WAIT = Step("wait_for_ack", "wait for ack", wait_ms=900_000)
LEAD = Step("escalate", "escalate", "lead", ("lead/pagerduty/0",))


def rule(*steps: Step, name: str = "freeze", matchers: str = "severity=critical", **given: Any) -> Rule:
    return Rule(name, parse_matchers(matchers), steps, **{"dry_run": False, "max_per_hour": 60} | given)


def incoming(number: int, severity: str = "critical", offset: int | None = None, tenant: str = "") -> Incoming:
    alert = Alert(
        id=f"a{number}", job="unusual_transactions", version="1", query="unusual", key={"userId": f"user{number}"},
        type="window", severity=severity, score=None, event_time="2026-01-01T09:04:59.999Z",  # type: ignore[arg-type]
        detected_at="2026-01-01T09:05:01.000Z", explanation="far above", rows=[], rows_total=0,
        payload={"max_amount": 5000.25}, source=AlertSource(topic="transactions", partition=1, offset=77),
    )  # fmt: skip
    return Incoming(alert, msgspec.json.encode(alert), 0, number if offset is None else offset, tenant)


class Kept:
    """Responses whose state is written as delivery's process writes it."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = rules
        self.entries: dict[bytes, bytes] = {b"group/1": b"of somebody else"}
        self.responses = Responses(rules, self.entries)
        self.records: list[Any] = []

    def store(self) -> None:
        self.records += self.responses.records()
        for key, value in self.responses.changes():
            if value is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = value

    def restart(self, rules: Sequence[Rule] | None = None) -> None:
        """A new process reads what was stored; what was not is lost."""
        self.rules = self.rules if rules is None else rules
        self.responses = Responses(self.rules, dict(self.entries))

    def events(self) -> list[tuple[str, int, str, str]]:
        self.store()
        return [(record.alert, record.step, record.kind, record.event) for record in self.records]
