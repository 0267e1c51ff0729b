"""How the state of a pattern operator survives: with the source as the log, or with its rows stored.

:class:`LogStore` serves patterns with WITHIN. Held rows are not stored, since the source can be read again; what rows
cannot tell again is: how far matches have consumed the rows of a key. :class:`RowStore` serves the others: each row
is stored once and deleted once, and a small mark is written with each match.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from anomaly_app.errors import StateError
from anomaly_app.operators import TIME, Row
from anomaly_app.patterns.compiled import CompiledRule
from anomaly_app.patterns.state import KEY, NEEDED, ROW, KeyCodec, KeyMark, RowCodec, row_key, split_row_key

Entries = list[tuple[bytes, "bytes | None"]]


class _Store:
    """What both share."""

    def __init__(self, rule: CompiledRule, new: Callable[[Any], Any]) -> None:
        self.rule, self.new = rule, new
        self._rows = RowCodec(rule.layout, rule.reads)
        self._keys = KeyCodec(rule.checked.partition_by)

    @property
    def replays(self) -> bool:
        """The next rows are those of the past, fed again after a crash."""
        return False

    def replay(self, rows: Sequence[Row], keys: dict[Any, Any]) -> Sequence[Row]:
        """Of rows fed again, those that are still needed."""
        return rows

    def encode_key(self, key: Any) -> bytes:
        """A key as the operator knows it, as bytes."""
        return self._keys.encode((key,) if self.rule.single_key else key)

    def decode_key(self, data: bytes) -> Any:
        """A key as the operator knows it, from bytes."""
        values = self._keys.decode(data)
        return values[0] if self.rule.single_key else values


class LogStore(_Store):
    """Marks of keys that had matches, as long as rows before them may be fed again; and from when on that may be."""

    def __init__(self, rule: CompiledRule, new: Callable[[Any], Any]) -> None:
        super().__init__(rule, new)
        self._changed: dict[Any, tuple[int, Row, Row]] = {}
        self._times: dict[Any, int] = {}  # of the last row of each stored mark
        self._expiry: list[tuple[int, int, Any]] = []
        self._number = 0
        self._needed: int | None = None
        self._marks: dict[Any, KeyMark] | None = None

    def touch(self, key: Any) -> None:
        """Rows of a key came or went: nothing to store."""

    def consumed(self, state: Any) -> None:
        """A match was made; ``state.start`` is the next start."""
        row = state.rows[state.start - 1]
        last = state.start - 1
        if self.rule.tells_unmatched:
            last = max(last, state.covered - state.base - 1)
        self._changed[state.key] = (state.number, row, state.rows[last])

    def changes(self, needed: int) -> Entries:
        """Entries changed since the last call; rows with a time before ``needed`` are never wanted again."""
        entries: Entries = []
        for key, (number, row, last) in self._changed.items():
            covered = b"" if last is row else self._rows.encode(last)
            entries.append((KEY + self.encode_key(key), KeyMark(number, self._rows.encode(row), covered).encode()))
            self._note(key, last[TIME])
        self._changed.clear()
        if needed != self._needed:
            self._needed = needed
            entries.append((NEEDED, msgspec.msgpack.encode(needed)))
        if not self.rule.keeps_keys:
            entries += self._expired(needed)
        return entries

    def _note(self, key: Any, time: int) -> None:
        self._times[key] = time
        self._number += 1
        heapq.heappush(self._expiry, (time, self._number, key))

    def _expired(self, needed: int) -> Iterable[tuple[bytes, None]]:
        while self._expiry and self._expiry[0][0] < needed:
            time, _, key = heapq.heappop(self._expiry)
            if self._times.get(key) == time:
                del self._times[key]
                yield KEY + self.encode_key(key), None

    def restore(self, entries: Iterable[tuple[bytes, bytes]], keys: dict[Any, Any]) -> None:
        """Take back entries; the rows follow through :meth:`replay`."""
        self._marks = {}
        for entry, value in entries:
            if entry == NEEDED:
                self._needed = _decode_time(value)
            elif entry.startswith(KEY):
                key = self.decode_key(entry[1:])
                mark = self._marks[key] = KeyMark.decode(value)
                self._note(key, self._rows.decode(mark.covered or mark.row)[TIME])
                if self.rule.keeps_keys:
                    keys[key] = self.new(key)
                    keys[key].number = mark.number
            else:
                raise StateError(f"an entry of another kind of state: {entry!r}")

    @property
    def replays(self) -> bool:
        """The next rows are those of the past."""
        return self._marks is not None

    def replay(self, rows: Sequence[Row], keys: dict[Any, Any]) -> Sequence[Row]:
        """Leave out rows that no attempt needs: those before all open attempts, and those that matches consumed."""
        marks, needed, sequence = self._marks or {}, self._needed, self.rule.sequence
        self._marks = None
        places: dict[Any, tuple[Any, Any, int]] = {}
        for key, mark in marks.items():
            row = self._rows.decode(mark.row)
            covered = self._rows.decode(mark.covered) if mark.covered else row
            places[key] = (sequence(row), sequence(covered), mark.number)
        wanted: list[Row] = []
        for row in rows:
            if needed is not None and row[TIME] < needed:
                continue
            key = self.rule.key_of(row)
            place = places.get(key)
            if place is not None:
                here = sequence(row)
                if not place[0] < here:
                    continue
                state = keys.get(key)
                if state is None:
                    state = keys[key] = self.new(key)
                    state.number = place[2]
                if self.rule.tells_unmatched and not place[1] < here:
                    state.covered += 1
            wanted.append(row)
        return wanted


class RowStore(_Store):
    """Every held row under its key and sequence, and a mark of the key with each match."""

    def __init__(self, rule: CompiledRule, new: Callable[[Any], Any]) -> None:
        super().__init__(rule, new)
        self._touched: set[Any] = set()
        self._matched: set[Any] = set()
        self._marked: set[Any] = set()

    def touch(self, key: Any) -> None:
        """Rows of a key came or went."""
        self._touched.add(key)

    def consumed(self, state: Any) -> None:
        """A match was made."""
        self._matched.add(state.key)

    def changes(self, keys: dict[Any, Any]) -> Entries:
        """Entries changed since the last call."""
        rule = self.rule
        entries: Entries = []
        for key in self._touched:
            state = keys[key]
            name = self.encode_key(key)
            end = state.base + len(state.rows)
            first = min(max(state.base + state.start - rule.look_back, state.base), end)
            entries += [(row_key(name, number), None) for number in range(state.dropped, min(first, state.stored))]
            for number in range(max(first, state.stored), end):
                entries.append((row_key(name, number), self._rows.encode(state.rows[number - state.base])))
            state.dropped, state.stored = max(state.dropped, first), end
            forgotten = first == end and not rule.keeps_keys and not state.timer and not rule.look_back
            if forgotten:
                if key in self._marked:
                    self._marked.discard(key)
                    entries.append((KEY + name, None))
                del keys[key]
                continue
            start = state.base + state.start
            covered = state.covered if rule.tells_unmatched else 0
            # ^ must not take a later row for the first one, even if nothing is held any more.
            if key in self._matched or (rule.program.anchored and start and key not in self._marked):
                self._marked.add(key)
                entries.append((KEY + name, KeyMark(state.number, start=start, end=covered).encode()))
        self._touched.clear()
        self._matched.clear()
        return entries

    def restore(self, entries: Iterable[tuple[bytes, bytes]], keys: dict[Any, Any]) -> None:
        """Take back entries: all rows and marks."""
        rows: dict[bytes, list[tuple[int, bytes]]] = {}
        marks: dict[bytes, KeyMark] = {}
        for entry, value in entries:
            if entry.startswith(KEY):
                marks[entry[1:]] = KeyMark.decode(value)
            elif entry.startswith(ROW):
                name, number = split_row_key(entry)
                rows.setdefault(name, []).append((number, value))
            else:
                raise StateError(f"an entry of another kind of state: {entry!r}")
        for name in {**rows, **marks}:
            key = self.decode_key(name)
            state = keys[key] = self.new(key)
            mark = marks.get(name, KeyMark(1))
            held = sorted(rows.get(name, []))
            if name in marks:
                self._marked.add(key)
            state.rows = [self._rows.decode(data) for _, data in held]
            state.base = state.dropped = held[0][0] if held else mark.start
            state.stored = state.base + len(held)
            state.number = mark.number
            if self.rule.tells_unmatched:
                state.covered = mark.end
            # Attempts that failed moved the start on without a mark, but took the rows before it away.
            reached = state.base + self.rule.look_back if state.base else 0
            state.start = min(max(mark.start, reached) - state.base, len(held))


def _decode_time(data: bytes) -> int:
    try:
        return msgspec.msgpack.decode(data, type=int)
    except msgspec.DecodeError as error:
        raise StateError(f"a stored time is unreadable: {error}") from error
