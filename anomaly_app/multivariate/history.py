"""The last points of many series, and what of them is not stored yet."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from anomaly_app.detectors import Floats, Integers
from anomaly_app.multivariate.model import grown


class History:
    """Rings of points.

    Args:
        size: points kept of a series.
        width: numbers in a point.
    """

    def __init__(self, size: int, width: int) -> None:
        self.size = size
        self._points = np.zeros((0, size, width))

    def grow(self, series: int) -> None:
        """Make room for series 0 … ``series`` - 1."""
        self._points = grown(self._points, series)

    def put(self, series: Integers, numbers: Integers, points: Floats) -> None:
        """Keep points; ``numbers`` counts them from the first of their series, which is 0."""
        self._points[series, numbers % self.size] = points

    def last(self, series: Integers, end: Integers, count: int) -> Floats:
        """The ``count`` points before number ``end`` of each series, shape (k, count, width)."""
        numbers = end[:, None] + np.arange(-count, 0)
        return np.asarray(self._points[series[:, None], numbers % self.size])

    def entries(self, series: int, start: int, end: int) -> Iterator[tuple[bytes, bytes]]:
        """Names and contents of the points from number ``start`` to before ``end``."""
        for number in range(max(start, end - self.size), end):
            slot = number % self.size
            yield b"p" + slot.to_bytes(2, "big"), self._points[series, slot].tobytes()

    def load(self, series: int, name: bytes, data: bytes) -> None:
        """Take back an entry; raises ``ValueError`` or ``IndexError`` if it is not of this ring."""
        self._points[series, int.from_bytes(name[1:], "big")] = np.frombuffer(data)
