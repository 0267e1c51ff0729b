"""What becomes of each alert: told, told with others, held back, or nobody's business."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from anomaly_app.alerts import Alert
from anomaly_app.delivery.composing import digest, notify
from anomaly_app.delivery.decision import Decider, Decision, Place, group_key
from anomaly_app.delivery.flood import Outlet
from anomaly_app.delivery.groups import NEVER, Group
from anomaly_app.delivery.hiding import Hiding
from anomaly_app.delivery.inhibition import Sources
from anomaly_app.delivery.members import Members
from anomaly_app.delivery.notification import Incoming, Reason
from anomaly_app.delivery.restoring import (
    PAIRS,
    POSITIONS,
    Orphan,
    restore_deliveries,
    restore_groups,
    restore_outlets,
)
from anomaly_app.delivery.routes import RouteTree, Way
from anomaly_app.delivery.silences import Silence, Silences
from anomaly_app.delivery.stored import (
    Delivery,
    bounded,
    decode_alert,
    encode_delivery,
    most_each,
    record_key,
    store_group,
)
from anomaly_app.errors import StateError
from anomaly_app.settings.delivery import DeliverySettings

Outcome: TypeAlias = Literal["sent", "gave_up"]
Entries: TypeAlias = list[tuple[bytes, bytes | None]]

_SWEEP_MS = 60_000


class Dispatcher:
    """All decisions of delivery, as a function of what comes and of the time.

    Args:
        tree: of the routes.
        settings: of delivery.
        entries: of the state, as they were stored; none at first.

    Raises:
        StateError: the state cannot be read.

    Attributes:
        tree: the same.
        silences: that are known.
        sources: of inhibition that are there.
        hiding: what is not told now.
        outbox: what is to be sent, by id, in the order in which it was decided.
        positions: next offset by partition of what is in the state.
        withdrawn: what was to be sent to sinks that are no more in the settings.
        overflowed: alerts that went to a group that others share, for there were too many groups.
    """

    def __init__(self, tree: RouteTree, settings: DeliverySettings, entries: Mapping[bytes, bytes]) -> None:
        self.tree, self._settings = tree, settings
        self._hold, self._shown = settings.hold, settings.max_alerts
        self._most_each = most_each(settings.max_alerts)
        self._ways = tree.ways
        self.silences = Silences()
        self.sources = Sources(tree.inhibitions)
        self._fates: Counter[str] = Counter()
        self._groups: dict[str, Group] = {}
        self._outlets = {name: Outlet(way) for name, way in self._ways.items()}
        self._decider = Decider(tree, self.sources)
        self.hiding = Hiding(self.silences, self.sources)
        self._queue: list[tuple[int, str]] = []
        self._now_ms = self._sweep_ms = 0
        self.outbox: dict[str, Delivery] = {}
        self.withdrawn: list[Delivery] = []
        self.positions: dict[int, int] = {}
        self.overflowed = 0
        self._dirty: dict[str, None] = {}
        self._new: dict[str, None] = {}
        self._dropped: dict[bytes, None] = {}
        self._moved = self._silences_changed = False
        self._by_alert: dict[str, list[tuple[str, str]]] | None = None
        try:
            self._restore(entries)
        except msgspec.MsgspecError as error:
            problem = f"the state of the delivery {settings.name} cannot be read: {error}; is it of another version?"
            raise StateError(problem) from error

    def decide(self, alert: Alert, tenant: str) -> Decision:
        """What follows from the labels of an alert and its tenant."""
        return self._decider.decide(alert, tenant)

    @property
    def groups(self) -> Mapping[str, Group]:
        """All groups by key; to be looked at only."""
        return self._groups

    # What comes in

    def take(self, incoming: Sequence[Incoming], now_ms: int) -> None:
        """Decide where alerts belong; those that the state has are skipped.

        Args:
            incoming: in the order of each partition.
            now_ms: now, in ms since 1970.
        """
        now_ms = self._now(now_ms)
        positions, decide, hold = self.positions, self._decider.decide, self._hold
        for each in incoming:
            partition, offset, alert = each.partition, each.offset, each.alert
            if offset < positions.get(partition, 0):
                continue
            positions[partition] = offset + 1
            self._moved = True
            decision = decide(alert, each.tenant)
            if decision.sources:
                self.sources.seen(decision.sources, now_ms + hold)
            if decision.fate:
                self._fates[decision.fate] += 1
                continue
            self._place(decision, each, now_ms)

    def _place(self, decision: Decision, each: Incoming, now_ms: int) -> None:
        raw = each.raw
        if len(raw) > self._most_each:
            raw = bounded(raw, each.alert, self._most_each)
        alert_id, event_ms = each.alert.id, _milliseconds(each.alert.event_time, now_ms)
        silenced = decision.silenced_until(self.silences, now_ms)
        for place in decision.places:
            group = self._groups.get(place.key) or self._group(place, each)
            # The state may have been written in several parts: a group may know more than the positions say.
            if each.offset < group.upto.get(each.partition, 0):
                continue
            group.upto[each.partition] = each.offset + 1
            due = group.arrive(decision, raw, alert_id, event_ms, now_ms, silenced)
            self._dirty[group.place.key] = None
            if due < group.due_ms:
                self._schedule(group, due)
        self._by_alert = None

    def _group(self, place: Place, each: Incoming) -> Group:
        """A new group, or the one that others share if there is no room."""
        if len(self._groups) < self._settings.max_groups:
            return self._create(place, each)
        self.overflowed += 1
        shared = Place(group_key(place.route, place.way, None), place.route, place.way, {})
        return self._groups.get(shared.key) or self._create(shared, each)

    def _create(self, place: Place, each: Incoming) -> Group:
        group = Group(place, f"{each.partition}-{each.offset}-{each.alert.id}", self._members(place.way))
        self._groups[place.key] = group
        return group

    def _members(self, way: Way) -> Members:
        return Members(self._shown, self._hold, way.send_resolved, self._fates)

    def put_silence(self, silence: Silence) -> None:
        """Add a silence, or change one."""
        self.silences.put(silence)
        self._silences_changed = True

    def drop_silence(self, silence_id: str) -> None:
        """Forget a silence; what it held back and still comes is told at once."""
        self.silences.drop(silence_id)
        self._silences_changed = True

    def _recheck(self) -> None:
        """Look at all groups in which something is hidden; once for any number of silences."""
        self._silences_changed = False
        for group in self._groups.values():
            if group.recheck_ms:
                group.recheck_ms = 1
                if not group.waits:
                    self._schedule(group, 0)

    def acknowledge(self, alert_id: str, by: str, now_ms: int) -> bool:
        """Somebody has taken an alert: while it lasts and gets no worse it is not repeated.

        Args:
            alert_id: of the alert; the last one, or the one that was told.
            by: who.
            now_ms: now, in ms since 1970.

        Returns:
            whether it is known.
        """
        self._now(now_ms)
        if self._by_alert is None:
            self._by_alert = {}
            for key, group in self._groups.items():
                for name, member in group.members.by_fingerprint.items():
                    for each in {member.alert_id, member.told_id}:
                        self._by_alert.setdefault(each, []).append((key, name))
        found = False
        for key, name in self._by_alert.get(alert_id, []):
            if key in self._groups and name in self._groups[key].members.by_fingerprint:
                member = self._groups[key].members.by_fingerprint[name]
                if alert_id in (member.alert_id, member.told_id):
                    member.acked_by, found = by, True
                    self._dirty[key] = None
        return found

    # What goes out

    def advance(self, now_ms: int) -> None:
        """Decide all that is due.

        Args:
            now_ms: now, in ms since 1970.
        """
        now_ms = self._now(now_ms)
        if now_ms >= self._sweep_ms:
            self._sweep_ms = now_ms + _SWEEP_MS
            self.silences.forget(now_ms)
            self.sources.forget(now_ms)
        if self._silences_changed:
            self._recheck()
        for outlet in self._outlets.values():
            if outlet.held:
                self._release(outlet, now_ms)
        while self._queue and self._queue[0][0] <= now_ms:
            due, key = heapq.heappop(self._queue)
            group = self._groups.get(key)
            if group is None or group.due_ms != due:
                continue
            group.due_ms = NEVER
            if self._look(group, now_ms) is not None:
                outlet = self._outlets[group.place.way.name]
                if outlet.held or outlet.free_at(now_ms) != now_ms:
                    group.held_ms = now_ms
                    outlet.held[key] = None
                else:
                    self._tell(group, outlet, now_ms)
        for outlet in self._outlets.values():
            if outlet.held:
                self._release(outlet, now_ms)

    def due_ms(self) -> int | None:
        """When :meth:`advance` has something to do next, in ms since 1970; None if that depends on what comes."""
        while self._queue:
            due, key = self._queue[0]
            group = self._groups.get(key)
            if group is not None and group.due_ms == due:
                break
            heapq.heappop(self._queue)
        times = [self._queue[0][0]] if self._queue else []
        times += [self._now_ms] * self._silences_changed
        times += [
            free
            for outlet in self._outlets.values()
            if outlet.held and (free := outlet.free_at(self._now_ms)) is not None
        ]
        return min(times, default=None)

    def _look(self, group: Group, now_ms: int) -> Reason | None:
        self._dirty[group.place.key] = None
        reason = group.look(now_ms, self.hiding)
        if reason is None:
            if group.forgettable(now_ms):
                self._forget(group)
            elif group.due_ms != NEVER:
                due, group.due_ms = group.due_ms, NEVER
                self._schedule(group, due)
        return reason

    def _schedule(self, group: Group, due_ms: int) -> None:
        group.due_ms = due_ms
        heapq.heappush(self._queue, (due_ms, group.place.key))

    def _release(self, outlet: Outlet, now_ms: int) -> None:
        """Tell what was held back, as far as the sink takes it."""
        while outlet.held and outlet.free_at(now_ms) == now_ms:
            if outlet.way.max_per_minute and len(outlet.held) > outlet.left(now_ms):
                self._digest(outlet, now_ms)
                continue
            key = next(iter(outlet.held))
            group = self._unhold(outlet, key)
            if self._look(group, now_ms) is not None:
                self._tell(group, outlet, now_ms)

    def _unhold(self, outlet: Outlet, key: str) -> Group:
        del outlet.held[key]
        group = self._groups[key]
        group.held_ms = 0
        return group

    def _tell(self, group: Group, outlet: Outlet, now_ms: int) -> None:
        delivery = notify(group, now_ms, self._shown)
        group.outstanding, group.due_ms = delivery.id, NEVER
        self._send(delivery, outlet, now_ms)

    def _digest(self, outlet: Outlet, now_ms: int) -> None:
        held = [self._unhold(outlet, key) for key in list(outlet.held)]
        groups = [group for group in held if self._look(group, now_ms) is not None]
        if len(groups) == 1:
            self._tell(groups[0], outlet, now_ms)
        elif groups:
            outlet.digests += 1
            outlet.changed = True
            delivery = digest(groups, outlet.way, outlet.digests, now_ms, self._shown)
            self._fates["held_back"] += len(groups)
            for group in groups:
                self._look(group, now_ms)
            self._send(delivery, outlet, now_ms)

    def _send(self, delivery: Delivery, outlet: Outlet, now_ms: int) -> None:
        outlet.sent(now_ms)
        self.outbox[delivery.id] = delivery
        self._new[delivery.id] = None
        self._by_alert = None

    def settled(self, delivery_id: str, outcome: Outcome, now_ms: int) -> None:
        """What became of a delivery.

        Args:
            delivery_id: its id; one that is not known is let go, for its outcome may be told twice.
            outcome: it was taken, or it will not be tried again.
            now_ms: now, in ms since 1970.
        """
        now_ms = self._now(now_ms)
        delivery = self.outbox.pop(delivery_id, None)
        if delivery is None:
            return
        self._settle(delivery, outcome)
        self._outlets[delivery.sink].outstanding -= 1
        group = self._groups.get(delivery.group)
        if group is not None and group.outstanding == delivery_id:
            group.outstanding = ""
            self._dirty[delivery.group] = None
            self._schedule(group, now_ms)

    def _settle(self, delivery: Delivery, outcome: Outcome) -> None:
        if delivery.id in self._new:
            del self._new[delivery.id]
        else:
            self._dropped[_delivery_key(delivery.id)] = None
        if outcome == "sent":
            self._fates["sent"] += delivery.sent
            self._fates["grouped"] += delivery.grouped
        else:
            self._fates["gave_up"] += delivery.sent + delivery.grouped

    @property
    def fates(self) -> Counter[str]:
        """What became of alerts, once for each way that each was routed to, since the start.

        ``sent``: shown in a notification that was taken; ``grouped``: told by its number, or as one that lasts;
        ``silenced``, ``inhibited``, ``muted``: over before it could be told; ``gave_up``: its notification could not be
        sent; ``unrouted``, ``streamed``, ``dropped``: no receiver, none but sinks that get every alert, one without
        sinks; ``duplicate``: it was the last one of its fingerprint already; ``waiting``: none of these yet. Beside
        them ``held_back``: notifications told as parts of a digest.
        """
        fates = Counter(self._fates)
        fates["waiting"] = sum(group.members.waiting for group in self._groups.values()) + sum(
            delivery.sent + delivery.grouped for delivery in self.outbox.values()
        )
        return +fates

    # What is remembered

    def changes(self) -> Entries:
        """Entries that have changed since the last call, None for those that are no more; the positions come last.

        Whoever stores them in this order, be it in several parts, loses nothing and sends nothing twice.
        """
        entries: Entries = [(outlet.key, outlet.entry()) for outlet in self._outlets.values() if outlet.changed]
        entries += [(_delivery_key(name), encode_delivery(self.outbox[name])) for name in self._new]
        entries += self.sources.changes()
        for key in self._dirty:
            group = self._groups.get(key)
            if group is not None:
                entries += store_group(group)
                group.touched = False
        written = {key for key, _ in entries}  # such as that of a group which was forgotten, and is there again
        entries += [(key, None) for key in self._dropped if key not in written]
        self._new.clear()
        self._dirty.clear()
        self._dropped.clear()
        if self._moved:
            entries.append((PAIRS, msgspec.msgpack.encode(sorted(self._pairs))))
            entries.append((POSITIONS, msgspec.msgpack.encode(self.positions)))
            self._moved = False
        return entries

    def _forget(self, group: Group) -> None:
        key = group.place.key
        del self._groups[key]
        self._dropped[f"g/{key}".encode()] = None
        for slot in range(group.members.slots):
            self._dropped[record_key(key, slot)] = None

    def _restore(self, entries: Mapping[bytes, bytes]) -> None:
        if POSITIONS in entries:
            self.positions = msgspec.msgpack.decode(entries[POSITIONS], type=dict[int, int])
        self._outlets |= restore_outlets(entries, self._outlets)
        used = {POSITIONS, *(outlet.key for outlet in self._outlets.values())}
        used |= {key for key, entry in entries.items() if key.startswith(b"i/") and self.sources.restore(entry)}
        groups = restore_groups(entries, self.tree, self._members, self._decider.decide)
        self._groups = groups.groups
        deliveries = restore_deliveries(entries, groups.outstanding, self._outlets)
        self.outbox, self.withdrawn = deliveries.outbox, deliveries.withdrawn
        self._fates["gave_up"] += sum(each.sent + each.grouped for each in self.withdrawn) + groups.counted
        used |= groups.used | deliveries.used
        self._dropped |= dict.fromkeys(key for key in entries if key not in used)
        for orphan in groups.orphans:
            self._adopt(orphan, groups.known)
        for group in self._groups.values():
            if group.outstanding not in self.outbox:
                group.outstanding = ""
        for key, group in sorted(self._groups.items(), key=lambda item: (item[1].held_ms, item[0])):
            if group.held_ms:
                self._outlets[group.place.way.name].held[key] = None
            elif not group.outstanding:
                self._schedule(group, 0)
        self._pairs = self.tree.pairs
        if self._pairs != groups.known:
            self._moved = True

    def _adopt(self, orphan: Orphan, known: frozenset[str]) -> None:
        """Put an alert that was not told where it belongs, now that its route or its sink is no more."""
        decision = self._decider.decide(decode_alert(orphan.raw), orphan.tenant)
        places = [place for place in decision.places if place.pair not in known]
        if not places and not orphan.sink_only:
            places = decision.places
        adopted = False
        for place in places:
            group = self._groups.get(place.key)
            if group is None:
                group = self._groups[place.key] = Group(place, f"adopted-{orphan.alert_id}", self._members(place.way))
            member = group.members.by_fingerprint.get(decision.fingerprint)
            if member is None or member.alert_id != orphan.alert_id:
                group.arrive(decision, orphan.raw, orphan.alert_id, orphan.starts_ms, orphan.seen_ms, 0)
                self._dirty[place.key] = None
                adopted = True
        # One alert has as many fates as ways; those that had come before it have theirs here.
        self._fates["gave_up" if not adopted else "grouped"] += orphan.pending - adopted

    def _now(self, now_ms: int) -> int:
        """Time does not go back here, even if the clock was set."""
        self._now_ms = max(self._now_ms, now_ms)
        return self._now_ms


def _delivery_key(name: str) -> bytes:
    return f"d/{name}".encode()


def _milliseconds(event_time: str, now_ms: int) -> int:
    """An event time in ms since 1970; now, if it is beyond the calendar or a foreign alert has none."""
    try:
        return round(datetime.fromisoformat(event_time).timestamp() * 1000)
    except (ValueError, OverflowError):
        return now_ms
