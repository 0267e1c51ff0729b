"""Temporal join: each row of the left with the version that a row of a table had at its time.

A row of the left waits until the watermark of both inputs has passed its time: then all versions up to it are there. A
row that is late sees what is left: of each key the last version at or before the watermark, and later ones.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from anomaly_app.changes import Change
from anomaly_app.errors import StateError
from anomaly_app.expressions.typed import FAILURES
from anomaly_app.graph.stretches import Stretches
from anomaly_app.graph.vertices import Entries, Flow, Vertex
from anomaly_app.operators import COLUMNS, MIN_WATERMARK, TIME, Layout, Row
from anomaly_app.patterns.state import KeyCodec, RowCodec
from anomaly_app.schema import Column

WAITING, VERSION, TOUCHED = b"a", b"b", b"t"
"""Begin the entries: of rows of the left, of versions, and of the time of the last row of a key."""

ALIVE, DELETED = b"p", b"t"
"""Begin the value of a version."""

_STRETCH_MS = 1_000
_FRESH = 10_000
"""So many rows wait to be stored before it is asked whether they are held still."""

Probe: TypeAlias = tuple[int, int, Row]
"""Time of a row of the left, its number in order of arrival, and the row."""

Version: TypeAlias = tuple[int, int, Row, bool]
"""Time of a version, its number in order of arrival, the row, and whether it is one: False is a deletion."""

Join: TypeAlias = Callable[
    [list[Probe], int, dict[Any, list[Version]], dict[Any, int], list[Row], Callable[[Exception, Row], None]], list[Any]
]
"""(rows of the left in order of time, watermark in front of them, versions of each key in order of time, by key the
time of the last row that was joined, list for the rows that come of them, what to do with an error) to keys whose time
is another one. Generated."""


@dataclass(frozen=True, slots=True)
class TemporalJoinPlan:
    """A temporal join for rows of two layouts.

    Args:
        left: layout of the rows that are joined.
        left_reads: columns of them that somebody needs: the others are not stored.
        change: index of the kind of change in a row of the right; None where all are insertions.
        version: from such a row to a version; None if a filter leaves it out.
        deletion: from such a row to a version that has the key only.
        right: layout of the versions.
        right_reads: columns of them that somebody needs.
        key_of: the key of a version: one value, or a tuple of several.
        keys: columns of the key.
        join: generated.
        ttl_ms: after which the versions of a key without rows are dropped; None for never.
    """

    left: Layout
    left_reads: Collection[str]
    change: int | None
    version: Callable[[Row], Row | None]
    deletion: Callable[[Row], Row]
    right: Layout
    right_reads: Collection[str]
    key_of: Callable[[Row], Any]
    keys: tuple[Column, ...]
    join: Join
    ttl_ms: int | None


class TemporalJoinRows(Vertex):
    """Holds rows of the left until their time has come, and versions that one may still ask for.

    Args:
        plan: of the query.
    """

    def __init__(self, plan: TemporalJoinPlan) -> None:
        super().__init__(COLUMNS + len(plan.left.columns))
        self._plan = plan
        self._reached = MIN_WATERMARK
        self._waiting = Stretches[Probe](_STRETCH_MS)
        self._probes: list[Probe] = []
        """Rows of the left that are to be stored, and perhaps some that do not wait any more."""
        self._room = _FRESH
        self._since = 0
        """Number of the first row of the left that has come since the watermark moved: it waits though it be late."""
        self._versions: dict[Any, list[Version]] = {}
        self._fresh: dict[int, Version] = {}
        """Versions that are to be stored."""
        self._over = Stretches[tuple[int, Any]](_STRETCH_MS)
        """Keys that have something to forget when the watermark has passed a time."""
        self._touched: dict[Any, int] = {}
        """Time of the last row of the left of a key, if that counts."""
        self._touched_now: set[Any] = set()
        self._gone: list[bytes] = []
        self._next = [0, 0]
        self._stored = [0, 0]
        self._codecs = RowCodec(plan.left, plan.left_reads), RowCodec(plan.right, plan.right_reads)
        self._keys = KeyCodec(plan.keys)

    def run(self, flows: Sequence[Flow]) -> Flow:
        """Take rows of both sides, and join those of the left whose time has come."""
        (left, low), (right, high) = flows
        if right:
            self._take_versions(right)
        if left:
            first = self._next[0]
            probes = [(row[TIME], number, row) for number, row in enumerate(left, first)]
            self._waiting.extend(probes)
            self._probes += probes
            self._next[0] = first + len(left)
        watermark = low if low < high else high
        found: list[Row] = []
        if watermark > self._reached:
            ready = self._waiting.take(watermark + 1)
            if ready:
                self._join(ready, found)
            self._reached, self._since = watermark, self._next[0]
            if len(self._probes) > self._room:  # nobody stores them
                self._probes = self._held_probes()
                self._room = max(_FRESH, 2 * len(self._probes))
            self._forget()
        return Flow(found, watermark)

    def _take_versions(self, rows: Sequence[Row]) -> None:
        plan, number, change = self._plan, self._next[1], self._plan.change
        for row in rows:
            kind = Change.INSERT.value if change is None else row[change]
            if kind == Change.BEFORE:
                continue  # the row behind the update says what there is from then on
            try:
                version = plan.version(row) if kind != Change.DELETE else None
            except FAILURES as error:
                self.fail(error, row, 1)
                continue
            self._hold((row[TIME], number, version or plan.deletion(row), version is not None))
            number += 1
        self._next[1] = number

    def _hold(self, version: Version) -> None:
        time, number, row, is_alive = version
        key = self._plan.key_of(row)
        if key is None or (type(key) is tuple and None in key):
            return  # it equals no key
        held = self._versions.get(key)
        if held is None:
            self._versions[key] = [version]
            if not is_alive:
                self._over.add((time, key))
        elif time > held[-1][0]:
            held.append(version)
            self._over.add((time, key))
        else:
            place = bisect_left(held, (time,))
            if held[place][0] == time:
                self._drop(held[place])
                held[place] = version
            elif held[place][0] <= self._reached:
                return  # a later version stands already, at or before the watermark
            else:
                held.insert(place, version)
                self._over.add((held[place + 1][0], key))  # it is forgotten when the next one holds
            self._over.add((time, key))
        self._fresh[number] = version
        if self._plan.ttl_ms is not None:
            self._over.add((time + self._plan.ttl_ms + 1, key))

    def _join(self, ready: list[Probe], found: list[Row]) -> None:
        ready.sort()
        plan = self._plan
        for key in plan.join(ready, self._reached, self._versions, self._touched, found, self.fail):
            assert plan.ttl_ms is not None
            self._over.add((self._touched[key] + plan.ttl_ms + 1, key))
            self._touched_now.add(key)
        stored = self._stored[0]
        if stored:
            self._gone += [WAITING + number.to_bytes(8, "big") for _, number, _ in ready if number < stored]

    def _held_probes(self) -> list[Probe]:
        reached, since = self._reached, self._since
        return [probe for probe in self._probes if probe[0] > reached or probe[1] >= since]

    # --- what is forgotten ----------------------------------------------------------------------------

    def _forget(self) -> None:
        """Of each key all but the last version at or before the watermark; that one too if it is a deletion."""
        reached, versions = self._reached, self._versions
        for key in dict.fromkeys(key for _, key in self._over.take(reached + 1)):
            held = versions.get(key)
            if held is None:
                continue
            over = bisect_left(held, (reached + 1,)) - 1
            if over >= 0 and (not held[over][3] or self._is_silent(key, held[over][0])):
                over += 1
            for version in held[: max(over, 0)]:
                self._drop(version)
            if over >= len(held):
                del versions[key]
                if self._touched.pop(key, None) is not None:
                    self._touched_now.add(key)
            elif over > 0:
                del held[:over]

    def _is_silent(self, key: Any, time: int) -> bool:
        """Whether a version of a time is dropped: no row has come for its key for long."""
        ttl = self._plan.ttl_ms
        return ttl is not None and max(time, self._touched.get(key, time)) + ttl < self._reached

    def _drop(self, version: Version) -> None:
        if self._fresh.pop(version[1], None) is None:
            self._gone.append(VERSION + version[1].to_bytes(8, "big"))

    # --- state ----------------------------------------------------------------------------------------

    def changes(self) -> Entries:
        """Rows that came or went."""
        left, right = self._codecs
        gone, self._gone = self._gone, []
        for name in gone:
            yield name, None
        for _, number, row in self._held_probes():
            yield WAITING + number.to_bytes(8, "big"), left.encode(row)
        for number, (_, _, row, is_alive) in self._fresh.items():
            yield VERSION + number.to_bytes(8, "big"), (ALIVE if is_alive else DELETED) + right.encode(row)
        self._probes, self._fresh, self._stored = [], {}, list(self._next)
        touched, self._touched_now = self._touched_now, set()
        for key in touched:
            time = self._touched.get(key)
            values = key if len(self._plan.keys) != 1 else (key,)
            name = TOUCHED + self._keys.encode(values)
            yield name, None if time is None else time.to_bytes(8, "big", signed=True)

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back the rows that were held."""
        left, right = self._codecs
        for name, value in sorted(entries):
            kind, number = name[:1], int.from_bytes(name[1:], "big")
            if kind == WAITING:
                row = left.decode(value)
                self._waiting.add((row[TIME], number, row))
                self._next[0] = self._stored[0] = number + 1
            elif kind == VERSION:
                row = right.decode(value[1:])
                self._hold((row[TIME], number, row, value[:1] == ALIVE))
                self._next[1] = self._stored[1] = number + 1
            elif kind == TOUCHED and self._plan.ttl_ms is not None:
                values = self._keys.decode(name[1:])
                key, time = values if len(values) != 1 else values[0], int.from_bytes(value, "big", signed=True)
                self._touched[key] = time
                self._over.add((time + self._plan.ttl_ms + 1, key))
            elif kind != TOUCHED:
                raise StateError(f"an entry of another kind of state: {name!r}")
        self._fresh.clear()

    def resume(self, watermarks: Sequence[int]) -> int:
        """Rows behind the watermark are late again."""
        self._reached = super().resume(watermarks)
        return self._reached
