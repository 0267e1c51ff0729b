"""Median and median absolute deviation of the last points, exactly."""

from __future__ import annotations

import math
import struct
from array import array
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anomaly_app.detectors import Entries, Floats, Integers
from anomaly_app.errors import StateError
from anomaly_app.words import figure

NORMAL = 1.4826
"""Of the median absolute deviation, to be the standard deviation of a normal distribution."""
FEWEST = 32
"""Points before the first verdict, if the window has so many; of fewer the deviation is too uncertain."""
SHIFT = 5
"""Outliers in a row that are a new level."""
BLOCK = 32
"""Points of a window that are stored together."""
_STATE = struct.Struct(">qdq")


def median(ordered: Sequence[float]) -> float:
    """The median of sorted numbers.

    Example:
        >>> median([1.0, 2.0, 5.0]), median([1.0, 2.0])
        (2.0, 1.5)
    """
    count = len(ordered)
    middle = count // 2
    if count % 2:
        return ordered[middle]
    return 0.5 * ordered[middle - 1] + 0.5 * ordered[middle]


def deviation(ordered: Sequence[float], centre: float) -> float:
    """The median distance of sorted numbers from one of their centre, without sorting the distances.

    To the left and to the right of the centre the distances rise: the middle one of both is found by bisection.

    Example:
        >>> deviation([1.0, 2.0, 4.0, 9.0, 10.0], 4.0)
        3.0
    """
    count = len(ordered)
    place = bisect_left(ordered, centre)
    wanted = count // 2 + 1  # so many of the smallest distances, the last of them being the (upper) median
    low, high = max(0, wanted - (count - place)), min(wanted, place)
    while low < high:  # how many of them lie to the left
        left = (low + high) // 2
        right = wanted - left
        if right > 0 and left < place and ordered[place + right - 1] - centre > centre - ordered[place - left - 1]:
            low = left + 1
        else:
            high = left
    left, right = low, wanted - low
    nearer = centre - ordered[place - left] if left else -1.0
    farther = ordered[place + right - 1] - centre if right else -1.0
    upper = max(nearer, farther)
    if count % 2:
        return upper
    if nearer >= farther:
        below = max(centre - ordered[place - left + 1] if left > 1 else -1.0, farther)
    else:
        below = max(ordered[place + right - 2] - centre if right > 1 else -1.0, nearer)
    return 0.5 * upper + 0.5 * below


@dataclass(slots=True)
class Window:
    """The last points of one number of a series.

    Args:
        ring: the points, less the level; the oldest is overwritten.
        ordered: the same, sorted.
        seen: points ever learnt.
        level: what was added to the series by shifts of its level.
        run: outliers in a row.
        stored: points of ``seen`` that are in the store.
    """

    ring: array[float] = field(default_factory=lambda: array("d"))
    ordered: array[float] = field(default_factory=lambda: array("d"))
    seen: int = 0
    level: float = 0.0
    run: int = 0
    stored: int = 0

    def add(self, value: float, size: int) -> None:
        """Put in a point; the oldest goes if there are ``size``."""
        if len(self.ring) < size:
            self.ring.append(value)
        else:
            place = self.seen % size
            old = self.ring[place]
            self.ring[place] = value
            del self.ordered[bisect_left(self.ordered, old)]
        insort(self.ordered, value)
        self.seen += 1


