"""When attempts time out: keys by the deadline of their present start, in buckets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from anomaly_app.operators import TIME

BUCKETS_PER_WITHIN = 256
"""As fine as that: what is near its deadline is looked at again with each watermark."""


class Timers:
    """One timer per key with a start that waits; a deadline is the event time of the start row plus WITHIN.

    A bucket holds the keys whose deadlines are close together. A key stays in its bucket when its attempt is over,
    and moves on to where it belongs when the bucket is looked at: setting a timer costs one list append, whatever
    the number of keys.

    Args:
        within_ms: WITHIN.
    """

    def __init__(self, within_ms: int) -> None:
        self._within = within_ms
        self._width = max(within_ms // BUCKETS_PER_WITHIN, 1)
        self._buckets: dict[int, list[Any]] = {}

    def set(self, state: Any) -> None:
        """Time the start row of a key."""
        state.timer = True
        number = (state.rows[state.start][TIME] + self._within) // self._width
        bucket = self._buckets.get(number)
        if bucket is None:
            self._buckets[number] = [state]
        else:
            bucket.append(state)

    def due(self, watermark: int) -> Iterator[Any]:
        """Keys whose start the watermark has passed, one by one; their timers are off and may be set on the way."""
        buckets, within, last = self._buckets, self._within, watermark // self._width
        if not buckets or min(buckets) > last:
            return
        for states in [buckets.pop(number) for number in sorted(buckets) if number <= last]:
            for state in states:
                rows, start = state.rows, state.start
                state.timer = False
                if start < len(rows):
                    if rows[start][TIME] + within > watermark:
                        self.set(state)
                    else:
                        yield state

    def oldest(self) -> int | None:
        """Event time of the oldest start row; None if no start waits."""
        buckets, within, width = self._buckets, self._within, self._width
        while buckets:
            number = min(buckets)
            oldest: int | None = None
            for state in buckets.pop(number):
                rows, start = state.rows, state.start
                if start >= len(rows):
                    state.timer = False
                    continue
                deadline = rows[start][TIME] + within
                self.set(state)
                if deadline // width == number and (oldest is None or deadline < oldest):
                    oldest = deadline
            if oldest is not None:
                return oldest - within
        return None
