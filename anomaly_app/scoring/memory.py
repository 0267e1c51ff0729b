"""What a series remembers to tell what is new: signals, their spreads, extremes and shapes; as entries of a store."""

from __future__ import annotations

import math
import struct
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from anomaly_app.errors import StateError
from anomaly_app.scoring.discord import YOUNG, Discord, lasts, rebuilt, step_means
from anomaly_app.scoring.options import NUMBERS, OPTIONS
from anomaly_app.scoring.records import Floats, Records, Spread

VALUE, MEAN, SHAPE, LONG_SHAPE = range(4)
"""The signals: the value, the mean of the last few, the distance of the shape of the last values to all earlier ones,
and that of a longer shape."""

SOURCES = ((VALUE, 1), (VALUE, -1), (MEAN, 1), (MEAN, -1), (SHAPE, 1), (LONG_SHAPE, 1))
"""Signal and sign of what can give a score."""
HALFWAY = (1.0, 3.0, 1.0, 4.0)
"""Standard deviations by which a signal has to exceed its history to score a half of what it can.

A smooth signal, once high, exceeds its history again and again: it has to do so by more."""
WEIGHTS = (0.25, 0.25, 0.5)
"""Of the horizons: half of the recent rows, all of them, and all that is remembered.

Three of them, because with one the result depends on how long it is."""
STEPS = (2, 8)
"""Shapes are compared in means of that many values: short ones, and long ones, which are four times as long.

Divisors of the rows between two rebuilds."""
SAME = 1e-10
"""Differences below that part of a value are rounding."""
SAME_SHAPE = 0.01
"""Differences of distances of shapes below that are nothing; the unit is the standard deviation of the series."""
BLOCK = 32
"""Rows in a state entry."""
ROW_BYTES = 8 * len(HALFWAY)
"""Of the signals of a row in the state."""

_VERSION = 4
_HEAD = struct.Struct(f"<BI{NUMBERS}QdQb" + "Qdd" * len(HALFWAY))
_HELD = struct.Struct("<BQQdddd")
_HEARD = struct.Struct("<Qd")
_NUMBER = struct.Struct("<Q")
HEAD = b"head"
"""Name of the entry that is not a block."""


class Held(NamedTuple):
    """The score of a new level that was attenuated, until it is known whether the level lasts.

    Args:
        source: what gave it, its place in ``SOURCES``.
        row: where it was.
        until: row at which what attenuates it is over.
        score: what it was.
        half, recent, history: what it exceeded, see :attr:`Records.limits`.
    """

    source: int
    row: int
    until: int
    score: float
    half: float
    recent: float
    history: float