class RobustDetector:
    """A point is an anomaly if it is far from the median of the last points, measured by their median deviation.

    Of several numbers each has its own median; a point is an anomaly if one of them is far. If more than half of a
    window is one value, only that value is normal.

    Args:
        names: of the numbers of a point.
        window: points that are looked back at.
        threshold: standard deviations from the median to a bound.
        impute: put the median in place of an outlier, so that many of them do not become normal; after
            :data:`SHIFT` in a row the window moves to their level.

    Raises nothing: that ``window`` and ``threshold`` are possible is checked with the options.

    Source: Hampel, "The influence curve and its role in robust estimation", JASA 69 (1974).

    Example:
        >>> detector = RobustDetector(["price"], window=50, threshold=3.0)
        >>> detector.grow(1)
        >>> points = np.array([[10.0 + n % 5] for n in range(40)] + [[30.0]])
        >>> verdicts = detector.update(np.zeros(41, dtype=np.int64), np.arange(41), points)
        >>> verdicts.flags()[-2:], verdicts.explain(40)
        ([False, True], 'price 30 is above 16.4478: its median is 12')
    """

    def __init__(self, names: Sequence[str], window: int = 128, threshold: float = 3.0, impute: bool = False) -> None:
        self.names, self.width = tuple(names), len(names)
        self.window, self.threshold, self.impute = window, threshold, impute
        self.fewest = min(FEWEST, window)
        self._series: list[list[Window] | None] = []
        self._changed: list[bool] = []

    def grow(self, series: int) -> None:
        """Make room."""
        missing = series - len(self._series)
        if missing > 0:
            self._series.extend([None] * missing)
            self._changed.extend([False] * missing)

    def update(self, series: Integers, times: Integers, points: Floats) -> RobustVerdicts:
        """Judge points, then learn from them."""
        lines = []
        for number, values in zip(series.tolist(), points.tolist(), strict=True):
            held = self._series[number]
            if held is None:
                held = self._series[number] = [Window() for _ in self.names]
            self._changed[number] = True
            lines.append([self._one(window, value) for window, value in zip(held, values, strict=True)])
        shape = (len(series), self.width, 3)
        return RobustVerdicts(self, times, points, np.array(lines, dtype=np.float64).reshape(shape))

    def _one(self, window: Window, value: float) -> tuple[float, float, float]:
        """Median, lower and upper bound before a number; then it is learnt."""
        known = math.isfinite(value)
        if window.seen < self.fewest:
            if known:
                window.add(value, self.window)
            return math.nan, math.nan, math.nan
        centre = median(window.ordered)
        room = self.threshold * (NORMAL * deviation(window.ordered, centre))
        lower, middle, upper = centre - room + window.level, centre + window.level, centre + room + window.level
        if known:
            if self.impute and (value < lower or value > upper):
                window.run += 1
                if window.run < SHIFT:
                    value = middle
                else:
                    window.level += value - middle
                    window.run = 0
            else:
                window.run = 0
            window.add(value - window.level, self.window)
        return middle, lower, upper

    # --- state --------------------------------------------------------------------------------------------------------

    def changes(self, series: int) -> Entries:
        """Entries put since the last call: for each number one of its counts, and the parts of its window written."""
        held = self._series[series]
        if held is None or not self._changed[series]:
            return []
        self._changed[series] = False
        entries: list[tuple[bytes, bytes | None]] = []
        for number, window in enumerate(held):
            name = number.to_bytes(2, "big")
            entries.append((b"s" + name, _STATE.pack(window.seen, window.level, window.run)))
            first = max(window.stored, window.seen - len(window.ring))
            parts = sorted({place % self.window // BLOCK for place in range(first, window.seen)})
            window.stored = window.seen
            for part in parts:
                values = window.ring[part * BLOCK : (part + 1) * BLOCK]
                entries.append((b"w" + name + part.to_bytes(4, "big"), values.tobytes()))
        return entries

    def restore(self, series: int, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Give a fresh series its entries."""
        held = [Window() for _ in self.names]
        for name, value in sorted(entries):
            number = int.from_bytes(name[1:3], "big")
            if number >= self.width or name[:1] not in {b"s", b"w"}:
                raise StateError("stored state of ML_DETECT_ANOMALIES_ROBUST has other values than its ROW")
            window = held[number]
            if name[:1] == b"s":
                window.seen, window.level, window.run = _STATE.unpack(value)
                window.stored = window.seen
            else:
                window.ring.frombytes(value)
        for window in held:
            if len(window.ring) != min(window.seen, self.window):
                raise StateError(
                    "a stored window of ML_DETECT_ANOMALIES_ROBUST has another length than its option says"
                )
            window.ordered = array("d", sorted(window.ring))
        self._series[series] = held

    def forget(self, series: int) -> None:
        """Make a series fresh."""
        self._series[series] = None
        self._changed[series] = False


@dataclass(slots=True)
class RobustVerdicts:
    """What medians say of some points.

    Args:
        detector: whose verdicts they are.
        times: of the points, in ms.
        points: shape (n, width).
        lines: median, lower and upper bound of each number, shape (n, width, 3); NaN without verdict.
    """

    detector: RobustDetector
    times: Integers
    points: Floats
    lines: Floats

    def values(self) -> list[Any]:
        """The row of ML_DETECT_ANOMALIES for the number that is farthest out; rmse is the robust deviation."""
        rows: list[Any] = []
        flags, worst = self.flags(), self._worst().tolist()
        for number, (time, flag) in enumerate(zip(self.times.tolist(), flags, strict=True)):
            at = worst[number]
            value = float(self.points[number, at])
            middle, lower, upper = self.lines[number, at].tolist()
            actual = None if math.isnan(value) else value
            if math.isnan(middle):
                rows.append((time, actual, None, None, None, None, None, None))
            else:
                rmse = (upper - lower) / (2 * self.detector.threshold)
                rows.append((time, actual, middle, lower, upper, flag, rmse, None))
        return rows

    def flags(self) -> list[bool | None]:
        """Whether a number of each point lies outside its bounds; None if none has a verdict."""
        outside: Any = ((self.points < self.lines[..., 1]) | (self.points > self.lines[..., 2])).any(axis=1).tolist()
        judged: Any = self._judged().any(axis=1).tolist()
        return [out if known else None for out, known in zip(outside, judged, strict=True)]

    def scores(self) -> list[float | None]:
        """The largest distance from a median, the bound being 1."""
        largest = np.max(self._distances(), axis=1).tolist()
        scores: list[float | None] = []
        for flag, score in zip(self.flags(), largest, strict=True):
            if flag is None:
                scores.append(None)
            else:  # rounding must not let score and flag differ
                scores.append(max(score, math.nextafter(1.0, 2.0)) if flag else min(score, 1.0))
        return scores

    def explain(self, number: int) -> str:
        """The numbers that are out, with bound and median; else the one that is farthest from its median."""
        distances = self._distances()[number]
        chosen = [int(at) for at in np.argsort(-distances, kind="stable") if distances[at] > 1]
        if not chosen:
            chosen = [int(self._worst()[number])]
        return "; ".join(self._sentence(number, at) for at in chosen)

    def _sentence(self, number: int, at: int) -> str:
        value, name = float(self.points[number, at]), self.detector.names[at]
        middle, lower, upper = self.lines[number, at].tolist()
        if math.isnan(middle) or math.isnan(value):
            return f"no verdict: {name} is missing, or its window has too few points yet"
        side = "within bounds"
        if value > upper:
            side = f"above {figure(upper, 6)}"
        elif value < lower:
            side = f"below {figure(lower, 6)}"
        return f"{name} {figure(value, 6)} is {side}: its median is {figure(middle, 6)}"

    def _judged(self) -> Any:
        return ~np.isnan(self.lines[..., 0]) & ~np.isnan(self.points)

    def _distances(self) -> Floats:
        """Of each number from its median, the bound being 1; -1 without verdict."""
        middle, lower, upper = np.moveaxis(self.lines, 2, 0)
        with np.errstate(all="ignore"):
            away = np.abs(self.points - middle)
            room = np.where(self.points >= middle, upper - middle, middle - lower)
            distance = np.where(room > 0, away / room, np.where(away > 0, np.inf, 0.0))
        return np.where(self._judged(), distance, -1.0)

    def _worst(self) -> Any:
        return np.argmax(self._distances(), axis=1)
