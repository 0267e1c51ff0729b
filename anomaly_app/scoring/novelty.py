"""How new the last values of one series are: new extremes of the value and of its mean, and new shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from anomaly_app.scoring.discord import rebuilt
from anomaly_app.scoring.memory import HALFWAY, LONG_SHAPE, MEAN, SHAPE, SOURCES, STEPS, VALUE, WEIGHTS, Held, Memory
from anomaly_app.words import figure

_LEVELS = (VALUE, MEAN)
"""Signals that stay where they are after a shift; a new shape is over by itself."""
_OF_SIGNAL = ((0, 1), (2, 3), (4,), (5,))

SHARPNESS = 3.0 / 8.0
"""Exponent of the score: it puts the threshold that is best on the NAB files close to 0.5."""
SHAPES_AFTER = 5
"""Lengths of a subsequence that are seen before distances count: the first have little to be compared with."""
CONSTANT = 1e6
"""Margins from there on come of values that never differed."""
EXCESS, HEAVIEST = 6.0, 0.5
"""Margin of a new extreme value that gives a half, in units of what extremes differ by: the index of the tail times
their distance to the mean; and the largest index that counts. That is an alert at 1.1 such units, which of the extremes
of 5000 values one in three exceeds: one in 7200 values, a fifth of the false alarms."""
FEW, ENOUGH = 1.5, (1500, 1500, 800, 800)
"""The n-th value is a new high or low with a chance of 2 / n, so that series of which little is known would have some
a day: for every e times fewer rows of a signal than are enough, it has to be that much farther out. Measured on quiet
series, so that there are as many false alarms in the first 1000 rows as later."""
ALERT = 0.5
"""Score from which on an event has been told."""
HUSHED = 0.15
"""Most that is given, before it is sharpened, of an event that was told already: less than an alert."""
LASTING = 2.0
"""How many times farther than a new level the means after it have to be out for the same score: what lasts is asked for
later than it was, and a series that comes and goes with the day is not to be told again."""


class Novelty(Memory):
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
        (0.95, 'the value is a new high of the last 1000, by 12 standard deviations')
    """

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
        self._best = 0.0
        self._levels.clear()
        for signal, seen_value in enumerate(seen):
            if seen_value == seen_value:
                self._see(signal, row, seen_value, EXCESS * min(index, HEAVIEST) if signal == VALUE else 0.0)
        self.rows = row + 1
        return self._report(row, self._best, hushed, usual)

    def judge_lent(
        self,
        seen: Sequence[float],
        beyond: Sequence[bool],
        numbers: list[float],
        hushed: int,
        index: float,
        usual: bool,
    ) -> float:
        """The same for a series that a bank has lent, which knows what its signals are.

        Args:
            seen: of each signal, which has it already; NaN where it has none.
            beyond: of each of ``SOURCES``, whether its shortest peak does not hold that.
            numbers: see :meth:`lend`; those of :meth:`peaks` that change are changed.
            hushed: see :meth:`score`.
            index: see :meth:`score`.
            usual: see :meth:`score`.
        """
        row, first = self.rows, 3 * len(HALFWAY)
        self._best = 0.0
        self._levels.clear()
        for signal, value in enumerate(seen):
            if value != value:
                continue
            for source in _OF_SIGNAL[signal]:
                if beyond[source]:
                    peak, place = self._records[source].peaks[0][0], first + source
                    peak.value, peak.row = numbers[place], int(numbers[place + len(SOURCES)])
                    self._try(source, signal, row, value, EXCESS * min(index, HEAVIEST) if signal == VALUE else 0.0)
                    numbers[place], numbers[place + len(SOURCES)] = peak.value, peak.row
            self._spreads[signal].add(value)
        self.rows = row + 1
        score = self._report(row, self._best, hushed, usual)
        numbers[-1] = self.due()
        return score

    def reason(self) -> str:
        """What gave the last score above 0, for people."""
        signal, sign = SOURCES[self._source]
        record = self._records[self._source]
        high = "high" if sign > 0 else "low"
        by = "after values that were all the same"
        if record.margin < CONSTANT:
            by = f"by {figure(record.margin, 3)} standard deviations"
        past = f"the last {min(record.horizon, self.rows - 1)}"
        if signal >= SHAPE:
            length = self._length * STEPS[signal - SHAPE]
            return f"the last {length} values look less like earlier ones than any of {past}, {by}"
        what = "the value" if signal == VALUE else f"the mean of the last {self._smoothing} values"
        return f"{what} is a new {high} of {past}, {by}"

    def _see(self, signal: int, row: int, value: float, excess: float = 0.0) -> None:
        """Score the value of a signal, and learn it."""
        for source in _OF_SIGNAL[signal]:
            if not self._records[source].hold(row, value):
                self._try(source, signal, row, value, excess)
        self._spreads[signal].add(value)

    def _try(self, source: int, signal: int, row: int, value: float, excess: float) -> None:
        """Score a value that the shortest horizon of a source does not hold."""
        spread = self._spreads[signal]
        deviation = self._deviation(signal) if spread.count > self._warmup else -1.0
        values, base = self.signals[signal], self._base
        times = self._times(signal)
        score = self._records[source].score(row, value, deviation, values, base, spread.mean, excess, times)
        if score > 0.0 and signal in _LEVELS:
            self._levels.append((source, score))
        if score > self._best:
            self._best, self._source = score, source

    def _times(self, signal: int) -> float:
        """How many times farther out than later a signal has to be of which little is known, at least 1."""
        rows = self._spreads[signal].count * (STEPS[signal - SHAPE] if signal >= SHAPE else 1)
        return 1.0 + FEW * max(math.log(ENOUGH[signal] / max(rows, 1)), 0.0)

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
            times = LASTING * self._times(signal)
            score = record.beyond(sign * min(means), self._deviation(signal), held[-len(WEIGHTS) :], times=times)
            if score > max(best, self._best):
                best, self._source = score, held.source
                self._let_go(sign, held.row, held.row + self._smoothing)
        return best

    def _let_go(self, sign: int, first: int, last: int) -> None:
        """A mean that was told has told of all that it moved through in its direction."""
        self._held = [held for held in self._held if SOURCES[held.source][1] != sign or not first <= held.row <= last]
