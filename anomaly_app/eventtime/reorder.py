"""Bounded disorder: rows in arrival order in, rows in event-time order out."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from operator import itemgetter

from anomaly_app.operators import MAX_WATERMARK, MIN_WATERMARK, TIME, Row

_event_time = itemgetter(TIME)


class ReorderBuffer:
    """Holds rows until the watermark has passed them.

    The watermark is the greatest event time so far less the delay. A row takes part before it moves the watermark; it
    is late if its time is not after the watermark (``WATERMARK FOR ts AS ts - delay`` of Flink SQL; rule 23 of
    the row-pattern specification). Equal times keep their order of arrival.

    Args:
        delay_ms: bound on disorder in milliseconds; None if the watermark comes from outside only (:meth:`advance`).

    Example:
        >>> buffer = ReorderBuffer(delay_ms=1_000)
        >>> buffer.add([(2_000, 0, "b"), (1_500, 1, "a"), (3_200, 2, "c"), (900, 3, "late")])
        [(900, 3, 'late')]
        >>> buffer.watermark, buffer.release()
        (2200, [(1500, 1, 'a'), (2000, 0, 'b')])
    """

    __slots__ = ("_delay", "_sorted", "highest", "waiting", "watermark")

    def __init__(self, delay_ms: int | None) -> None:
        self._delay = delay_ms
        self._sorted = True
        self.waiting: list[Row] = []
        self.highest = MIN_WATERMARK
        self.watermark = MIN_WATERMARK

    def add(self, rows: Sequence[Row]) -> list[Row]:
        """Take rows in arrival order, move the watermark, and give back those that are late."""
        if not rows:
            return []
        if self._delay:
            times = [row[TIME] for row in rows]
            if times[0] > self.watermark and times == sorted(times):
                # In order already, as most rows come: none is late, since none is behind the one before it.
                self._append(rows, times[0], times[-1])
                return []
        late: list[Row] = []
        waiting, before = self.waiting, len(self.waiting)
        watermark, highest, delay = self.watermark, self.highest, self._delay
        if delay is None:
            for row in rows:
                (waiting if row[TIME] > watermark else late).append(row)
        else:
            for row in rows:
                time = row[TIME]
                if time <= watermark:
                    late.append(row)
                    continue
                waiting.append(row)
                if time > highest:
                    highest = time
                    if time - delay > watermark:
                        watermark = time - delay
        self.watermark, self.highest = watermark, highest
        self._sorted = self._sorted and len(waiting) == before
        return late

    def _append(self, rows: Sequence[Row], first: int, last: int) -> None:
        waiting = self.waiting
        self._sorted = self._sorted and (not waiting or waiting[-1][TIME] <= first)
        waiting += rows
        if last > self.highest:
            self.highest = last
            self.watermark = max(self.watermark, last - (self._delay or 0))

    def advance(self, watermark: int) -> None:
        """Move the watermark from outside (idleness, upstream partitions, end of input); it never falls."""
        if watermark > self.watermark:
            self.watermark = watermark

    def release(self) -> list[Row]:
        """Take out the rows that the watermark has passed, in event-time order."""
        waiting = self.waiting
        if not waiting:
            return []
        if not self._sorted:
            waiting.sort(key=_event_time)
            self._sorted = True
        if self.watermark == MAX_WATERMARK:
            self.waiting = []
            return waiting
        ready = bisect_right(waiting, self.watermark, key=_event_time)
        released = waiting[:ready]
        del waiting[:ready]
        return released

    def restore(self, rows: list[Row], *, highest: int, watermark: int) -> None:
        """Start from waiting rows (in arrival order), the greatest event time and the watermark of a checkpoint."""
        self.waiting, self.highest, self.watermark = rows, highest, watermark
        self._sorted = not rows
