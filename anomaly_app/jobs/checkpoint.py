"""What a partition stores so that it can go on after a crash: the source is the log.

Rows that wait in the reorder buffer or in an open pattern are not stored. One small record per partition says from
which position the source must be read again, what the watermark was there, and up to where everything had been
written out. Writes then grow with batches and matches, never with the rows that are held.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import NamedTuple

import msgspec

from anomaly_app.errors import StateError
from anomaly_app.operators import MIN_WATERMARK, TIME, Row

ENTRY_ROWS = 500
"""Rows that share one entry of the index: small slices of a live topic must not make it long."""

ENTRIES = 2_048
"""Entries at most; beyond, neighbours are merged, so that a replay reads somewhat more."""


_event_time = itemgetter(TIME)


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """State of event time in front of a position.

    Args:
        position: of the first row behind the mark.
        highest: greatest event time before it, in ms.
        watermark: in ms.
        upstream_offsets: behind a repartition, last offset seen of each upstream partition.
        upstream_watermarks: and the watermark of each.
    """

    position: int = 0
    highest: int = MIN_WATERMARK
    watermark: int = MIN_WATERMARK
    upstream_offsets: dict[int, int] = {}
    upstream_watermarks: dict[int, int] = {}


class Checkpoint(msgspec.Struct, frozen=True, array_like=True):
    """A partition at a moment.

    Args:
        next_position: everything below has been taken, and its output is written.
        watermark: in ms, as of then.
        highest: greatest event time so far.
        needed: rows with an earlier event time need not be fed again.
        resume: where to read again, with event time as it was there.
        inputs: watermark of each table, if there are several.
        idle: upstream partitions that had no rows then, if there are several tables.
        passed: how many rows went to the next fragment, by the name of the query's state.

    Example:
        >>> Checkpoint.decode(Checkpoint(next_position=7, resume=Mark(position=3)).encode()).resume.position
        3
    """

    next_position: int = 0
    watermark: int = MIN_WATERMARK
    highest: int = MIN_WATERMARK
    needed: int = MIN_WATERMARK
    resume: Mark = Mark()
    inputs: list[int] = []
    idle: list[int] = []
    passed: dict[str, int] = {}

    def encode(self) -> bytes:
        """As bytes, for the changelog."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Checkpoint:
        """From bytes; raises :class:`StateError`."""
        try:
            return msgspec.msgpack.decode(data, type=cls)
        except msgspec.DecodeError as error:
            raise StateError(f"the stored checkpoint is unreadable: {error}") from error


class ArrivalMark(NamedTuple):
    """Event time in front of a batch, as the task knows it."""

    highest: int
    watermark: int
    upstream_offsets: dict[int, int]
    upstream_watermarks: dict[int, int]


class _Entry:
    __slots__ = ("latest", "mark", "rows")

    def __init__(self, mark: Mark) -> None:
        self.mark, self.rows, self.latest = mark, 0, MIN_WATERMARK


class ReplayIndex:
    """Tells the smallest position from which all rows of some event time and later can be read again.

    Rows come in disorder, so the index keeps, per stretch of the source, the greatest event time in it.

    Example:
        >>> index, mark = ReplayIndex(), ArrivalMark(0, 0, {}, {})
        >>> index.note([(5_000, 0), (9_000, 1)], 0, lambda: mark)
        >>> index.resume(needed=7_000, position=2, mark=lambda: mark).position
        0
        >>> index.resume(needed=9_001, position=2, mark=lambda: mark).position
        2
    """

    def __init__(self) -> None:
        self._entries: deque[_Entry] = deque()

    def note(self, rows: Sequence[Row], start: int, mark: Callable[[], ArrivalMark]) -> None:
        """A batch begins at position ``start``; ``mark`` tells event time in front of it."""
        entries = self._entries
        if not entries or entries[-1].rows >= ENTRY_ROWS:
            if len(entries) >= ENTRIES:
                self._merge()
            entries.append(_Entry(Mark(start, *mark())))
        if rows:
            entry = entries[-1]
            entry.rows += len(rows)
            latest = max(map(_event_time, rows))
            if latest > entry.latest:
                entry.latest = latest

    def resume(self, *, needed: int, position: int, mark: Callable[[], ArrivalMark]) -> Mark:
        """Forget what lies before all rows of event time ``needed`` and later; where to read again.

        ``position`` and ``mark`` are the present ones: where to go on if no row is needed again.
        """
        entries = self._entries
        while entries and entries[0].latest < needed:
            entries.popleft()
        return entries[0].mark if entries else Mark(position, *mark())

    def _merge(self) -> None:
        entries = list(self._entries)
        self._entries.clear()
        for number in range(0, len(entries), 2):
            pair = entries[number : number + 2]
            pair[0].rows = sum(entry.rows for entry in pair)
            pair[0].latest = max(entry.latest for entry in pair)
            self._entries.append(pair[0])
