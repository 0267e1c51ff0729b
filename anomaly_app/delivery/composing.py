"""Notifications of what groups tell."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence

import msgspec

from anomaly_app.delivery.groups import Group
from anomaly_app.delivery.members import Member, Told
from anomaly_app.delivery.notification import Notification, Reason, Status, Told as Row
from anomaly_app.delivery.routes import Way
from anomaly_app.delivery.stored import Delivery, decode_alert


def notify(group: Group, now_ms: int, shown: int) -> Delivery:
    """What a group tells now.

    Args:
        group: that has something to tell.
        now_ms: now, in ms since 1970.
        shown: alerts in it at most.
    """
    place, reason = group.place, _reason(group, now_ms)
    told = group.tell(now_ms)
    rows = _rows([told], shown, group.members.hold)
    more = told.more + len(told.firing) + len(told.resolved) - len(rows)
    name = _hash(place.way.name, place.key, group.born, str(group.number))
    notification = Notification(
        id=name,
        receiver=place.way.receiver,
        group=_hash(place.route.id, *(part for label in sorted(place.labels.items()) for part in label)),
        group_labels=place.labels,
        status=_status(rows, told.more),
        reason=reason,
        alerts=rows,
        more=more,
        created_ms=now_ms,
    )
    return Delivery(
        id=name,
        sink=place.way.name,
        notification=notification,
        since_ms=now_ms,
        group=place.key,
        number=group.number,
        sent=told.sent,
        grouped=told.grouped,
    )


def digest(groups: Sequence[Group], way: Way, number: int, now_ms: int, shown: int) -> Delivery:
    """What groups tell that a flood held back.

    Args:
        groups: that have something to tell.
        way: that is told.
        number: of the digest.
        now_ms: now, in ms since 1970.
        shown: alerts in it at most.
    """
    told = [group.tell(now_ms) for group in groups]
    rows = _rows(told, shown, groups[0].members.hold)
    more = sum(each.more + len(each.firing) + len(each.resolved) for each in told) - len(rows)
    name = _hash(way.name, "digest", str(number))
    notification = Notification(
        id=name,
        receiver=way.receiver,
        group=_hash(way.receiver, "digest"),
        group_labels={},
        status=_status(rows, more),
        reason="digest",
        alerts=rows,
        more=more,
        created_ms=now_ms,
        held_back=len(groups),
    )
    return Delivery(
        id=name,
        sink=way.name,
        notification=notification,
        since_ms=now_ms,
        group="",
        number=number,
        sent=sum(each.sent for each in told),
        grouped=sum(each.grouped for each in told),
    )


def _reason(group: Group, now_ms: int) -> Reason:
    if group.members.news:
        return "new"
    return "resolved" if any(True for _ in group.members.resolved(now_ms)) else "repeat"


def _rows(told: Sequence[Told], shown: int, hold: int) -> list[Row]:
    firing = [member for each in told for member in each.firing]
    resolved = [member for each in told for member in each.resolved]
    if len(told) > 1:
        firing = heapq.nlargest(shown, firing, key=lambda member: (member.decision.rank, member.seen_ms))
    rows = [_row(member, "firing", hold) for member in firing[:shown]]
    return rows + [_row(member, "resolved", hold) for member in resolved[: shown - len(rows)]]


def _row(member: Member, status: Status, hold: int) -> Row:
    decision = member.decision
    return Row(
        alert=decode_alert(member.raw),
        labels=decision.labels,
        fingerprint=decision.fingerprint,
        status=status,
        starts_ms=member.starts_ms,
        ends_ms=member.seen_ms + hold,
        count=member.count,
    )


def _status(rows: Sequence[Row], more: int) -> Status:
    return "firing" if more or any(row.status == "firing" for row in rows) else "resolved"


def _hash(*parts: str) -> str:
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=16).hexdigest()
