"""Groups: alerts of one route, one way and the same labels, and when they are told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from anomaly_app.delivery.decision import Decision, Place
from anomaly_app.delivery.members import Hidden, Member, Members, Told
from anomaly_app.delivery.notification import Reason
from anomaly_app.delivery.routes import Route

NEVER = 1 << 62
"""Behind all times."""


class Hide(Protocol):
    """What is not told now."""

    def __call__(self, decision: Decision, route: Route, now_ms: int) -> tuple[Hidden, int]:
        """Why an alert is not told by a route at a time, and until when at least; ``("", 0)`` if it is."""
        ...

    def muted_until(self, route: Route, now_ms: int) -> int:
        """Until when a route is muted at least; 0 if it is not."""
        ...


class Group:
    """Alerts that are told together.

    Args:
        place: where it stands.
        born: the alert that it began with, so that its notifications differ from those of a group before it.
        members: who is in it.

    Attributes:
        number: of notifications so far.
        told_ms: when the last one was decided; 0 if there is none, or it was so long ago that all begins anew.
        first_ms: when the first alert came that is not told; 0 if there is none.
        urgent: what is to be told has waited for long enough.
        recheck_ms: when what is hidden may not be hidden any more; 0 if nothing is.
        muted_ms: until when its route is muted at least, as far as that was asked.
        outstanding: id of the notification that is on its way; "" for none.
        held_ms: since when its sink takes no more; 0 if it does.
        due_ms: when to look at it next.
        upto: next offset by partition of what is in it.
        touched: alerts have come since it was last stored.
    """

    __slots__ = (
        "born", "due_ms", "first_ms", "held_ms", "members", "muted_ms", "number", "outstanding", "place",
        "recheck_ms", "told_ms", "touched", "upto", "urgent",
    )  # fmt: skip

    def __init__(self, place: Place, born: str, members: Members) -> None:
        self.place, self.born, self.members = place, born, members
        self.number = self.told_ms = self.first_ms = self.recheck_ms = self.held_ms = self.muted_ms = 0
        self.urgent = self.touched = False
        self.outstanding = ""
        self.due_ms = NEVER
        self.upto: dict[int, int] = {}

    @property
    def waits(self) -> bool:
        """It can tell nothing before something is settled."""
        return bool(self.outstanding or self.held_ms)

    def arrive(
        self, decision: Decision, raw: bytes, alert_id: str, event_ms: int, now_ms: int, silenced_until: int
    ) -> int:
        """Take an alert.

        Args:
            decision: on its labels.
            raw: its record.
            alert_id: its id.
            event_ms: its event time, in ms since 1970.
            now_ms: now.
            silenced_until: 0 if it is not silenced.

        Returns:
            when to look at the group, if nothing else comes before.
        """
        members, route = self.members, self.place.route
        self.touched = True
        if self.told_ms and self.told_ms + route.group_interval <= now_ms and not self.waits:
            self._begin_anew(now_ms)
        visible = members.arrive(decision, raw, alert_id, event_ms, now_ms, silenced_until > 0)
        if visible and not self.first_ms:
            self.first_ms = now_ms
        if silenced_until:
            self.recheck_ms = min(self.recheck_ms or silenced_until, silenced_until)
        if self.waits:
            return NEVER
        due = self._news_due() if visible else self._repeat_due() if self.told_ms else NEVER
        if self.recheck_ms:
            due = min(due, self.recheck_ms)
        return due if self.due_ms != NEVER else min(due, now_ms + members.hold)

    def _begin_anew(self, now_ms: int) -> None:
        """Whether or not it was forgotten when it could be: what comes now comes to a new group."""
        if self.members.latest_ms + self.members.hold <= now_ms:
            self.members.expire(now_ms)
            self.members.expire_counted(now_ms)
            if self.members.empty:
                self.told_ms = self.first_ms = 0

    def _news_due(self) -> int:
        route = self.place.route
        return self.told_ms + route.group_interval if self.told_ms else self.first_ms + route.group_wait

    def _repeat_due(self) -> int:
        return self.told_ms + max(self.place.route.group_interval, self.place.route.repeat_interval)

    def look(self, now_ms: int, hide: Hide) -> Reason | None:
        """Let go what is over, and find out whether something is to be told now.

        Args:
            now_ms: now, in ms since 1970.
            hide: what is silenced, inhibited or muted.

        Returns:
            why; the caller has to tell it or to hold it back. None if there is nothing, and then :attr:`due_ms` is when
            to look again.
        """
        members = self.members
        if self.waits:
            self.due_ms = NEVER
            return None
        members.expire(now_ms)
        if not members.by_fingerprint:
            members.expire_counted(now_ms)
        if self.recheck_ms and self.recheck_ms <= now_ms:
            self._hide(self._hidden(), now_ms, hide)
        due, reason = self._next(now_ms)
        if due <= now_ms:
            self._hide(self._hideable(now_ms), now_ms, hide)
            self.muted_ms = hide.muted_until(self.place.route, now_ms)
            due, reason = self._next(now_ms)
            if due <= now_ms:
                return reason
        looks = [due, self._expiry(now_ms)]
        looks += [later for later in (self.recheck_ms, self.muted_ms) if later > now_ms]
        self.due_ms = min(looks)
        return None

    def _next(self, now_ms: int) -> tuple[int, Reason]:
        members, route = self.members, self.place.route
        due, reason = NEVER, "new"  # type: tuple[int, Reason]
        if members.news:
            due = now_ms if self.urgent else self._news_due()
        if self.told_ms:
            after = self.told_ms + route.group_interval
            if after < due and self.muted_ms <= now_ms and any(True for _ in members.resolved(now_ms)):
                due, reason = after, "resolved"
            again = self._repeat_due()
            if again < due and members.repeatable(now_ms):
                due, reason = again, "repeat"
        return due, reason

    def _expiry(self, now_ms: int) -> int:
        """When something is over next, or the group can be forgotten."""
        members, hold = self.members, self.members.hold
        if members.empty:
            return max(now_ms + 1, self.told_ms + self.place.route.group_interval if self.told_ms else 0)
        ends = [member.seen_ms + hold for member in members.by_fingerprint.values()]
        if members.spare is not None:
            ends.append(members.spare.seen_ms + hold)
        found = min((end for end in ends if end > now_ms), default=NEVER)
        return min(found, now_ms + hold) if members.counted else found

    def _hide(self, candidates: Iterable[Member], now_ms: int, hide: Hide) -> None:
        members = self.members
        recheck, any_hidden = NEVER, False
        for member in candidates:
            kind, until = hide(member.decision, self.place.route, now_ms)
            if kind:
                recheck, any_hidden = min(recheck, until), True
            elif member.hidden and (member.pending or member is members.spare):
                # It still comes, and nobody has heard of it: a silence delays nothing after its end.
                member.news = self.urgent = True
                self.first_ms = self.first_ms or now_ms
            member.hidden = kind
        self.recheck_ms = recheck if recheck != NEVER else 0
        members.any_hidden = any_hidden

    def _hidden(self) -> Iterator[Member]:
        for member in self.members.by_fingerprint.values():
            if member.hidden:
                yield member
        if self.members.spare is not None and self.members.spare.hidden:
            yield self.members.spare

    def _hideable(self, now_ms: int) -> Iterator[Member]:
        members = self.members
        for member in members.by_fingerprint.values():
            if member.news or member.hidden or members.active(member, now_ms):
                yield member
        if members.spare is not None:
            yield members.spare

    def tell(self, now_ms: int) -> Told:
        """What is to be told; from here on it is."""
        told = self.members.tell(now_ms)
        self.number += 1
        self.told_ms = now_ms
        self.first_ms, self.urgent = 0, False
        return told

    def forgettable(self, now_ms: int) -> bool:
        """Nothing would be different without it."""
        # While what has come is not stored as read, it may be read again: the group must know it then.
        if self.waits or self.touched or not self.members.empty:
            return False
        return not self.told_ms or self.told_ms + self.place.route.group_interval <= now_ms
