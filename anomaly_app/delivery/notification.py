"""What a receiver is told."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from anomaly_app.alerts import Alert

Status: TypeAlias = Literal["firing", "resolved"]
Reason: TypeAlias = Literal["new", "repeat", "resolved", "digest", "response", "escalation"]


class Incoming(msgspec.Struct, frozen=True):
    """An alert as it was read from the topic.

    Args:
        alert: the record.
        raw: the bytes of the record.
        partition: of the topic of the alerts.
        offset: in that partition.
        tenant: of the header, or of the settings; "" for none.
        key: of the record; None for none.
        timestamp_ms: of the record, in ms since 1970.
    """

    alert: Alert
    raw: bytes
    partition: int
    offset: int
    tenant: str = ""
    key: bytes | None = None
    timestamp_ms: int = 0


class Told(msgspec.Struct, frozen=True):
    """The alerts of one fingerprint in a notification.

    Args:
        alert: the last one, or a worse one that was not told before.
        labels: what routes and groups see.
        fingerprint: hash of the labels without the severity.
        status: ``resolved`` if no new one has come for ``delivery.hold``.
        starts_ms: event time of the first one since the fingerprint was last over, in ms since 1970.
        ends_ms: when it is over if no new one comes; when it was over, if it is.
        count: how many have come since it began.
    """

    alert: Alert
    labels: dict[str, str]
    fingerprint: str
    status: Status
    starts_ms: int
    ends_ms: int
    count: int


class Notification(msgspec.Struct, frozen=True):
    """One message to one receiver.

    Args:
        id: the same after every restart; a key of idempotency for who keeps such.
        receiver: its name.
        group: hash of route and labels of the group; the same for all notifications of the group.
        group_labels: labels by which its alerts are grouped.
        status: ``firing`` if any alert is.
        reason: why it is told now; ``digest`` if it stands for several that a flood held back;
            ``response`` and ``escalation`` are steps of a response.
        alerts: at most ``delivery.max_alerts``, the worst and then the latest first.
        more: how many are left out.
        held_back: for a digest, how many notifications it stands for.
        note: what is said about a response to the alert, in sentences.
        created_ms: when it was decided, in ms since 1970.
    """

    id: str
    receiver: str
    group: str
    group_labels: dict[str, str]
    status: Status
    reason: Reason
    alerts: list[Told]
    more: int
    created_ms: int
    held_back: int = 0
    note: str = ""
