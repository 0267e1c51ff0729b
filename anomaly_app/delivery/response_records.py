"""What a response remembers, asks for, and writes down."""

from __future__ import annotations

import hashlib
from typing import Literal, TypeAlias

import msgspec

from anomaly_app.alerts import Alert
from anomaly_app.delivery.notification import Notification

Phase: TypeAlias = Literal["calling", "waiting", "ended"]
Event: TypeAlias = Literal[
    "started", "refused", "silenced", "begun", "done", "failed", "dry_run", "acknowledged", "timed_out", "ended"
]


class Telling(msgspec.Struct, frozen=True, array_like=True):
    """Somebody is to be told by one of their ways.

    Args:
        step: its number from 0.
        kind: of the step.
        name: of the step.
        way: name of the sink.
        since_ms: when it was decided.
        note: what is said about the response.
    """

    step: int
    kind: Literal["notify", "escalate"]
    name: str
    way: str
    since_ms: int
    note: str


class Run(msgspec.Struct):
    """What a rule does about one alert, as it is stored.

    Args:
        rule: its name.
        shape: of its steps.
        alert_id: of the alert.
        job: that found it.
        dry_run: its steps are written down and not done.
        started_ms: in ms since 1970, as are all times.
        raw: the alert; empty when it is not needed any more.
        tenant: of the alert.
        step: number from 0 of the step that it is at.
        phase: whether an answer or an acknowledgement is awaited, or nothing.
        since_ms: when its step began.
        deadline_ms: until when an acknowledgement is awaited.
        acked_ms: when it was acknowledged; None if it was not.
        acked_by: who did.
        ended_ms: when its last step was done.
        notes: what became of the steps, for people.
        telling: who is yet to be told.
        told: numbers of steps of which at least one way was taken.
    """

    rule: str
    shape: str
    alert_id: str
    job: str
    dry_run: bool
    started_ms: int
    raw: bytes
    tenant: str = ""
    step: int = 0
    phase: Phase = "calling"
    since_ms: int = 0
    deadline_ms: int | None = None
    acked_ms: int | None = None
    acked_by: str = ""
    ended_ms: int | None = None
    notes: list[str] = msgspec.field(default_factory=list)
    telling: list[Telling] = msgspec.field(default_factory=list)
    told: list[int] = msgspec.field(default_factory=list)

    @property
    def id(self) -> str:
        """Hash of rule and alert."""
        return run_id(self.rule, self.alert_id)


class ResponseRequest(msgspec.Struct, frozen=True):
    """A call that is to be made: a step of the kind ``http``.

    Args:
        id: key of idempotency; the same after every restart.
        rule: name of the rule.
        step: number of the step from 0.
        alert: what it is about.
        raw: the alert as it was read.
        tenant: of the alert.
        since_ms: when it was due, in ms since 1970.
    """

    id: str
    rule: str
    step: int
    alert: Alert
    raw: bytes
    tenant: str
    since_ms: int


class ResponseDelivery(msgspec.Struct, frozen=True):
    """A notification that is to be sent: a step of the kinds ``notify`` and ``escalate``, by one sink.

    Args:
        id: the same after every restart.
        sink: receiver, kind and number, such as ``ops/slack/0``.
        notification: what is told.
        since_ms: when it was due, in ms since 1970.
    """

    id: str
    sink: str
    notification: Notification
    since_ms: int


class ResponseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A record of ``anomaly.responses``; its key is the id of the alert.

    Args:
        id: the same when it is written again after a restart.
        at: ISO-8601 in UTC with milliseconds.
        rule: name of the rule.
        run: hash of rule and alert.
        alert: id of the alert.
        job: that found it.
        tenant: of the alert.
        step: number of the step from 1; 0 for the run as a whole.
        kind: of the step; ``run`` for the run as a whole.
        event: of a run ``started``, ``refused`` (more than ``max_per_hour``), ``acknowledged`` and ``ended``; of a step
            ``begun``, ``done``, ``failed``, ``timed_out`` and ``dry_run`` (it would have been done).
        name: of the step.
        receiver: who is told.
        by: who acknowledged.
        detail: what happened.
        dry_run: nothing is done, only written down.
    """

    id: str
    at: str
    rule: str
    run: str
    alert: str
    job: str
    tenant: str
    step: int
    kind: str
    event: Event
    name: str = ""
    receiver: str = ""
    by: str = ""
    detail: str = ""
    dry_run: bool = False


def run_id(rule: str, alert_id: str) -> str:
    """Hash of rule and alert."""
    return digest("run", rule, alert_id)


def digest(*parts: object) -> str:
    """32 hex digits of some parts."""
    return hashlib.blake2b(msgspec.json.encode([str(part) for part in parts]), digest_size=16).hexdigest()
