"""One input of a join that keeps its rows: groups of rows by key, as they are held and stored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

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


class _More:
    """What is known of a group beside its rows.

    Attributes:
        met: how many rows of the other side each row has met.
        unsure: of how many it is not known whether it meets them.
        rewritten: clean places where another row stands than is stored.
        places: where rows stand, by what they are.
        members: where rows stand, by the value of one of their columns, and the index of that.
    """

    __slots__ = ("members", "met", "places", "rewritten", "unsure")

    def __init__(self) -> None:
        self.met: list[int] | None = None
        self.unsure: list[int] | None = None
        self.rewritten: set[int] = set()
        self.places: dict[Any, list[int]] | None = None
        self.members: tuple[int, dict[Any, list[int]]] | None = None


class Group(list[Row]):
    """The rows of one key, in order of arrival as long as none has been taken back. Most have one row: it is small.

    Args:
        row: the first.

    Attributes:
        stored: how many rows were stored.
        clean: below this place all rows stand as they were stored, but for those that are rewritten.
        used: time of the latest row, in ms.
    """

    __slots__ = ("_more", "clean", "stored", "used")

    def __init__(self, row: Row) -> None:
        super().__init__((row,))
        self.stored = self.clean = 0
        self.used: int = row[TIME]
        self._more: _More | None = None

    @property
    def more(self) -> _More:
        """What is known beside the rows."""
        if self._more is None:
            self._more = _More()
        return self._more

    @property
    def met(self) -> list[int] | None:
        """How many rows of the other side each row has met; None if that is not known (yet)."""
        return self._more.met if self._more is not None else None

    @property
    def rewritten(self) -> Collection[int]:
        """Clean places where another row stands than is stored."""
        return self._more.rewritten if self._more is not None else ()

    def put(self, row: Row, identity: Callable[[Row], Any] | None) -> None:
        """Take a row.

        Args:
            row: the row.
            identity: what tells rows apart; None where none is taken back.
        """
        place = len(self)
        self.append(row)
        if row[TIME] > self.used:
            self.used = row[TIME]
        more = self._more
        if more is None:
            return
        if more.places is not None and identity is not None:
            more.places.setdefault(identity(row), []).append(place)
        if more.members is not None:
            index, known = more.members
            known.setdefault(row[index], []).append(place)

    def by_member(self, index: int) -> Mapping[Any, Sequence[int]]:
        """Where rows stand, by the value of the column at an index, which is always the same."""
        more = self.more
        if more.members is None:
            known: dict[Any, list[int]] = {}
            for place, row in enumerate(self):
                known.setdefault(row[index], []).append(place)
            more.members = index, known
        return more.members[1]

    def find(self, row: Row, identity: Callable[[Row], Any]) -> int:
        """Where a row like this one stands; -1 if none does."""
        wanted, more = identity(row), self._more
        if len(self) <= FEW and (more is None or more.places is None):
            for place in range(len(self) - 1, -1, -1):
                if identity(self[place]) == wanted:
                    return place
            return -1
        more = self.more
        if more.places is None:
            more.places = {}
            for place, one in enumerate(self):
                more.places.setdefault(identity(one), []).append(place)
        found = more.places.get(wanted)
        return found[-1] if found else -1

    def take(self, place: int, identity: Callable[[Row], Any] | None) -> Row:
        """Take a row away; the last one moves to its place."""
        row, last = self[place], self.pop()
        end = len(self)
        self.clean = min(self.clean, end)
        if place < end:
            self[place] = last
            if place < self.clean:
                self.more.rewritten.add(place)
        more = self._more
        if more is None:
            return row
        if more.places is not None and identity is not None:
            _move(more.places, identity(row), place, identity(last), end)
        if more.members is not None:
            index, known = more.members
            _move(known, row[index], place, last[index], end)
        for counts in (more.met, more.unsure):
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


Kept: TypeAlias = "Group | Row"
"""What is kept of a key: a group, or its only row as it is, which takes less memory."""


class GroupCodec(ValueCodec[Kept]):
    """Groups as bytes: the first row with the number of rows, each further row as a part of its own.

    Args:
        layout: of the rows.
        reads: names of the columns that somebody needs.
    """

    def __init__(self, layout: Layout, reads: Collection[str]) -> None:
        self._rows = RowCodec(layout, reads)

    def encode(self, value: Kept) -> bytes:
        """Time of the last use, number of rows, first row."""
        if not isinstance(value, Group):
            return _HEAD_ENCODER.encode(_Head(value[TIME], 1, self._rows.encode(value)))
        return _HEAD_ENCODER.encode(_Head(value.used, len(value), self._rows.encode(value[0])))

    def decode(self, data: bytes, parts: Mapping[int, bytes]) -> Kept:
        """And back."""
        head = _head(data)
        row = self._rows.decode(head.row)
        if head.rows == 1 and head.used == row[TIME]:
            return row
        group = Group(row)
        for place in range(1, head.rows):
            group.append(self._rows.decode(parts[place]))
        group.stored = group.clean = head.rows
        group.used = head.used
        return group

    def changed_parts(self, value: Kept) -> Mapping[int, bytes | None]:
        """Rows that are new or stand elsewhere now."""
        if not isinstance(value, Group):
            return {}
        count = len(value)
        changed: dict[int, bytes | None] = {place: None for place in range(max(count, 1), value.stored)}
        places = [*range(max(value.clean, 1), count), *(place for place in value.rewritten if 0 < place < count)]
        for place in places:
            changed[place] = self._rows.encode(value[place])
        value.stored = value.clean = count
        if value.rewritten:
            value.more.rewritten = set()
        return changed

    def stored_parts(self, value: Kept) -> Collection[int]:
        """All but the first row."""
        return range(1, value.stored) if isinstance(value, Group) else ()

    def parts_of(self, data: bytes) -> Collection[int]:
        """The same, of what was stored."""
        return range(1, _head(data).rows)

    def used_at(self, value: Kept) -> int:
        """Time of the latest row."""
        used: int = value.used if isinstance(value, Group) else value[TIME]
        return used

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
        self.store: KeyedState[Kept] = KeyedState(plan.keys, GroupCodec(plan.layout, plan.reads), ttl_ms=ttl_ms)
        self.identity = identity_of(plan.layout, plan.reads) if plan.change else None
        self._expires = ttl_ms is not None
        self._touched: set[Any] = set()

    def group(self, key: Any, now: int) -> Group | None:
        """The rows of a key, which has been fetched; None if there are none.

        Args:
            key: the key.
            now: time of the row that asks, in ms.
        """
        kept = self.store.live.get(key)
        if kept is None:
            return None
        if self._expires and self.store.has_expired(kept, now):
            self.store.delete(key)
            return None
        if isinstance(kept, Group):
            return kept
        group = Group(kept)
        group.stored = group.clean = 1  # it has no parts
        return group

    def add(self, key: Any, group: Group | None, row: Row) -> None:
        """Take a row into the group of its key; the first is kept as it is."""
        if group is None:
            self.store.put(key, row)
        else:
            group.put(row, self.identity)
            self.keep(key, group)

    def keep(self, key: Any, group: Group) -> None:
        """Keep a group, with what has been found out about it."""
        if self.store.live.get(key) is group:
            self._touched.add(key)
        else:
            self.store.put(key, group)

    def remove(self, key: Any, group: Group, place: int) -> Row:
        """Take a row out of the group of its key."""
        row = group.take(place, self.identity)
        if group:
            self.keep(key, group)
        else:  # parts that are stored are found by the value when it goes
            self.store.delete(key)
        return row

    def use(self, key: Any, group: Group, row: Row) -> None:
        """Note that a row of a key has come which is not kept."""
        if self._expires and row[TIME] > group.used:
            group.used = row[TIME]
            self.keep(key, group)

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
    a, b = left[left_width:], right[right_width:]
    if len(a) != 1 and len(b) != 1:  # rows of sources
        one, other = left[POSITION], right[POSITION]
        return ((one, other), one, *a) if one >= other else ((one, other), other, *b)
    path, *place = _origin(left, a)
    more, *others = _origin(right, b)
    joined = (*path, place[0], *more, others[0])
    return (joined, *place) if place[0] >= others[0] else (joined, *others)


def _origin(row: Row, behind: tuple[Any, ...]) -> tuple[Any, ...]:
    """The path of a row, which is () for one of a source, and where it stands."""
    origin: tuple[Any, ...] = behind[0] if len(behind) == 1 else ((), row[POSITION], *behind)
    return origin
