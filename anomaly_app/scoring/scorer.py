"""The scorer of one series."""

from __future__ import annotations

import math
import struct
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from anomaly_app.errors import StateError
from anomaly_app.scoring.discord import OLD, Discord, rebuilt
from anomaly_app.scoring.options import OPTIONS, checked
from anomaly_app.scoring.records import Floats, Records, Spread

VALUE, MEAN, SHAPE = range(3)
"""The signals: the value, the mean of the last few, the distance of their shape to all earlier ones."""

_SOURCES = ((VALUE, 1), (VALUE, -1), (MEAN, 1), (MEAN, -1), (SHAPE, 1))
"""Signal and sign of what can give a score."""
_OF_SIGNAL = ((0, 1), (2, 3), (4,))

HALFWAY = (1.0, 2.0, 1.0)
"""Standard deviations by which a signal has to exceed its history to score a half of what it can.

A mean is smooth and, once high, exceeds its history again and again: it has to do so by more."""
SHARPNESS = 1.0 / 3.0
"""Exponent of the score: it puts the threshold that is best on the NAB files close to 0.5."""
SHAPES_AFTER = 5
"""Lengths of a subsequence that are seen before distances count: the first have little to be compared with."""
LARGEST = 1e75
"""Values beyond are taken for missing ones: products of a few of them are no numbers."""
SAME = 1e-10
"""Differences below that part of a value are rounding."""
CONSTANT = 1e6
"""Margins from there on come of values that never differed."""
SAME_SHAPE = 0.01
"""Differences of distances of shapes below that are nothing; the unit is the standard deviation of the series."""
BLOCK = 32
"""Rows in a state entry."""

_VERSION = 1
_HEAD = struct.Struct(f"<B{len(OPTIONS)}IQd" + "Qdd" * 3)
_HEARD = struct.Struct("<Qd")
_NUMBER = struct.Struct("<Q")
HEAD = b"head"
"""Name of the entry that is not a block."""


