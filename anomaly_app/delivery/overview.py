"""Groups of a dispatcher, as its page shows them."""

from __future__ import annotations

import heapq

from anomaly_app.delivery.dispatcher import Dispatcher
from anomaly_app.delivery.groups import NEVER, Group
from anomaly_app.delivery.status import GroupStatus


def group_statuses(dispatcher: Dispatcher, now_ms: int, limit: int) -> list[GroupStatus]:
    """The groups that are due next or were told last, each once.

    Args:
        dispatcher: that has them.
        now_ms: now, in ms since 1970.
        limit: how many at most.
    """
    groups = dispatcher.groups
    chosen = heapq.nlargest(limit, groups.items(), key=lambda item: max(item[1].told_ms, item[1].members.latest_ms))
    return [_status(key, group, now_ms) for key, group in chosen]


def _status(key: str, group: Group, now_ms: int) -> GroupStatus:
    members = group.members
    known = len(members.by_fingerprint) + len(members.counted)
    firing = sum(member.seen_ms + members.hold > now_ms for member in members.by_fingerprint.values())
    firing += sum(counted.seen_ms + members.hold > now_ms for counted in members.counted.values())
    return GroupStatus(
        id=key,
        receiver=group.place.way.name,
        labels=group.place.labels,
        alerts=known,
        firing=firing,
        next_ms=group.due_ms if members.news and group.due_ms != NEVER else None,
        told_ms=group.told_ms or None,
    )
