"""How new the last values of one series are: new extremes of the value and of its mean, and new shapes."""

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
_LEVELS = (VALUE, MEAN)
"""Signals that stay where they are after a shift; a new shape is over by itself."""
_OF_SIGNAL = ((0, 1), (2, 3), (4,), (5,))

HALFWAY = (1.0, 2.0, 1.0, 4.0)
"""Standard deviations by which a signal has to exceed its history to score a half of what it can.

A smooth signal, once high, exceeds its history again and again: it has to do so by more."""
WEIGHTS = (0.25, 0.25, 0.5)
"""Of the horizons: half of the recent rows, all of them, and all that is remembered.

Three of them, because with one the result depends on how long it is."""
STEPS = (2, 8)
"""Shapes are compared in means of that many values: short ones, and long ones, which are four times as long.

Divisors of the rows between two rebuilds."""
FACTOR = STEPS[1] // STEPS[0]
SHARPNESS = 3.0 / 8.0
"""Exponent of the score: it puts the threshold that is best on the NAB files close to 0.5."""
SHAPES_AFTER = 5
"""Lengths of a subsequence that are seen before distances count: the first have little to be compared with."""
SAME = 1e-10
"""Differences below that part of a value are rounding."""
CONSTANT = 1e6
"""Margins from there on come of values that never differed."""
SAME_SHAPE = 0.01
"""Differences of distances of shapes below that are nothing; the unit is the standard deviation of the series."""
EXCESS, HEAVIEST = 6.0, 0.5
"""Margin of a new extreme value that gives a half, in units of what extremes differ by: the index of the tail times
their distance to the mean; and the largest index that counts. That is an alert at 1.1 such units, which of the extremes
of 5000 values one in three exceeds: one in 7200 values, a fifth of the false alarms."""
ALERT = 0.5
"""Score from which on an event has been told."""
HUSHED = 0.15
"""Most that is given, before it is sharpened, of an event that was told already: less than an alert."""
LASTING = 2.0
"""How many times farther than a new level the means after it have to be out for the same score: what lasts is asked for
later than it was, and a series that comes and goes with the day is not to be told again."""
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


