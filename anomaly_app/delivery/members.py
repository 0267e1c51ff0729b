"""Who is in a group: alerts by fingerprint, the worst and latest with their records, others as numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec

from anomaly_app.alerts.record import SILENCE, SILENCE_OVER
from anomaly_app.delivery.decision import Decision
from anomaly_app.delivery.labels import LEVELS

MOST_COUNTED = 1_000
"""Fingerprints beyond those with records that a group knows again; more are only counted."""
UNTOLD = -1
NO_SLOT = -1

Hidden: TypeAlias = Literal["", "silenced", "inhibited", "muted"]


class Member:
    """The alerts of one fingerprint.

    Attributes:
        decision: of the alert that is shown: the last one, or a worse one that is not told yet.
        raw: its record.
        alert_id: its id.
        starts_ms: event time of the first one, in ms since 1970.
        seen_ms: when the last one came.
        count: how many have come.
        pending: how many of them have no fate yet.
        news: it must be told, and is not.
        told_rank: of the worst severity that was told; ``UNTOLD`` for none.
        told_id: id of the alert that was told.
        hidden: why it is not told now.
        acked_by: who has taken it, so that it is not repeated.
        slot: where its record is stored.
        fresh: the record is not stored yet.
    """

    __slots__ = (
        "acked_by", "alert_id", "count", "decision", "fresh", "hidden", "news", "pending", "raw", "seen_ms", "slot",
        "starts_ms", "told_id", "told_rank",
    )  # fmt: skip

    def __init__(self, decision: Decision, raw: bytes, alert_id: str, starts_ms: int, seen_ms: int) -> None:
        self.decision, self.raw, self.alert_id = decision, raw, alert_id
        self.starts_ms, self.seen_ms = starts_ms, seen_ms
        self.count = self.pending = 1
        self.news, self.told_rank, self.told_id = True, UNTOLD, ""
        self.hidden: Hidden = ""
        self.acked_by = ""
        self.slot, self.fresh = NO_SLOT, True

    @property
    def resolvable(self) -> bool:
        """Its end can be told; that of a silent source is an alert of its own."""
        return self.told_rank != UNTOLD and self.decision.labels.get("type") not in (SILENCE, SILENCE_OVER)


class Counted(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A fingerprint without a record; see :class:`Member`."""

    starts_ms: int
    seen_ms: int
    count: int
    rank: int


@dataclass(slots=True)
class Told:
    """What a group tells.

    Args:
        firing: the worst and then the latest first.
        resolved: those that are over.
        more: how many others there are.
        sent: alerts that are shown for the first time.
        grouped: alerts that are told by their number only.
    """

    firing: list[Member]
    resolved: list[Member]
    more: int
    sent: int
    grouped: int


