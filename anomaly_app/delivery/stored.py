"""Groups and deliveries as entries of the state, each bounded in size."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from anomaly_app.alerts import Alert, encode
from anomaly_app.alerts.encoding import shorten
from anomaly_app.delivery.groups import Group
from anomaly_app.delivery.labels import label_of
from anomaly_app.delivery.members import Counted, Hidden, Member
from anomaly_app.delivery.notification import Notification

MOST_STORED = 800_000
"""Bytes of all records that a notification shows; Kafka refuses a record of more than a million."""
LEAST_EACH = 2_000
INLINE = 4
"""Members whose records stand in the entry of their group; others have entries that are written when they change."""

_alerts = msgspec.json.Decoder(Alert)


class Delivery(msgspec.Struct):
    """A notification that is to be sent.

    Args:
        id: of the notification.
        sink: ``receiver/kind/number``.
        notification: what is told.
        since_ms: when it was decided, in ms since 1970.
        group: key of its group; "" for a digest of several.
        number: of the notification in its group, or of the digest.
        sent: alerts that it shows for the first time.
        grouped: alerts that it tells by their number only.
        attempts: for whoever sends it; not stored.
    """

    id: str
    sink: str
    notification: Notification
    since_ms: int
    group: str
    number: int
    sent: int
    grouped: int
    attempts: int = 0


class StoredMember(msgspec.Struct, array_like=True):
    """A :class:`Member`; ``raw`` is empty if the record has an entry of its own."""

    fingerprint: str
    raw: bytes
    tenant: str
    starts_ms: int
    seen_ms: int
    count: int
    pending: int
    news: bool
    told_rank: int
    told_id: str
    hidden: Hidden
    acked_by: str
    slot: int


class StoredRecord(msgspec.Struct, array_like=True):
    """The record of a member that has an entry of its own."""

    fingerprint: str
    raw: bytes
    tenant: str


class StoredGroup(msgspec.Struct, array_like=True):
    """A :class:`Group`."""

    route: str
    way: str
    labels: dict[str, str]
    born: str
    number: int
    told_ms: int
    first_ms: int
    recheck_ms: int
    outstanding: str
    held_ms: int
    urgent: bool
    upto: dict[int, int]
    members: list[StoredMember]
    spare: StoredMember | None
    counted: dict[str, Counted]
    counted_news: list[str]
    counted_pending: int
    beyond: int
    latest_ms: int


def decode_alert(raw: bytes) -> Alert:
    """The alert of a record."""
    return _alerts.decode(raw)


def bounded(raw: bytes, alert: Alert, most: int) -> bytes:
    """The record, or that of the alert without what takes most of it.

    Args:
        raw: the record.
        alert: the same.
        most: bytes.
    """
    if len(raw) <= most:
        return raw
    # The key keeps what its labels are made of, so that they stay the same.
    key = {name: value if isinstance(value, (int, float)) else label_of(value) for name, value in alert.key.items()}
    short = msgspec.structs.replace(shorten(alert), key=key)
    found = encode(short)
    if len(found) > most:
        short = msgspec.structs.replace(short, rows=[])
        found = encode(short)
    if len(found) > most:
        found = encode(msgspec.structs.replace(short, payload={}))
    return found


def most_each(max_alerts: int) -> int:
    """Bytes of a record that is kept, so that a notification can be stored."""
    return max(LEAST_EACH, MOST_STORED // max_alerts)


def store_group(group: Group) -> Iterator[tuple[bytes, bytes]]:
    """Entries of a group that have changed, records before the group that refers to them."""
    key, members = group.place.key, group.members
    stored = []
    # In the order of the ranks: who is displaced next must be the same after a restart.
    for rank in members.ranks:
        for member in rank.values():
            if member.slot >= INLINE and member.fresh:
                record = StoredRecord(member.decision.fingerprint, member.raw, member.decision.tenant)
                yield record_key(key, member.slot), msgspec.msgpack.encode(record)
            member.fresh = False
            stored.append(_store_member(member, member.slot < INLINE))
    yield (
        f"g/{key}".encode(),
        msgspec.msgpack.encode(
            StoredGroup(
                group.place.route.id,
                group.place.way.name,
                group.place.labels,
                group.born,
                group.number,
                group.told_ms,
                group.first_ms,
                group.recheck_ms,
                group.outstanding,
                group.held_ms,
                group.urgent,
                group.upto,
                stored,
                None if members.spare is None else _store_member(members.spare, True),
                members.counted,
                sorted(members.counted_news),
                members.counted_pending,
                members.beyond,
                members.latest_ms,
            )
        ),
    )


def record_key(group: str, slot: int) -> bytes:
    """Of the entry of a record."""
    return f"r/{group}/{slot}".encode()


def decode_record(entry: bytes) -> StoredRecord:
    """The record of an entry."""
    return msgspec.msgpack.decode(entry, type=StoredRecord)


def _store_member(member: Member, inline: bool) -> StoredMember:
    return StoredMember(
        member.decision.fingerprint,
        member.raw if inline else b"",
        member.decision.tenant,
        member.starts_ms,
        member.seen_ms,
        member.count,
        member.pending,
        member.news,
        member.told_rank,
        member.told_id,
        member.hidden,
        member.acked_by,
        member.slot,
    )


def decode_group(entry: bytes) -> StoredGroup:
    """What is stored of a group."""
    return msgspec.msgpack.decode(entry, type=StoredGroup)


def encode_delivery(delivery: Delivery) -> bytes:
    """The entry of a delivery."""
    return msgspec.msgpack.encode(delivery)


def decode_delivery(entry: bytes) -> Delivery:
    """The delivery of an entry."""
    return msgspec.msgpack.decode(entry, type=Delivery)