class Novelty:
    """Tells of one series, value by value, how new what comes is: from 0 to 1.

    See :mod:`anomaly_app.scoring`. Within ``refractory`` values after a score whatever is not higher is attenuated, the
    closer the more. While there are not more than ``warmup`` values the score is 0.

    Args:
        options: checked ones of ``ANOMALY_SCORE``, all of them.

    Example:
        >>> from anomaly_app.scoring.options import checked
        >>> novelty = Novelty(checked({}))
        >>> max(novelty.score(20.0 + k % 7) for k in range(1000)) < 0.1
        True
        >>> round(novelty.score(50.0), 2), novelty.reason()
        (0.97, 'the value is a new high of the last 1000, by 12 standard deviations')
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

    def score(self, value: float, hushed: int = 0, index: float = 0.0, usual: bool = False) -> float:
        """Score a value, then learn from it.

        Args:
            value: finite, in any unit.
            hushed: rows since the event was told in another way; 0 if it was not. Less than an alert is given then, and
                a new level is told if it lasts until ``refractory`` rows behind that are over.
            index: that of the tail of the errors, as of a Pareto distribution.
            usual: the event is one of this time of the week, and nothing of it is to be told later.

        Returns:
            From 0 to 1.
        """
        if self._asleep:
            self.wake()
        row = self.rows
        if row and rebuilt(row) == row:
            self._rebuild(row)
        signals, place = self.signals, row - self._base
        signals[VALUE, place] = value
        seen = [value, self._mean(row, self._smoothing), math.nan, math.nan]
        signals[MEAN, place] = seen[MEAN]
        for signal, step, discord in zip((SHAPE, LONG_SHAPE), STEPS, self.discords, strict=True):
            if discord is not None and (row + 1) % step == 0:
                distance = discord.add(self._mean(row, step))
                if row >= SHAPES_AFTER * self._length * step:
                    seen[signal] = signals[signal, place] = distance
        return self.judge(seen, hushed, index, usual)

    def judge(self, seen: Sequence[float], hushed: int, index: float, usual: bool) -> float:
        """Score the values that the signals have in a row, then learn them; they are in ``signals`` already.

        Args:
            seen: of each signal; NaN where it has none.
            hushed: see :meth:`score`.
            index: see :meth:`score`.
            usual: see :meth:`score`.
        """
        row = self.rows
        self._best = 0.0
        self._levels.clear()
        for signal, value in enumerate(seen):
            if value == value:
                self._see(signal, row, value, EXCESS * min(index, HEAVIEST) if signal == VALUE else 0.0)
        self.rows = row + 1
        return self._report(row, self._best, hushed, usual)

    @property
    def mean(self) -> float:
        """Of the values that are remembered."""
        return self._spreads[VALUE].mean

    def reason(self) -> str:
        """What gave the last score above 0, for people."""
        signal, sign = SOURCES[self._source]
        record = self._records[self._source]
        high = "high" if sign > 0 else "low"
        by = "after values that were all the same"
        if record.margin < CONSTANT:
            by = f"by {record.margin:.3g} standard deviations"
        past = f"the last {min(record.horizon, self.rows - 1)}"
        if signal >= SHAPE:
            length = self._length * STEPS[signal - SHAPE]
            return f"the last {length} values look less like earlier ones than any of {past}, {by}"
        what = "the value" if signal == VALUE else f"the mean of the last {self._smoothing} values"
        return f"{what} is a new {high} of {past}, {by}"

    def _mean(self, row: int, count: int) -> float:
        """The mean of the last values, that of a row included; all there are if they are fewer."""
        place = row - self._base
        values = self.signals[VALUE, max(place - count + 1, 0) : place + 1].tolist()
        last, total = values[-1], 0.0
        for value in values:  # in time order, as for many series; differences are 0 if the values are all the same
            total += value - last
        return float(last + total / len(values))

    def _see(self, signal: int, row: int, value: float, excess: float = 0.0) -> None:
        """Score the value of a signal, and learn it."""
        spread = self._spreads[signal]
        for source in _OF_SIGNAL[signal]:
            record = self._records[source]
            if record.hold(row, value):
                continue
            deviation = self._deviation(signal) if spread.count > self._warmup else -1.0
            score = record.score(row, value, deviation, self.signals[signal], self._base, spread.mean, excess)
            if score > 0.0 and signal in _LEVELS:
                self._levels.append((source, score))
            if score > self._best:
                self._best, self._source = score, source
        spread.add(value)

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
        peaks, held = [record.peaks[0][0] for record in self._records], self._held
        due = min([each.until for each in held]) if held else math.inf
        return [*[peak.value for peak in peaks], *[peak.row for peak in peaks], due]

    def lend(self, rows: int, base: int, signals: Floats, numbers: Sequence[float]) -> None:
        """Give back what a bank has kept.

        Args:
            rows: that it has seen.
            base: number of the first row of its signals.
            signals: what they were.
            numbers: see :meth:`spreads`; behind them there may be those of :meth:`peaks`.
        """
        self.rows, self._base, self.signals = rows, base, signals
        kinds = len(HALFWAY)
        for signal, spread in enumerate(self._spreads):
            spread.count, spread.mean = int(numbers[signal]), numbers[signal + kinds]
            spread.variance = numbers[signal + 2 * kinds]
        if len(numbers) > 3 * kinds:
            for source, record in enumerate(self._records, 3 * kinds):
                peak = record.peaks[0][0]
                peak.value, peak.row = numbers[source], int(numbers[source + len(SOURCES)])

    def _deviation(self, signal: int) -> float:
        """The standard deviation of a signal, but not less than what is nothing."""
        spread = self._spreads[signal]
        return max(spread.deviation, SAME_SHAPE if signal >= SHAPE else SAME * abs(self._spreads[VALUE].mean))

    def _report(self, row: int, score: float, hushed: int, usual: bool) -> float:
        """The score as it is given out: less if as much was said shortly before, made up for if it has lasted."""
        heard = self._heard
        while heard and heard[0][0] < row - self._refractory:
            heard.popleft()
        lasting = self._lasting(row) if self._held else 0.0
        if score <= 0.0 and lasting <= 0.0:
            return 0.0
        while heard and heard[-1][1] < max(score, lasting):
            heard.pop()
        share = (row - heard[-1][0]) / self._refractory if heard else 1.0
        given = min(score * share, HUSHED) if hushed else score * share
        if self._levels and given**SHARPNESS < ALERT and not usual:
            told = row - hushed if hushed else heard[-1][0] if heard else row - self._refractory
            self._hold(row, told + self._refractory)
        if lasting > given:
            given = score = lasting
        heard.append((row, score))
        given **= SHARPNESS
        if given >= ALERT:
            signal, sign = SOURCES[self._source]
            self._told = row, sign if signal < SHAPE else 0
            if signal == MEAN:
                self._let_go(sign, row - self._smoothing, row)
        return float(given)

    def _hold(self, row: int, until: int) -> None:
        """Keep the new levels of a row until what attenuates their scores is over, if none as far out is kept."""
        if until > row:
            for source, score in self._levels:
                sign = SOURCES[source][1]
                new = all(held.source != source or held.score < score for held in self._held)
                if new and not self._goes_on(row, sign):
                    self._held.append(Held(source, row, until, score, *self._records[source].limits))

    def _goes_on(self, row: int, sign: int) -> bool:
        """Whether a row belongs to what was told in the same direction just before: a shift that goes on since then."""
        told, direction = self._told
        if direction != sign or row - told > self._smoothing:
            return False
        between = row - told - 1
        if not between or told < self._smoothing:
            return True
        moved = self._mean(row - 1, between) - self._mean(told - 1, self._smoothing)
        return sign * moved > self._deviation(VALUE)

    def _lasting(self, row: int) -> float:
        """The score of what was attenuated until now and has lasted: that of the least of its means since then."""
        over = [held for held in self._held if held.until <= row]
        if over:
            self._held = [held for held in self._held if held.until > row]
        best = 0.0
        for held in over:
            signal, sign = SOURCES[held.source]
            length = min(self._smoothing, row - held.row)
            means = [sign * self._mean(end, length) for end in range(row, held.row + length - 1, -length)]
            record = self._records[held.source]
            score = record.beyond(sign * min(means), LASTING * self._deviation(signal), held[-len(WEIGHTS) :])
            if score > max(best, self._best):
                best, self._source = score, held.source
                self._let_go(sign, held.row, held.row + self._smoothing)
        return best

    def _let_go(self, sign: int, first: int, last: int) -> None:
        """A mean that was told has told of all that it moved through in its direction."""
        self._held = [held for held in self._held if SOURCES[held.source][1] != sign or not first <= held.row <= last]

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
