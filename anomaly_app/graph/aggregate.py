"""GROUP BY without a window: groups that are told whenever they change, once for each step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import GenericAlias
from typing import Any

import msgspec

from anomaly_app.changes import Change
from anomaly_app.errors import StateError
from anomaly_app.expressions.typed import FAILURES
from anomaly_app.graph.vertices import Flow, Vertex, origin_of
from anomaly_app.keyed import UNKNOWN, KeyedState, ValueCodec
from anomaly_app.operators import COLUMNS, MIN_WATERMARK, POSITION, TIME, Layout, Row
from anomaly_app.schema import Column
from anomaly_app.windows.tallies import EXACT, LAST, PLACES, ROWS, STORED, USED, Group, TallyProgram

PART_BYTES = 200_000
"""Of a part of a collection, about: a record of a changelog holds no more than 1 MiB."""
FEW_PARTS, MANY_PARTS = 64, 1_024
"""A group with few parts is left as it is; one with many is written anew, and in between if that is not much more than
what was added."""

_FIRST, _SECOND = (0,), (1,)
_INSERT, _BEFORE, _AFTER, _DELETE = (change.value for change in Change)

Finish = Callable[[Group, Any], "tuple[Any, ...] | None"]
"""From a group and its key to the values of the result; None if a condition does not hold."""


@dataclass(frozen=True, slots=True)
class AggregatePlan:
    """Groups of one query, for rows of one layout.

    Args:
        layout: of the rows.
        change: index of the kind of change in a row; None if rows are never taken back.
        program: of the groups.
        finish: to the result.
        key_of: the key of a row.
        keys: columns that key it.
        updates: the rows of the result say what they change; else each group is told once.
        ttl_ms: a group that gets no row for longer may be dropped; None for never.
    """

    layout: Layout
    change: int | None
    program: TallyProgram
    finish: Finish
    key_of: Callable[[Row], Any]
    keys: tuple[Column, ...]
    updates: bool
    ttl_ms: int | None


class ChangingGroups(Vertex):
    """Groups by key; each that a step changes takes its old row back and gives the new one.

    Args:
        plan: of the query.
    """

    def __init__(self, plan: AggregatePlan) -> None:
        super().__init__(COLUMNS + len(plan.layout.columns))
        self._plan = plan
        self.groups: KeyedState[Group] = KeyedState(plan.keys, GroupCodec(plan.program), ttl_ms=plan.ttl_ms)
        self.stores = (self.groups,)
        self._touched: dict[Any, Group] = {}
        """The groups that this step touches."""
        self._before: list[tuple[Any, ...] | None] = []
        """What was told of each of them, in their order."""
        self._found: list[Row] = []
        self._begin = self._beginner()
        self._collections = [place.index for place in plan.program.collections]

    def run(self, flows: Sequence[Flow]) -> Flow:
        """Take rows into groups, and tell what has changed."""
        ((rows, watermark),) = flows
        if not rows:
            self.groups.sweep(watermark)
            return Flow((), watermark)
        plan, groups, touched = self._plan, self.groups, self._touched
        if groups.has_backing:
            groups.prefetch(map(plan.key_of, rows))
        failed: list[tuple[Row, Exception]] = []
        # The first row may be behind the watermark: then it is as late as that. All others are in front of it.
        plan.program.step(rows, touched.get, self._begin, failed, self.watermark, plan.ttl_ms, self._again)
        for row, error in failed:
            self.fail(error, row)
        self._tell(touched, self._before)
        if not groups.is_stored:
            self._forget_changes(touched)
        touched.clear()
        self._before.clear()
        found, self._found = self._found, []
        groups.sweep(watermark)
        return Flow(found, watermark)

    def _beginner(self) -> Callable[..., Group | None]:
        """What the program does with a group that the step has not touched yet."""
        groups, finish, fresh = self.groups, self._plan.finish, self._plan.program.fresh
        change, expires = self._plan.change, self._plan.ttl_ms is not None
        live, touched, remember = groups.live.get, self._touched, self._before.append

        def begin(key: Any, row: Row, at: int = MIN_WATERMARK) -> Group | None:
            group = live(key)
            if group is not None and expires and groups.has_expired(group, at):
                groups.delete(key)
                self.counters.add("expired groups")
                group = None
            if group is not None:
                try:
                    remember(finish(group, key))
                except FAILURES:
                    remember(None)  # that was told when it failed
            elif change is not None and row[change] % 2:
                self.counters.add("rows of no group taken back")
                return None
            else:
                group = fresh()
                remember(None)
            touched[key] = group
            return group

        return begin

    def _again(self, key: Any) -> None:
        """A group has expired between two rows of a step: it is told, and another one begins."""
        before = self._before.pop(list(self._touched).index(key))
        self._tell({key: self._touched.pop(key)}, [before])
        if key in self.groups.live:
            self.groups.delete(key)
        self.counters.add("expired groups")

    def _tell(self, touched: Mapping[Any, Group], told: Sequence[tuple[Any, ...] | None]) -> None:
        """What the step has made of some groups, of which something was told before."""
        finish, width, updates = self._plan.finish, self.width, self._plan.updates
        tell, gone = self._found.append, []
        for (key, group), before in zip(touched.items(), told, strict=True):
            row, group[LAST] = group[LAST], None
            if group[ROWS]:
                try:
                    new = finish(group, key)
                except FAILURES as error:
                    self.fail(error, row)
                    new = None
            else:
                new = None
                gone.append(key)
            if new == before:
                continue
            at, place = row[TIME], row[POSITION]
            is_plain = len(row) == width  # a row of the source: its origin is its position
            if before is None:
                assert new is not None
                origin = (_FIRST, place) if is_plain else origin_of(row, width, 0)
                tell((at, place, *new, _INSERT, origin) if updates else (at, place, *new, origin))
                continue
            if not updates:
                continue
            origin = (_SECOND, place) if is_plain else origin_of(row, width, 1)
            if new is None:
                tell((at, place, *before, _DELETE, origin))
                continue
            tell((at, place, *before, _BEFORE, origin))
            tell((at, place, *new, _AFTER, (_FIRST, place) if is_plain else origin_of(row, width, 0)))
        self.groups.put_all(touched)
        for key in gone:
            self.groups.delete(key)

    def _forget_changes(self, touched: Mapping[Any, Group]) -> None:
        """What collections have noted for a state that nobody stores."""
        for index in self._collections:
            for group in touched.values():
                group[index].changes()


class GroupCodec(ValueCodec[Group]):
    """Groups as bytes; what their collections hold stands in parts, of which a flush writes those that are new.

    Args:
        program: of the groups.
    """

    def __init__(self, program: TallyProgram) -> None:
        self._fresh = program.fresh
        self._collections = program.collections
        self.in_parts = bool(self._collections)
        scalars = [place for place in program.places if place not in self._collections]
        self._indexes = [place.index for place in scalars]
        self._exact = [(place.index, EXACT[place.kind]) for place in scalars if place.kind in EXACT]
        self._plain = bool(not self._collections and not self._exact)
        self._encoder = msgspec.msgpack.Encoder()
        types = (int, int, tuple[int, int, int, int] | None, *(place.type for place in scalars))
        self._head: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(GenericAlias(tuple, types))
        self._parts: list[msgspec.msgpack.Decoder[Any]] = [
            msgspec.msgpack.Decoder(GenericAlias(list, (place.type,))) for place in self._collections
        ]

    def encode(self, value: Group) -> bytes:
        """All but the collections."""
        if self._plain:
            return self._encoder.encode(value[USED:])
        own = value[USED:PLACES] + [value[index] for index in self._indexes]
        for index, _ in self._exact:
            own[PLACES - USED + self._indexes.index(index)] = value[index].state()
        return self._encoder.encode(own)

    def decode(self, data: bytes, parts: Mapping[int, bytes]) -> Group:
        """And back."""
        used, rows, stored, *scalars = self._decoded(self._head, data)
        group = self._fresh()
        group[USED], group[ROWS], group[STORED] = used, rows, stored
        for index, state in zip(self._indexes, scalars, strict=True):
            group[index] = state
        for index, kind in self._exact:
            group[index] = kind.of(group[index])
        for number in sorted(parts):
            part = parts[number]
            group[self._collections[part[0]].index].take_back(self._decoded(self._parts[part[0]], part[1:]))
        return group

    @staticmethod
    def _decoded(decoder: msgspec.msgpack.Decoder[Any], data: bytes) -> Any:
        try:
            return decoder.decode(data)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise StateError(f"a stored group is unreadable: {error}") from error

    def changed_parts(self, value: Group) -> Mapping[int, bytes | None]:
        """What has come to the collections; everything, where that is better."""
        if not self._collections:
            return {}
        held = [value[place.index] for place in self._collections]
        first, end, written, added = value[STORED] or (0, 0, 0, 0)
        changes = [list(one.changes()) for one in held]
        added += sum(map(len, changes))
        parts: dict[int, bytes | None] = {}
        if not any(changes):
            return parts
        count = end - first
        if count >= MANY_PARTS or (count >= FEW_PARTS and 4 * added >= written):
            parts = dict.fromkeys(range(first, end))
            changes = [list(one.everything()) for one in held]
            first, written, added = end, sum(map(len, changes)), 0
        for number, new in enumerate(changes):
            for part in self._pieces(number, new):
                parts[end] = part
                end += 1
        value[STORED] = (first, end, written, added)
        return parts

    def _pieces(self, number: int, changes: list[Any]) -> Iterator[bytes]:
        """Changes of a collection as parts that are not too long."""
        if not changes:
            return
        data = self._encoder.encode(changes)
        if len(data) > PART_BYTES and len(changes) > 1:
            half = len(changes) // 2
            yield from self._pieces(number, changes[:half])
            yield from self._pieces(number, changes[half:])
        else:
            yield bytes([number]) + data

    def stored_parts(self, value: Group) -> Collection[int]:
        """Numbers of the parts that stand."""
        return range(*value[STORED][:2]) if value[STORED] is not None else ()

    def parts_of(self, data: bytes) -> Collection[int]:
        """Numbers of the parts behind stored bytes."""
        if not self._collections:
            return ()
        stored = self._decoded(self._head, data)[2]
        return range(*stored[:2]) if stored is not None else ()

    def used_at(self, value: Group) -> int:
        """Time of the last row that came for a group."""
        return UNKNOWN if value[USED] == MIN_WATERMARK else int(value[USED])

    def was_used_at(self, data: bytes) -> int:
        """The same, of stored bytes."""
        used = self._decoded(self._head, data)[0]
        return UNKNOWN if used == MIN_WATERMARK else int(used)
