"""One input of a join that keeps its rows: groups of rows by key, as they are held and stored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from anomaly_app.changes import hashable
from anomaly_app.errors import StateError
from anomaly_app.expressions.typed import Environment
from anomaly_app.keyed import KeyedState, ValueCodec
from anomaly_app.operators import COLUMNS, POSITION, TIME, Layout, Row
from anomaly_app.patterns.state import RowCodec
from anomaly_app.schema import APPROXIMATE, CHANGE, Column, Kind

FEW = 16
"""Rows of a group that are looked through one by one to find one of them."""

_NESTED = frozenset({Kind.ARRAY, Kind.MAP, Kind.ROW})


class Group(list[Row]):
    """The rows of one key, in order of arrival as long as none has been taken back.

    Attributes:
        stored: how many rows were stored.
        clean: below this place all rows stand as they were stored, but for those that are rewritten.
        rewritten: places below that where another row stands now.
        used: time of the latest row, in ms.
        met: how many rows of the other side each row has met; None where that is not known (yet).
        unsure: of how many it is not known whether it meets them.
        members: where rows stand, by the value of one of their columns; None as long as nobody has asked.
        places: where rows stand, by what they are; None as long as there are few.
    """

    __slots__ = ("clean", "members", "met", "places", "rewritten", "stored", "unsure", "used")

    def __init__(self) -> None:
        super().__init__()
        self.stored = self.clean = 0
        self.used = 0
        self.rewritten: set[int] | None = None
        self.met: list[int] | None = None
        self.unsure: list[int] | None = None
        self.members: tuple[int, dict[Any, list[int]]] | None = None
        self.places: dict[Any, list[int]] | None = None

    def put(self, row: Row, identity: Callable[[Row], Any] | None) -> int:
        """Take a row; gives its place.

        Args:
            row: the row.
            identity: what tells rows apart; None where none is taken back.
        """
        place = len(self)
        self.append(row)
        if row[TIME] > self.used or not place:
            self.used = row[TIME]
        if self.places is not None and identity is not None:
            self.places.setdefault(identity(row), []).append(place)
        if self.members is not None:
            index, known = self.members
            known.setdefault(row[index], []).append(place)
        return place

    def by_member(self, index: int) -> Mapping[Any, Sequence[int]]:
        """Where rows stand, by the value of the column at an index, which is always the same."""
        if self.members is None:
            known: dict[Any, list[int]] = {}
            for place, row in enumerate(self):
                known.setdefault(row[index], []).append(place)
            self.members = index, known
        return self.members[1]

    def find(self, row: Row, identity: Callable[[Row], Any]) -> int:
        """Where a row like this one stands; -1 if none does."""
        wanted = identity(row)
        if self.places is None:
            if len(self) <= FEW:
                for place in range(len(self) - 1, -1, -1):
                    if identity(self[place]) == wanted:
                        return place
                return -1
            self.places = {}
            for place, one in enumerate(self):
                self.places.setdefault(identity(one), []).append(place)
        found = self.places.get(wanted)
        return found[-1] if found else -1

    def take(self, place: int, identity: Callable[[Row], Any] | None) -> Row:
        """Take a row away; the last one moves to its place."""
        row, last = self[place], self.pop()
        end = len(self)
        if self.places is not None and identity is not None:
            _move(self.places, identity(row), place, identity(last), end)
        if self.members is not None:
            index, known = self.members
            _move(known, row[index], place, last[index], end)
        self.clean = min(self.clean, end)
        if place < end:
            self[place] = last
            if place < self.clean:
                if self.rewritten is None:
                    self.rewritten = set()
                self.rewritten.add(place)
        for counts in (self.met, self.unsure):
            if counts is not None:
                count = counts.pop()
                if place < end:
                    counts[place] = count
        return row


def _move(places: dict[Any, list[int]], gone: Any, place: int, moved: Any, end: int) -> None:
    """What stood at a place has gone, and what stood at the end stands there now."""
    own = places[gone]
    own.remove(place)
    if not own:
        del places[gone]
    if place != end:
        others = places[moved]
        others[others.index(end)] = place


class GroupCodec(ValueCodec[Group]):
    """Groups as bytes: the first row with the number of rows, each further row as a part of its own.

    Args:
        layout: of the rows.
        reads: names of the columns that somebody needs.
    """

    def __init__(self, layout: Layout, reads: Collection[str]) -> None:
        self._rows = RowCodec(layout, reads)

    def encode(self, value: Group) -> bytes:
        """Time of the last use, number of rows, first row."""
        return _HEAD_ENCODER.encode(_Head(value.used, len(value), self._rows.encode(value[0])))

    def decode(self, data: bytes, parts: Mapping[int, bytes]) -> Group:
        """And back."""
        head = _head(data)
        group = Group()
        group.append(self._rows.decode(head.row))
        for place in range(1, head.rows):
            group.append(self._rows.decode(parts[place]))
        group.stored = group.clean = head.rows
        group.used = head.used
        return group

    def changed_parts(self, value: Group) -> Mapping[int, bytes | None]:
        """Rows that are new or stand elsewhere now."""
        count = len(value)
        changed: dict[int, bytes | None] = {place: None for place in range(max(count, 1), value.stored)}
        places = [*range(max(value.clean, 1), count), *(place for place in value.rewritten or () if 0 < place < count)]
        for place in places:
            changed[place] = self._rows.encode(value[place])
        value.stored = value.clean = count
        value.rewritten = None
        return changed

    def stored_parts(self, value: Group) -> Collection[int]:
        """All but the first row."""
        return range(1, value.stored)

    def parts_of(self, data: bytes) -> Collection[int]:
        """The same, of what was stored."""
        return range(1, _head(data).rows)

    def used_at(self, value: Group) -> int:
        """Time of the latest row."""
        return value.used

    def was_used_at(self, data: bytes) -> int:
        """The same, of what was stored."""
        return _head(data).used


class _Head(msgspec.Struct, array_like=True):
    used: int
    rows: int
    row: bytes


_HEAD_ENCODER = msgspec.msgpack.Encoder()
_HEAD_DECODER = msgspec.msgpack.Decoder(_Head)


def _head(data: bytes) -> _Head:
    try:
        return _HEAD_DECODER.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise StateError(f"stored rows of a key are unreadable: {error}") from error


@dataclass(frozen=True, slots=True)
class SidePlan:
    """One input of a join.

    Args:
        layout: of its rows.
        reads: names of the columns that somebody needs: the others are not stored.
        keys: columns of the key.
        key_of: the key of a row: one value, or a tuple of several or none.
        meets_nothing: whether rows of a key meet no other, since it has a NULL; None if NULLs meet.
        change: index of the kind of change in a row; 0 if its rows are never taken back.
        outer: a row that meets none is given, too.
    """

    layout: Layout
    reads: frozenset[str]
    keys: tuple[Column, ...]
    key_of: Callable[[Row], Any]
    meets_nothing: Callable[[Any], bool] | None
    change: int
    outer: bool

    @property
    def width(self) -> int:
        """Of a row, without what stands behind the columns."""
        return COLUMNS + len(self.layout.columns)


class Side:
    """The rows of one input at work.

    Args:
        plan: of the input.
        ttl_ms: after which a key whose rows did not come any more is dropped; None for never.
    """

    def __init__(self, plan: SidePlan, ttl_ms: int | None) -> None:
        self.plan = plan
        self.store: KeyedState[Group] = KeyedState(plan.keys, GroupCodec(plan.layout, plan.reads), ttl_ms=ttl_ms)
        self.identity = identity_of(plan.layout, plan.reads) if plan.change else None
        self._expires = ttl_ms is not None
        self._touched: set[Any] = set()

    def group(self, key: Any, now: int) -> Group | None:
        """The rows of a key, which has been fetched; None if there are none.

        Args:
            key: the key.
            now: time of the row that asks, in ms.
        """
        group = self.store.live.get(key)
        if self._expires and group is not None and self.store.has_expired(group, now):
            self.store.delete(key)
            return None
        return group

    def add(self, key: Any, group: Group | None, row: Row) -> Group:
        """Take a row into the group of its key."""
        if group is None:
            group = Group()
            group.put(row, self.identity)
            self.store.put(key, group)
        else:
            group.put(row, self.identity)
            self._touched.add(key)
        return group

    def remove(self, key: Any, group: Group, place: int) -> Row:
        """Take a row out of the group of its key."""
        row = group.take(place, self.identity)
        if group:
            self._touched.add(key)
        else:
            # Parts that are stored are found by the value when it goes.
            self.store.delete(key)
        return row

    def use(self, key: Any, group: Group, row: Row) -> None:
        """Note that a row of a key has come which is not kept."""
        if self._expires and row[TIME] > group.used:
            group.used = row[TIME]
            self._touched.add(key)

    def drop(self, key: Any) -> None:
        """Drop the rows of a key, of which there are some."""
        self.store.delete(key)

    def flush(self, watermark: int) -> None:
        """Behind a step: say what has been changed, and drop what has expired."""
        if self._touched:
            self.store.touch(self._touched)
            self._touched = set()
        if self._expires:
            self.store.sweep(watermark)


def identity_of(layout: Layout, reads: Collection[str]) -> Callable[[Row], Any]:
    """What tells rows apart of which one is taken back by its values: those of the columns that somebody needs."""
    env, parts = Environment(), []
    for index, column in enumerate(layout.columns, COLUMNS):
        if column.name not in reads or column.name == CHANGE:
            continue
        if column.type.kind in APPROXIMATE:  # NaN is itself
            parts.append(f"row[{index}] if row[{index}] == row[{index}] else 'NaN'")
        elif column.type.kind in _NESTED:
            parts.append(f"{env.use(hashable)}(row[{index}])")
        else:
            parts.append(f"row[{index}]")
    identity: Callable[[Row], Any] = env.function(
        "identity", f"def identity(row):\n    return ({''.join(part + ', ' for part in parts)})"
    )
    return identity


def in_order_of_arrival(
    left: Sequence[Row], left_keys: Sequence[Any], right: Sequence[Row], right_keys: Sequence[Any]
) -> list[tuple[int, Any, Row]]:
    """The rows of both sides, as number of the side, key and row: those of one side stay in their order."""
    if not right:
        return [(0, key, row) for key, row in zip(left_keys, left, strict=True)]
    if not left:
        return [(1, key, row) for key, row in zip(right_keys, right, strict=True)]
    found: list[tuple[int, Any, Row]] = []
    place, end = 0, len(right)
    for key, row in zip(left_keys, left, strict=True):
        position = row[POSITION]
        while place < end and right[place][POSITION] < position:
            found.append((1, right_keys[place], right[place]))
            place += 1
        found.append((0, key, row))
    found += [(1, key, row) for key, row in zip(right_keys[place:], right[place:], strict=True)]
    return found


def has_null(key: Any) -> bool:
    """Whether a value of a key, which is one value or a tuple, is NULL."""
    return key is None or (type(key) is tuple and None in key)


def origin_of_pair(left: Row, left_width: int, right: Row, right_width: int) -> tuple[Any, ...]:
    """The origin of a row made of two: that of both, and where the last of them stands.

    Args:
        left: one row.
        left_width: of it, without what stands behind the columns.
        right: the other.
        right_width: of it.
    """
    path: tuple[Any, ...] = ()
    places = []
    for row, width in ((left, left_width), (right, right_width)):
        behind = row[width:]
        if len(behind) == 1:
            own, *place = behind[0]
            path += tuple(own)
        else:
            place = [row[POSITION], *behind]
        path += (place[0],)
        places.append(place)
    return (path, *max(places, key=lambda place: place[0]))
