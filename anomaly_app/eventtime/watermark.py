"""Watermarks of several upstream partitions as one, and the guard against absurd timestamps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from anomaly_app.operators import MIN_WATERMARK, TIME, Row


class UpstreamWatermarks:
    """The watermark behind a repartition: the minimum over the upstream partitions that are not idle.

    The greatest timestamp seen would not do: rows of an upstream partition that lags would all be late. Until every
    upstream partition has told its watermark or has been declared idle, nothing is known. The result never falls.

    Args:
        upstreams: numbers of the upstream partitions.

    Example:
        >>> upstream = UpstreamWatermarks([0, 1])
        >>> upstream.update(0, 5_000) == MIN_WATERMARK
        True
        >>> upstream.update(1, 3_000)
        3000
        >>> upstream.idle(1)
        5000
    """

    def __init__(self, upstreams: Iterable[int]) -> None:
        self._watermarks = dict.fromkeys(upstreams, MIN_WATERMARK)
        self._idle: set[int] = set()
        self.current = MIN_WATERMARK

    def update(self, upstream: int, watermark: int) -> int:
        """Partition ``upstream`` has reached ``watermark``; gives the watermark of all."""
        self._idle.discard(upstream)
        if watermark > self._watermarks.get(upstream, MIN_WATERMARK):
            self._watermarks[upstream] = watermark
        return self._combine()

    def idle(self, upstream: int) -> int:
        """Partition ``upstream`` has no rows for now and holds nobody up; gives the watermark of all."""
        self._watermarks.setdefault(upstream, MIN_WATERMARK)
        self._idle.add(upstream)
        return self._combine()

    def watermark(self, upstream: int) -> int:
        """What a partition has told of itself."""
        return self._watermarks.get(upstream, MIN_WATERMARK)

    def snapshot(self) -> dict[int, int]:
        """Watermark of every upstream partition."""
        return dict(self._watermarks)

    @property
    def idle_ones(self) -> Sequence[int]:
        """Upstream partitions that have no rows for now."""
        return sorted(self._idle)

    @property
    def is_idle(self) -> bool:
        """Whether no upstream partition has rows for now."""
        return len(self._idle) == len(self._watermarks)

    def restore(self, watermarks: Mapping[int, int], idle: Iterable[int] = ()) -> None:
        """Go back to a snapshot; those that are not said to be idle count as any other."""
        for upstream, watermark in watermarks.items():
            if upstream in self._watermarks:  # else its topic is gone, and would hold time for ever
                self._watermarks[upstream] = watermark
        self._idle.update(upstream for upstream in idle if upstream in self._watermarks)
        self._combine()

    def _combine(self) -> int:
        active = [w for upstream, w in self._watermarks.items() if upstream not in self._idle]
        # All idle: the last to go idle must not hold back what the others had reached.
        least = min(active) if active else max(self._watermarks.values(), default=MIN_WATERMARK)
        self.current = max(self.current, least)
        return self.current


def split_ahead(rows: Sequence[Row], limit: int) -> tuple[Sequence[Row], list[Row]]:
    """Set apart the rows whose event time is beyond ``limit`` (ms).

    One absurd timestamp, such as the year 9999, would push the watermark past everybody else's rows for good.

    Returns:
        The rows to go on with and the rows to reject; the first is ``rows`` itself if none is rejected.

    Example:
        >>> split_ahead([(1, 0), (99, 1), (2, 2)], 50)
        ([(1, 0), (2, 2)], [(99, 1)])
    """
    ahead = [row for row in rows if row[TIME] > limit]
    return ([row for row in rows if row[TIME] <= limit], ahead) if ahead else (rows, ahead)


def with_times(rows: Sequence[Row], highest: int, latest: int | None = None) -> Sequence[Row]:
    """Rows of an upsert table: a deletion that has no time happens at the greatest time so far.

    So it hangs on what the partition holds alone, and does not move the watermark.

    Args:
        rows: of a batch, in order.
        highest: greatest event time before it, in ms.
        latest: greatest that is believed; None for no bound.

    Example:
        >>> with_times([(None, 0, "a", 3), (7, 1, "b", 2), (None, 2, "b", 3)], 5)
        [(5, 0, 'a', 3), (7, 1, 'b', 2), (7, 2, 'b', 3)]
    """
    highest = max(highest, 0)
    timed: list[Row] = []
    for row in rows:
        time = row[TIME]
        if time is None:
            timed.append((highest, *row[1:]))
            continue
        timed.append(row)
        if time > highest and (latest is None or time <= latest):
            highest = time
    return timed