class AnomalyScorer:
    """Tells of one series, value by value, how anomalous it is just now: from 0 to 1, without looking ahead.

    What scores is told in :mod:`anomaly_app.scoring`. Within ``refractory`` values after a score only a higher one is
    reported, everything else is 0, so that one event is told once. From about 0.5 on a score is worth an alert.

    Only the order of the values counts, not the distances in time. A missing value (NaN, infinite, or beyond ±1e75)
    scores 0 and changes nothing. While there are not more than ``warmup`` values the score is 0.

    Args:
        **options: :data:`anomaly_app.scoring.options.OPTIONS`; the defaults are for series of which nothing is known.

    Raises:
        OptionError: an option is unknown or impossible.

    Example:
        >>> scorer = AnomalyScorer()
        >>> scores = [scorer.score(60_000 * k, 20.0 + k % 7) for k in range(1000)]
        >>> max(scores)
        0.0
        >>> round(scorer.score(60_000_000, 50.0), 2)
        1.0
    """

    def __init__(self, **options: Any) -> None:
        self._take(checked(options))

    @classmethod
    def of_checked(cls, options: Mapping[str, Any]) -> AnomalyScorer:
        """A scorer with options that were checked before; all of them are there."""
        scorer = cls.__new__(cls)
        scorer._take(options)
        return scorer

    def _take(self, options: Mapping[str, Any]) -> None:
        self.options: dict[str, Any] = {option.name: options[option.name] for option in OPTIONS}
        self._warmup: int = options["warmup"]
        self._smoothing: int = options["smoothing"]
        self._length: int = options["subsequence"]
        self._history: int = options["history"]
        self._refractory: int = options["refractory"]
        recent = options["recent"]
        self._rows, self._base = 0, 0
        self._saved, self._stored = 0, 0  # rows that are in the store, and the first block that is
        self._signals: Floats = np.full((3, OLD), math.nan)
        self._spreads = tuple(Spread(self._history) for _ in range(3))
        self._records = tuple(Records(recent, self._history, sign, HALFWAY[signal]) for signal, sign in _SOURCES)
        self._discord: Discord | None = None
        self._floor = 0.0
        self._heard: deque[tuple[int, float]] = deque()
        self._asleep = False
        self._best, self._source = 0.0, 0

    def score(self, timestamp_ms: int, value: float) -> float:
        """Score a value, then learn from it.

        Args:
            timestamp_ms: its time; only the order of the values counts.
            value: in any unit.

        Returns:
            From 0 to 1.
        """
        value = float(value)
        if not -LARGEST <= value <= LARGEST:
            return 0.0
        if self._asleep:
            self._wake()
        row = self._rows
        if row and rebuilt(row) == row:
            self._rebuild(row)
        discord = self._discord
        self._best = 0.0
        self._see(VALUE, row, value)
        place = row - self._base
        recent = self._signals[VALUE, max(place - self._smoothing + 1, 0) : place + 1].tolist()
        self._see(MEAN, row, math.fsum(recent) / len(recent))  # an exact sum is the same in any order
        if discord is not None:
            distance = discord.add(value)
            if row >= SHAPES_AFTER * self._length:
                self._see(SHAPE, row, distance)
        self._rows = row + 1
        return self._report(row, self._best)

    def reason(self) -> str:
        """What gave the last score above 0, for people."""
        signal, sign = _SOURCES[self._source]
        high = "high" if sign > 0 else "low"
        margin = self._records[self._source].margin
        by = f"by {margin:.3g} standard deviations" if margin < CONSTANT else "after values that were all the same"
        recent = self.options["recent"]
        if signal == SHAPE:
            return f"the last {self._length} values look less like earlier ones than any of the last {recent}, {by}"
        if signal == MEAN:
            return f"the mean of the last {self._smoothing} values is a new {high} of the last {recent}, {by}"
        return f"the value is a new {high} of the last {recent}, {by}"

    def _see(self, signal: int, row: int, value: float) -> None:
        """Score the value of a signal, and learn it."""
        values, base, spread = self._signals[signal], self._base, self._spreads[signal]
        deviation = -1.0
        if spread.count > self._warmup:
            deviation = self._deviation(signal)
        for source in _OF_SIGNAL[signal]:
            score = self._records[source].score(row, value, deviation, values, base)
            if score > self._best:
                self._best, self._source = score, source
        spread.add(value)
        values[row - base] = value

    def _deviation(self, signal: int) -> float:
        """The standard deviation of a signal, but not less than what is nothing."""
        spread = self._spreads[signal]
        return max(spread.deviation, SAME_SHAPE if signal == SHAPE else SAME * abs(spread.mean))

    def _report(self, row: int, score: float) -> float:
        """The score as it is given out: 0 if as much was said shortly before."""
        heard = self._heard
        while heard and heard[0][0] < row - self._refractory:
            heard.popleft()
        if score <= 0.0:
            return 0.0
        new = not heard or score > heard[0][1]
        while heard and heard[-1][1] <= score:
            heard.pop()
        heard.append((row, score))
        return float(score**SHARPNESS) if new else 0.0

    # --- what is remembered -------------------------------------------------------------------------------------------

    def _rebuild(self, row: int) -> None:
        """Forget what is too old, and set the comparison of shapes up anew."""
        base = max(0, row - self._history)
        signals = np.full((3, row - base + OLD), math.nan)
        signals[:, : row - base] = self._signals[:, base - self._base : row - self._base]
        self._signals, self._base = signals, base
        self._floor = self._deviation(VALUE)
        self._compare(row)

    def _compare(self, row: int) -> None:
        """Set the comparison of shapes up on the values before a row, if they are enough and not all the same."""
        self._discord = None
        if row >= 2 * self._length and self._floor > 0.0:
            discord = Discord(self._length)
            discord.rebuild(self._signals[VALUE, : row - self._base], self._floor)
            self._discord = discord

    def _rebuilt(self) -> int:
        """The last row before which the comparison was set up; 0 if there was none."""
        return rebuilt(max(self._rows - 1, 0))

    def _wake(self) -> None:
        """Make what the state entries do not hold, because it follows from them."""
        start = self._rebuilt()
        if start:
            self._compare(start)
        if self._discord is not None:
            for value in self._signals[VALUE, start - self._base : self._rows - self._base].tolist():
                self._discord.add(value)
        for (signal, _), record in zip(_SOURCES, self._records, strict=True):
            for peak in record.peaks:
                peak.find(self._rows, self._signals[signal], self._base)
        self._asleep = False

    def snapshot(self) -> bytes:
        """All of the state; see :meth:`restore`."""
        values = self._signals[:, : self._rows - self._base]
        head = self._head()
        return _NUMBER.pack(len(head)) + head + values.astype("<f8").tobytes()

    def restore(self, snapshot: bytes) -> None:
        """Make this scorer one that has seen what another with the same options had seen at its snapshot.

        From then on both give exactly the same scores.

        Args:
            snapshot: what :meth:`snapshot` gave.

        Raises:
            StateError: it is damaged, of another version, or of a scorer with other options.

        Example:
            >>> one, other = AnomalyScorer(), AnomalyScorer()
            >>> _ = [one.score(k, k % 10) for k in range(300)]
            >>> other.restore(one.snapshot())
            >>> one.score(300, 70.0) == other.score(300, 70.0)
            True
        """
        (length,) = _NUMBER.unpack_from(snapshot.ljust(_NUMBER.size, b"\0"))
        start = _NUMBER.size + length
        other = AnomalyScorer.of_checked(self.options)
        other._read(snapshot[_NUMBER.size : start])
        rows = other._rows - other._base
        if len(snapshot) != start + 24 * rows:
            raise StateError(f"a snapshot of {rows} rows has {len(snapshot)} bytes, expected {start + 24 * rows}")
        other._signals[:, :rows] = np.frombuffer(snapshot, "<f8", offset=start).reshape(3, rows)
        vars(self).update(vars(other))

    def changes(self) -> Iterator[tuple[bytes, bytes | None]]:
        """State entries put (or deleted: None) since the last call: a head, and blocks of rows that have new ones."""
        if self._saved == self._rows:
            return
        yield HEAD, self._head()
        first, saved = self._base // BLOCK, -(-self._saved // BLOCK)
        for block in range(self._stored, min(first, saved)):
            yield _NUMBER.pack(block), None
        for block in range(max(self._saved // BLOCK, first), (self._rows - 1) // BLOCK + 1):
            start, stop = max(block * BLOCK, self._base), min((block + 1) * BLOCK, self._rows)
            values = self._signals[:, start - self._base : stop - self._base]
            yield _NUMBER.pack(block), values.astype("<f8").tobytes()
        self._saved, self._stored = self._rows, first

    def load(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Give a fresh scorer the state entries that stand.

        Raises:
            StateError: one is missing, damaged, or belongs to a scorer with other options.
        """
        known = dict(entries)
        if HEAD not in known:
            raise StateError("the state of a scorer has no head")
        self._read(known[HEAD])
        for block in range(self._base // BLOCK, (self._rows - 1) // BLOCK + 1):
            stored = known.get(_NUMBER.pack(block), b"")
            stop = min((block + 1) * BLOCK, self._rows)
            first = max(block * BLOCK, self._base)
            rows, rest = divmod(len(stored), 24)
            if rows < stop - first or rest:
                raise StateError(f"the state of a scorer has no rows {first} to {stop - 1}")
            values = np.frombuffer(stored, "<f8").reshape(3, rows)
            self._signals[:, first - self._base : stop - self._base] = values[:, rows - (stop - first) :]
        self._saved, self._stored = self._rows, self._base // BLOCK

    def _head(self) -> bytes:
        spreads = [part for spread in self._spreads for part in (spread.count, spread.mean, spread.variance)]
        head = _HEAD.pack(_VERSION, *self.options.values(), self._rows, self._floor, *spreads)
        return head + b"".join(_HEARD.pack(*heard) for heard in self._heard)

    def _read(self, head: bytes) -> None:
        """Take a head back, and make room for the rows."""
        if len(head) < _HEAD.size or (len(head) - _HEAD.size) % _HEARD.size or head[0] != _VERSION:
            raise StateError(f"the state of a scorer is not of version {_VERSION}, or it is damaged")
        _, *parts = _HEAD.unpack_from(head)
        count = len(OPTIONS)
        options = dict(zip(self.options, parts[:count], strict=True))
        if options != self.options:
            raise StateError(f"the state is that of a scorer with {options}, but this one has {self.options}")
        self._take(options)
        self._rows, self._floor = parts[count : count + 2]
        for spread, k in zip(self._spreads, range(count + 2, len(parts), 3), strict=True):
            spread.count, spread.mean, spread.variance = parts[k : k + 3]
        self._heard.extend(_HEARD.iter_unpack(head[_HEAD.size :]))
        start = self._rebuilt()
        self._base = max(0, start - self._history)
        self._signals = np.full((3, start - self._base + OLD), math.nan)
        self._asleep = True
