"""What a dispatcher finds in the state, even if that was written in part, or by one with other settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field

import msgspec

from anomaly_app.alerts import Alert
from anomaly_app.delivery.decision import Decision, Place
from anomaly_app.delivery.flood import Outlet
from anomaly_app.delivery.groups import Group
from anomaly_app.delivery.members import Member, Members
from anomaly_app.delivery.routes import RouteTree, Way
from anomaly_app.delivery.stored import (
    Delivery,
    StoredGroup,
    StoredMember,
    decode_alert,
    decode_delivery,
    decode_group,
    decode_record,
    record_key,
)

POSITIONS, PAIRS = b"p", b"t"
"""Entries of the positions, and of the routes and ways that there were."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """An alert that was not told, and whose route or sink is no more in the settings.

    Args:
        raw: its record.
        tenant: of the alert.
        alert_id: its id.
        starts_ms: as of its member, as are the others.
        seen_ms: see there.
        pending: see there.
        sink_only: the route is there, and what other sinks it has know of the alert.
    """

    raw: bytes
    tenant: str
    alert_id: str
    starts_ms: int
    seen_ms: int
    pending: int
    sink_only: bool


@dataclass(slots=True)
class RestoredGroups:
    """What the state says of groups.

    Args:
        groups: by key.
        outstanding: id of what each group, also of a route that is no more, says to be on its way.
        orphans: alerts without a group.
        counted: others without a group of which only the number is known.
        known: pairs of routes and ways that there were.
        used: keys of entries that are still true.
    """

    groups: dict[str, Group] = field(default_factory=dict)
    outstanding: set[str] = field(default_factory=set)
    orphans: list[Orphan] = field(default_factory=list)
    counted: int = 0
    known: frozenset[str] = frozenset()
    used: set[bytes] = field(default_factory=set)


@dataclass(slots=True)
class RestoredDeliveries:
    """What the state says of deliveries.

    Args:
        outbox: by id, in the order in which they were decided.
        withdrawn: to sinks that are no more.
        used: keys of entries that are still true.
    """

    outbox: dict[str, Delivery] = field(default_factory=dict)
    withdrawn: list[Delivery] = field(default_factory=list)
    used: set[bytes] = field(default_factory=set)


def restore_outlets(entries: Mapping[bytes, bytes], outlets: Mapping[str, Outlet]) -> dict[str, Outlet]:
    """The outlets with what is stored of them."""
    for outlet in outlets.values():
        if outlet.key in entries:
            outlet.restore(entries[outlet.key])
    return dict(outlets)


def restore_groups(
    entries: Mapping[bytes, bytes],
    tree: RouteTree,
    create: Callable[[Way], Members],
    decide: Callable[[Alert, str], Decision],
) -> RestoredGroups:
    """The groups of the state.

    Args:
        entries: of the state.
        tree: of the routes, as they are now.
        create: empty members of a way.
        decide: what follows from an alert and its tenant.
    """
    routes, ways = {route.id: route for route in tree.root.walk()}, tree.ways
    found = RestoredGroups()
    if PAIRS in entries:
        found.known = frozenset(msgspec.msgpack.decode(entries[PAIRS], type=list[str]))
        found.used.add(PAIRS)
    for name in sorted(key for key in entries if key.startswith(b"g/")):
        key, stored = name[2:].decode(), decode_group(entries[name])
        if stored.outstanding:
            found.outstanding.add(stored.outstanding)
        route, way = routes.get(stored.route), ways.get(stored.way)
        if route is None or way is None:
            _orphans(key, stored, entries, found, sink_only=route is not None)
            continue
        group = Group(Place(key, route, way, stored.labels), stored.born, create(way))
        group.number, group.told_ms, group.first_ms = stored.number, stored.told_ms, stored.first_ms
        group.recheck_ms, group.held_ms, group.urgent = stored.recheck_ms, stored.held_ms, stored.urgent
        group.outstanding, group.upto = stored.outstanding, stored.upto
        slots = _restore_members(key, stored, group.members, entries, decide)
        found.groups[key] = group
        found.used |= {name, *(record_key(key, slot) for slot in slots)}
    return found


def restore_deliveries(
    entries: Mapping[bytes, bytes], outstanding: Set[str], outlets: Mapping[str, Outlet]
) -> RestoredDeliveries:
    """The deliveries of the state; outlets get to know of them.

    Args:
        entries: of the state.
        outstanding: what groups say to be on its way: another was not sent yet, or is settled.
        outlets: by the name of their way.
    """
    found = RestoredDeliveries()
    stored = [(name, decode_delivery(entry)) for name, entry in entries.items() if name.startswith(b"d/")]
    for name, delivery in sorted(stored, key=lambda each: (each[1].since_ms, each[0])):
        if delivery.group and delivery.id not in outstanding:
            continue
        outlet = outlets.get(delivery.sink)
        if outlet is None:
            found.withdrawn.append(delivery)
            continue
        if not delivery.group:
            outlet.digests = max(outlet.digests, delivery.number)
        outlet.outstanding += 1
        found.outbox[delivery.id] = delivery
        found.used.add(name)
    return found


def _orphans(
    key: str, stored: StoredGroup, entries: Mapping[bytes, bytes], found: RestoredGroups, *, sink_only: bool
) -> None:
    found.counted += stored.counted_pending
    for each in stored.members:
        entry = entries.get(record_key(key, each.slot))
        record = None if entry is None else decode_record(entry)
        raw = each.raw or (record.raw if record is not None and record.fingerprint == each.fingerprint else b"")
        if not raw or not each.news:
            found.counted += each.pending
            continue
        tenant, alert_id = each.tenant, decode_alert(raw).id
        found.orphans.append(Orphan(raw, tenant, alert_id, each.starts_ms, each.seen_ms, each.pending, sink_only))


def _restore_members(
    key: str,
    stored: StoredGroup,
    members: Members,
    records: Mapping[bytes, bytes],
    decide: Callable[[Alert, str], Decision],
) -> set[int]:
    """Put the stored members back; gives their slots, which have entries."""
    taken: set[int] = set()
    members.counted = stored.counted
    members.counted_news = set(stored.counted_news)
    members.counted_pending, members.beyond, members.latest_ms = stored.counted_pending, stored.beyond, stored.latest_ms
    for each in stored.members:
        raw, tenant = each.raw, each.tenant
        if not raw:
            entry = records.get(record_key(key, each.slot))
            record = None if entry is None else decode_record(entry)
            if record is None or record.fingerprint != each.fingerprint:
                # Another took its slot, and the group was not stored after that: it is known by its number, as it would
                # be if it had been.
                _count(each, members)
                continue
            raw, tenant = record.raw, record.tenant
        member = _restore_member(each, raw, tenant, decide)
        members.by_fingerprint[each.fingerprint] = member
        members.ranks[member.decision.rank][each.fingerprint] = member
        members.any_hidden = members.any_hidden or bool(member.hidden)
        taken.add(member.slot)
    members.slots = max(taken, default=-1) + 1
    members.freed = [slot for slot in range(members.slots) if slot not in taken]
    if stored.spare is not None:
        members.spare = _restore_member(stored.spare, stored.spare.raw, stored.spare.tenant, decide)
    return taken


def _restore_member(stored: StoredMember, raw: bytes, tenant: str, decide: Callable[[Alert, str], Decision]) -> Member:
    alert = decode_alert(raw)
    member = Member(decide(alert, tenant), raw, alert.id, stored.starts_ms, stored.seen_ms)
    member.count, member.pending, member.news = stored.count, stored.pending, stored.news
    member.told_rank, member.told_id, member.hidden = stored.told_rank, stored.told_id, stored.hidden
    member.acked_by, member.slot, member.fresh = stored.acked_by, stored.slot, False
    return member


def _count(stored: StoredMember, members: Members) -> None:
    members.counted_pending += stored.pending
    if stored.news:
        members.beyond += 1