class Memory:
    """What is remembered of one series.

    Args:
        options: checked ones of ``ANOMALY_SCORE``, all of them.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._take(options)

    def _take(self, options: Mapping[str, Any]) -> None:
        self.options: dict[str, Any] = {option.name: options[option.name] for option in OPTIONS}
        self._warmup: int = options["warmup"]
        self._smoothing: int = options["smoothing"]
        self._history: int = options["history"]
        self._refractory: int = options["refractory"]
        self._length: int = options["subsequence"] // STEPS[0]
        recent = options["recent"]
        horizons = tuple(zip((recent // 2, recent, self._history), WEIGHTS, strict=True))
        self.rows, self._base = 0, 0
        self._saved, self._stored = 0, 0  # rows that are in the store, and the first block that is
        self.signals: Floats = np.full((len(HALFWAY), YOUNG), math.nan)
        self._spreads = tuple(Spread(self._history) for _ in HALFWAY)
        self._records = tuple(Records(horizons, sign, HALFWAY[signal]) for signal, sign in SOURCES)
        self.discords: list[Discord | None] = [None, None]
        self.floor = 0.0
        self._heard: deque[tuple[int, float]] = deque()
        self._held: list[Held] = []
        self._told = 0, 0  # the last row that was told, and in which direction it went
        self._asleep = False
        self._best, self._source = 0.0, 0
        self._levels: list[tuple[int, float]] = []

    @property
    def mean(self) -> float:
        """Of the values that are remembered."""
        return self._spreads[VALUE].mean

    def _mean(self, row: int, count: int) -> float:
        """The mean of the last values, that of a row included; all there are if they are fewer."""
        place = row - self._base
        values = self.signals[VALUE, max(place - count + 1, 0) : place + 1].tolist()
        last, total = values[-1], 0.0
        for value in values:  # in time order, as for many series; differences are 0 if the values are all the same
            total += value - last
        return float(last + total / len(values))

    def _deviation(self, signal: int) -> float:
        """The standard deviation of a signal, but not less than what is nothing."""
        spread = self._spreads[signal]
        return max(spread.deviation, SAME_SHAPE if signal >= SHAPE else SAME * abs(self._spreads[VALUE].mean))

    # --- of many series, a bank keeps what changes with every row -----------------------------------------------------

    def spreads(self) -> list[float]:
        """Counts, means and variances of the signals."""
        spreads = self._spreads
        return [
            *(spread.count for spread in spreads),
            *(spread.mean for spread in spreads),
            *(spread.variance for spread in spreads),
        ]

    def peaks(self) -> list[float]:
        """Values and rows of the shortest peaks, and the row at which something that is held is due."""
        peaks = [record.peaks[0][0] for record in self._records]
        return [*(peak.value for peak in peaks), *(peak.row for peak in peaks), self.due()]

    def due(self) -> float:
        """The row at which something that is held is due."""
        return min([held.until for held in self._held]) if self._held else math.inf

    def lend(self, rows: int, base: int, signals: Floats, numbers: Sequence[float], peaks: bool = True) -> None:
        """Give back what a bank has kept.

        Args:
            rows: that it has seen.
            base: number of the first row of its signals.
            signals: what they were.
            numbers: see :meth:`spreads`, and behind them :meth:`peaks`.
            peaks: whether these are given back, too.
        """
        self.rows, self._base, self.signals = rows, base, signals
        kinds = len(HALFWAY)
        for signal, spread in enumerate(self._spreads):
            spread.count, spread.mean = int(numbers[signal]), numbers[signal + kinds]
            spread.variance = numbers[signal + 2 * kinds]
        if peaks:
            for source, record in enumerate(self._records, 3 * kinds):
                peak = record.peaks[0][0]
                peak.value, peak.row = numbers[source], int(numbers[source + len(SOURCES)])

    # --- what is remembered -------------------------------------------------------------------------------------------

    def _rebuild(self, row: int) -> None:
        """Forget what is too old, and set the comparison of shapes up anew."""
        base = max(0, row - self._history)
        signals = np.full((len(HALFWAY), row - base + lasts(row)), math.nan)
        signals[:, : row - base] = self.signals[:, base - self._base : row - self._base]
        self.signals, self._base = signals, base
        self.floor = self._deviation(VALUE)
        self._compare(row)

    def _compare(self, row: int) -> None:
        """Set the comparison of shapes up on the values before a row, if they are enough and not all the same."""
        values = self.signals[VALUE, : row - self._base]
        self.discords = [None, None]
        for place, step in enumerate(STEPS):
            means = step_means(values, step)
            if len(means) >= 2 * self._length and self.floor > 0.0:
                discord = self.discords[place] = Discord(self._length)
                discord.rebuild(means, self.floor, lasts(row) // step)

    def _rebuilt(self) -> int:
        """The last row before which the comparison was set up; 0 if there was none."""
        return rebuilt(max(self.rows - 1, 0))

    def wake(self) -> None:
        """Make what the state entries do not hold, because it follows from them."""
        if not self._asleep:
            return
        start = self._rebuilt()
        if start:
            self._compare(start)
        for row in range(start, self.rows):
            for step, discord in zip(STEPS, self.discords, strict=True):
                if discord is not None and (row + 1) % step == 0:
                    discord.add(self._mean(row, step))
        for (signal, _), record in zip(SOURCES, self._records, strict=True):
            for peak, _ in record.peaks:
                peak.find(self.rows, self.signals[signal], self._base)
        self._asleep = False

    def changes(self) -> Iterator[tuple[bytes, bytes | None]]:
        """State entries put (or deleted: None) since the last call: a head, and blocks of rows that have new ones."""
        if self._saved == self.rows:
            return
        yield HEAD, self._head()
        first, saved = self._base // BLOCK, -(-self._saved // BLOCK)
        for block in range(self._stored, min(first, saved)):
            yield _NUMBER.pack(block), None
        for block in range(max(self._saved // BLOCK, first), (self.rows - 1) // BLOCK + 1):
            start, stop = max(block * BLOCK, self._base), min((block + 1) * BLOCK, self.rows)
            values = self.signals[:, start - self._base : stop - self._base]
            yield _NUMBER.pack(block), values.astype("<f8").tobytes()
        self._saved, self._stored = self.rows, first

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """All state entries."""
        yield HEAD, self._head()
        for block in range(self._base // BLOCK, -(-self.rows // BLOCK)):
            start, stop = max(block * BLOCK, self._base), min((block + 1) * BLOCK, self.rows)
            values = self.signals[:, start - self._base : stop - self._base]
            yield _NUMBER.pack(block), values.astype("<f8").tobytes()

    def unsaved(self) -> None:
        """From now on no entry is in a store."""
        self._saved, self._stored = 0, 0

    def load(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Give a fresh one the state entries that stand.

        Raises:
            StateError: one is missing, damaged, or belongs to a scorer with other options.
        """
        known = dict(entries)
        if HEAD not in known:
            raise StateError("the state of a scorer has no head")
        self._read(known[HEAD])
        for block in range(self._base // BLOCK, (self.rows - 1) // BLOCK + 1):
            stored = known.get(_NUMBER.pack(block), b"")
            stop = min((block + 1) * BLOCK, self.rows)
            first = max(block * BLOCK, self._base)
            rows, rest = divmod(len(stored), ROW_BYTES)
            if rows < stop - first or rest:
                raise StateError(f"the state of a scorer has no rows {first} to {stop - 1}")
            values = np.frombuffer(stored, "<f8").reshape(len(HALFWAY), rows)
            self.signals[:, first - self._base : stop - self._base] = values[:, rows - (stop - first) :]
        self._saved, self._stored = self.rows, self._base // BLOCK

    def _head(self) -> bytes:
        spreads = [part for spread in self._spreads for part in (spread.count, spread.mean, spread.variance)]
        head = _HEAD.pack(
            _VERSION, len(self._held), *self.options.values(), self.rows, self.floor, *self._told, *spreads
        )
        held = b"".join(_HELD.pack(*held) for held in self._held)
        oldest = self.rows - 1 - self._refractory
        return head + held + b"".join(_HEARD.pack(*heard) for heard in self._heard if heard[0] >= oldest)

    def _read(self, head: bytes) -> None:
        """Take a head back, and make room for the rows."""
        if len(head) < _HEAD.size or head[0] != _VERSION:
            raise StateError(f"the state of a scorer is not of version {_VERSION}, or it is damaged")
        _, count, *parts = _HEAD.unpack_from(head)
        held, heard = _HEAD.size, _HEAD.size + count * _HELD.size
        if len(head) < heard or (len(head) - heard) % _HEARD.size:
            raise StateError(f"the state of a scorer is not of version {_VERSION}, or it is damaged")
        count = len(OPTIONS)
        options = dict(zip(self.options, parts[:count], strict=True))
        if options != self.options:
            raise StateError(f"the state is that of a scorer with {options}, but this one has {self.options}")
        self._take(options)
        self.rows, self.floor, told, direction = parts[count : count + 4]
        self._told = told, direction
        for spread, k in zip(self._spreads, range(count + 4, len(parts), 3), strict=True):
            spread.count, spread.mean, spread.variance = parts[k : k + 3]
        self._held = [Held(*each) for each in _HELD.iter_unpack(head[held:heard])]
        self._heard.extend(_HEARD.iter_unpack(head[heard:]))
        start = self._rebuilt()
        self._base = max(0, start - self._history)
        self.signals = np.full((len(HALFWAY), start - self._base + lasts(start)), math.nan)
        self._asleep = True