class Members:
    """The alerts of a group.

    Args:
        shown: how many fingerprints have their records here.
        hold: how long after its last alert one is over, in ms.
        send_resolved: whether that is told.
        fates: counts what becomes of alerts.

    Attributes:
        by_fingerprint: those with records.
        ranks: the same by severity, in the order in which they came.
        counted: those without records.
        counted_news: which of them are not told.
        counted_pending: alerts of theirs without a fate.
        beyond: fingerprints that are not even known again, and not told.
        spare: one that stands for the untold ones without records; None if there are none.
        latest_ms: when the last alert came.
        any_hidden: some may be hidden.
        freed: slots of records that are not needed any more, to be used again.
        slots: how many slots there have been.
    """

    __slots__ = (
        "any_hidden", "beyond", "by_fingerprint", "counted", "counted_news", "counted_pending", "fates", "freed",
        "hold", "latest_ms", "ranks", "send_resolved", "shown", "slots", "spare",
    )  # fmt: skip

    def __init__(self, shown: int, hold: int, send_resolved: bool, fates: Counter[str]) -> None:
        self.shown, self.hold, self.send_resolved, self.fates = shown, hold, send_resolved, fates
        self.by_fingerprint: dict[str, Member] = {}
        self.ranks: tuple[dict[str, Member], ...] = tuple({} for _ in LEVELS)
        self.counted: dict[str, Counted] = {}
        self.counted_news: set[str] = set()
        self.counted_pending = self.beyond = self.latest_ms = self.slots = 0
        self.spare: Member | None = None
        self.any_hidden = False
        self.freed: list[int] = []

    @property
    def empty(self) -> bool:
        """Nobody is in it, and nothing is to be told."""
        return not (self.by_fingerprint or self.counted or self.beyond or self.spare)

    @property
    def waiting(self) -> int:
        """Alerts without a fate."""
        return self.counted_pending + sum(member.pending for member in self.by_fingerprint.values())

    def arrive(self, decision: Decision, raw: bytes, alert_id: str, event_ms: int, now_ms: int, silenced: bool) -> bool:
        """Take an alert.

        Returns:
            whether it has to be told.
        """
        member = self.by_fingerprint.get(decision.fingerprint)
        if member is not None and alert_id in (member.alert_id, member.told_id):
            self.fates["duplicate"] += 1  # who forwards alerts does so at least once
            return member.news and not member.hidden
        self.latest_ms = now_ms
        if member is None:
            return self._enter(Member(decision, raw, alert_id, event_ms, now_ms), now_ms, silenced)
        over = member.seen_ms + self.hold <= now_ms
        if over and (member.hidden or not member.news):
            self._end(member)
            member.starts_ms, member.count = event_ms, 0
            member.news, member.told_rank, member.told_id = True, UNTOLD, ""
            member.hidden, member.acked_by = "", ""
            replaced = True
        else:
            if not member.news and decision.rank > member.told_rank:
                member.news, member.acked_by = True, ""  # it got worse
            replaced = not member.news or decision.rank >= member.decision.rank
        member.count += 1
        member.pending += 1
        member.seen_ms = now_ms
        if replaced:
            if member.hidden and member.decision is not decision:
                member.hidden, member.news = "", True  # what hid the one before may not hide this one
            del self.ranks[member.decision.rank][decision.fingerprint]
            self.ranks[decision.rank][decision.fingerprint] = member
            member.decision, member.raw, member.alert_id, member.fresh = decision, raw, alert_id, True
        if silenced and replaced:
            member.hidden = "silenced"
            self.any_hidden = True
        return member.news and not member.hidden

    def _enter(self, member: Member, now_ms: int, silenced: bool) -> bool:
        full = len(self.by_fingerprint) >= self.shown
        if silenced and full:
            self.fates["silenced"] += 1  # it takes the place of none that is told
            return False
        self._know_again(member, now_ms)
        if silenced:
            member.hidden = "silenced"
            self.any_hidden = True
        elif full:
            last = self._last()
            if last.decision.rank > member.decision.rank and not last.hidden:
                self._count(member, now_ms)
                return member.news
            self.remove(last)
            self._count(last, now_ms)
        self._add(member)
        return member.news and not member.hidden

    def _know_again(self, member: Member, now_ms: int) -> None:
        """It may be one that was only counted."""
        name = member.decision.fingerprint
        known = self.counted.pop(name, None)
        if known is None:
            return
        news = name in self.counted_news
        self.counted_news.discard(name)
        if known.seen_ms + self.hold <= now_ms:
            self.beyond += news  # that it was there is still to be told
            return
        member.starts_ms, member.count = known.starts_ms, known.count + 1
        if not news:
            member.news, member.told_rank = member.decision.rank > known.rank, known.rank

    def _add(self, member: Member) -> None:
        if self.freed:
            member.slot = self.freed.pop()
        else:
            member.slot = self.slots
            self.slots += 1
        name = member.decision.fingerprint
        self.by_fingerprint[name] = self.ranks[member.decision.rank][name] = member

    def remove(self, member: Member) -> None:
        """Take one out."""
        name = member.decision.fingerprint
        del self.by_fingerprint[name], self.ranks[member.decision.rank][name]
        self.freed.append(member.slot)

    def _last(self) -> Member:
        """Whose place another gets: of those that are hidden or else of all the least and oldest one."""
        if self.any_hidden:
            for rank in self.ranks:
                for member in rank.values():
                    if member.hidden:
                        return member
            self.any_hidden = False
        return next(next(iter(rank.values())) for rank in self.ranks if rank)

    def _count(self, member: Member, now_ms: int) -> None:
        """Keep one as a number only."""
        over = member.seen_ms + self.hold <= now_ms
        if member.hidden or (over and not member.news):
            self._end(member)
            return
        self.counted_pending += member.pending
        member.pending = 0
        if member.news:
            self.spare = member
        name = member.decision.fingerprint
        if len(self.counted) >= MOST_COUNTED:
            self.beyond += member.news
            return
        rank = max(member.decision.rank, member.told_rank)
        self.counted[name] = Counted(member.starts_ms, member.seen_ms, member.count, rank)
        if member.news:
            self.counted_news.add(name)

    def _end(self, member: Member) -> None:
        """Alerts of one that is over have their fate."""
        self.fates[member.hidden or "grouped"] += member.pending
        member.pending = 0

    def expire(self, now_ms: int) -> None:
        """Let go those that are over, and of which nothing is to be told."""
        limit = now_ms - self.hold
        for member in [member for member in self.by_fingerprint.values() if member.seen_ms <= limit]:
            if member.news and not member.hidden:
                continue
            if self.send_resolved and member.resolvable:
                if member.hidden:
                    # What was told before it was hidden has its end told: somebody may wait for it.
                    self._end(member)
                    member.hidden, member.news = "", False
                continue
            self._end(member)
            self.remove(member)
        if self.spare is not None and self.spare.hidden and self.spare.seen_ms <= limit:
            self.fates[self.spare.hidden] += self.counted_pending
            self.counted_pending = self.beyond = 0
            for name in self.counted_news:
                del self.counted[name]
            self.counted_news.clear()
            self.spare = None

    def expire_counted(self, now_ms: int) -> None:
        """The same for those without records."""
        limit = now_ms - self.hold
        for name in [name for name, known in self.counted.items() if known.seen_ms <= limit]:
            del self.counted[name]
            if name in self.counted_news:
                self.counted_news.discard(name)
                self.beyond += 1
        if not (self.counted or self.by_fingerprint or self.spare):
            self.fates["grouped"] += self.counted_pending
            self.counted_pending = self.beyond = 0

    def active(self, member: Member, now_ms: int) -> bool:
        """Whether it is not over."""
        return member.seen_ms + self.hold > now_ms

    @property
    def news(self) -> bool:
        """Something is to be told of one that is firing."""
        if self.spare is not None and not self.spare.hidden:
            return True
        return any(member.news and not member.hidden for member in self.by_fingerprint.values())

    def resolved(self, now_ms: int) -> Iterator[Member]:
        """Those of which is to be told that they are over."""
        if self.send_resolved:
            for rank in reversed(self.ranks):
                for member in reversed(rank.values()):
                    if not (member.news or member.hidden or self.active(member, now_ms)) and member.resolvable:
                        yield member

    def repeatable(self, now_ms: int) -> bool:
        """Something that was told has come again and lasts, and nobody has taken it."""
        return any(
            member.pending and not (member.hidden or member.acked_by) and self.active(member, now_ms)
            for member in self.by_fingerprint.values()
        )

    def tell(self, now_ms: int) -> Told:
        """What is to be told; from here on it is."""
        self.expire_counted(now_ms)
        firing = [
            member
            for rank in reversed(self.ranks)
            for member in reversed(rank.values())
            if not member.hidden and (member.news or self.active(member, now_ms))
        ]
        resolved = list(self.resolved(now_ms))
        spare = self.spare
        more = len(self.counted) + self.beyond
        if not firing and spare is not None and not spare.hidden:
            firing, more = [spare], more - 1
        elif not firing:
            more = len(self.counted) - len(self.counted_news)
        sent = grouped = 0
        if firing:
            grouped, self.counted_pending = self.counted_pending, 0
            if firing[0] is spare:
                sent, grouped = 1, grouped - 1
            self.beyond, self.spare = 0, None
            self.counted_news.clear()
        for member in firing:
            fresh = min(member.pending, 1)
            sent += fresh
            grouped += member.pending - fresh
            if member.news and member.told_rank != UNTOLD:
                member.acked_by = ""  # it got worse than what somebody has taken
            member.pending, member.news = 0, False
            member.told_rank, member.told_id = max(member.told_rank, member.decision.rank), member.alert_id
        for member in resolved:
            grouped += member.pending
            member.pending = 0
            self.remove(member)
        return Told(firing, resolved, max(more, 0), sent, grouped)
