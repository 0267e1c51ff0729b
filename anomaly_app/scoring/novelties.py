"""How new the last values of many series are: :class:`~anomaly_app.scoring.novelty.Novelty`, the same bits.

In most rows of most series nothing happens: each signal is within what the shortest horizon of its records holds. Then
the signals, their spreads and the comparison of shapes go on, and the score is 0; that is done for all series at once.
Only a series of which a signal is beyond what is held, or of which something held back is due, is judged by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly_app.detectors import Floats, Integers
from anomaly_app.forecasting.storage import enlarged
from anomaly_app.scoring.discord import GROWN, OLD, YOUNG, lasts, rebuilt, step_means
from anomaly_app.scoring.memory import HALFWAY, MEAN, SAME, SHAPE, SOURCES, STEPS, VALUE
from anomaly_app.scoring.novelty import SHAPES_AFTER, Novelty
from anomaly_app.scoring.slabs import Group, Size, Slabs

SIGNALS = len(HALFWAY)
COUNT, AVERAGE, VARIANCE, TOP, TOP_ROW = (SIGNALS * 0, SIGNALS, SIGNALS * 2, SIGNALS * 3, SIGNALS * 3 + len(SOURCES))
"""Where the numbers of the first signal or source are, see :meth:`Novelty.spreads` and
:meth:`Novelty.peaks`."""
DUE = TOP_ROW + len(SOURCES)
SET_UP = 16_384
"""Values of series that are set up at once: what is made of them stays in the cache."""

NOTHING = np.zeros((SIGNALS, 0))
"""The signals of a series that are kept in a slab."""


def _rebuilt(rows: Integers) -> Integers:
    """:func:`rebuilt` of many."""
    return rows - rows % np.where(rows < GROWN, YOUNG, OLD)


class Novelties:
    """Tells of many series how new what comes is.

    Args:
        options: checked ones of ``ANOMALY_SCORE``, all of them.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._history: int = options["history"]
        self._smoothing: int = options["smoothing"]
        self._shortest: int = options["recent"] // 2
        self._length: int = options["subsequence"] // STEPS[0]
        self._slabs = Slabs(SIGNALS, self._length, STEPS)
        self._numbers = np.zeros((DUE + 1, 0))
        self._rows = np.zeros(0, dtype=np.int64)
        self._floor = np.zeros(0)
        self._last = np.zeros((max(self._smoothing, *STEPS), 0))
        """The last values: that of a row in place ``row % len``."""
        self._single: list[Novelty | None] = []
        self._away = np.zeros(0, dtype=np.bool_)

    def grow(self, series: int) -> None:
        """Make room; a new series is not here before it is put here."""
        self._numbers, self._last = enlarged(self._numbers, series), enlarged(self._last, series)
        columns = self._numbers.shape[1]
        self._rows.resize(columns, refcheck=False)
        self._floor.resize(columns, refcheck=False)
        self._away.resize(columns, refcheck=False)
        self._slabs.grow(columns)
        self._single += [None] * (columns - len(self._single))

    # --- one row of each of some series -------------------------------------------------------------------------------

    def score(
        self, series: Integers, values: Floats, hushed: Integers, index: Floats, usual: NDArray[np.bool_]
    ) -> tuple[Floats, Integers]:
        """Score a value of each of some series, then learn from it.

        Args:
            series: each once; all are here.
            values: finite.
            hushed: of each, rows since the event was told in another way, see :meth:`Novelty.score`.
            index: of each, that of the tail of the errors.
            usual: of each, whether the event is one of this time of the week.

        Returns:
            The scores, and of which points they may be above 0.
        """
        with np.errstate(all="ignore"):  # the same as Python's floats
            rows = self._rows[series]
            start = _rebuilt(rows)
            over = np.flatnonzero((rows == start) & (rows > 0))
            if len(over):
                self._rebuild(series[over])
            groups = self._slabs.groups(series, rows - start)
            self._last[rows % len(self._last), series] = values
            seen, shaped = self._seen(series, rows, values, groups)
            beyond, due = self._beyond(series, rows, seen, shaped)
            special = np.flatnonzero(beyond.any(axis=0) | due)
            own = series[special]
            before = self._numbers[:, own].T.tolist()
            self._learn(series, seen, shaped)
            for group in groups:
                at = group.slab.size.rows + group.phase
                for signal in (VALUE, MEAN, *shaped):
                    group.slab.signals[group.slots, signal, at] = seen[signal, group.which]
            self._rows[series] = rows + 1
        scores = np.zeros(len(series))
        if len(special):
            for place, number, row, begun, held, each, sources in zip(
                special.tolist(),
                own.tolist(),
                rows[special].tolist(),
                start[special].tolist(),
                before,
                seen[:, special].T.tolist(),
                beyond[:, special].T.tolist(),
                strict=True,
            ):
                novelty = self._lent(number, row, begun, held, peaks=False)
                known = int(hushed[place]), float(index[place]), bool(usual[place])
                scores[place] = novelty.judge_lent(each, sources, held, *known)
                novelty.signals = NOTHING
            self._numbers[TOP:, own] = np.array(before).T[TOP:]
        return scores, special

    def _seen(self, series: Integers, rows: Integers, values: Floats, groups: list[Group]) -> tuple[Floats, list[int]]:
        """What the signals are; NaN where there is none. And the signals of shapes that some series have."""
        seen = np.full((SIGNALS, len(series)), math.nan)
        seen[VALUE] = values
        seen[MEAN] = self._means(series, rows, self._smoothing)
        shaped = []
        for place, step in enumerate(STEPS):
            ends = (rows + 1) % step == 0
            means = None
            for group in groups:
                discords = group.slab.discords[place]
                if discords is None or not ends[group.which].any():
                    continue
                if means is None:
                    means = self._means(series, rows, step)
                part = group.those(ends)
                seen[SHAPE + place, part.which] = discords.add(part.slots, part.phase // step, means[part.which])
            if means is not None:
                known = (self._floor[series] > 0.0) & (rows >= SHAPES_AFTER * self._length * step)
                if known.any():
                    seen[SHAPE + place, ~known] = math.nan
                    shaped.append(SHAPE + place)
                else:
                    seen[SHAPE + place] = math.nan
        return seen, shaped

    def _means(self, series: Integers, rows: Integers, count: int) -> Floats:
        """The means of the last values, those of the rows included; all there are if they are fewer."""
        kept = self._last
        last = kept[rows % len(kept), series]
        total = np.zeros(len(series))
        young = int(rows.min()) < count - 1
        alike = (rows == rows[0]).all()
        for back in range(count - 1, 0, -1):
            if alike:
                if rows[0] < back:
                    continue
                total += kept[(rows[0] - back) % len(kept), series] - last
            else:
                apart = kept[(rows - back) % len(kept), series] - last
                total += np.where(rows < back, 0.0, apart) if young else apart
        return last + total / np.minimum(rows + 1, count)

    def _beyond(
        self, series: Integers, rows: Integers, seen: Floats, shaped: list[int]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which series are not held in what they have seen, by source; and of which something held back is due.

        A value that is as large as the largest takes its place: it scores 0, too.
        """
        numbers = self._numbers
        beyond = np.zeros((len(SOURCES), len(series)), dtype=np.bool_)
        oldest = rows - self._shortest
        for source, (signal, sign) in enumerate(SOURCES):
            if signal < SHAPE or signal in shaped:
                value = seen[signal] if sign > 0 else -seen[signal]
                top = numbers[TOP + source, series]
                held = (value <= top) & (numbers[TOP_ROW + source, series] >= oldest)
                again = np.flatnonzero(held & (value == top))
                numbers[TOP_ROW + source, series[again]] = rows[again]
                if signal >= SHAPE:
                    held |= np.isnan(value)
                np.logical_not(held, out=beyond[source])
        return beyond, numbers[DUE, series] <= rows

    def _learn(self, series: Integers, seen: Floats, shaped: list[int]) -> None:
        """The spreads of the signals, see :class:`Spread`."""
        numbers = self._numbers
        for signal in (VALUE, MEAN, *shaped):
            own, values = series, seen[signal]
            if signal >= SHAPE:
                known = np.flatnonzero(~np.isnan(values))
                own, values = own[known], values[known]
            count = numbers[COUNT + signal, own] + 1.0
            weight = 1.0 / np.minimum(count, self._history)
            mean = numbers[AVERAGE + signal, own]
            apart = values - mean
            moved = weight * apart
            numbers[COUNT + signal, own] = count
            numbers[AVERAGE + signal, own] = mean + moved
            numbers[VARIANCE + signal, own] = (1.0 - weight) * (numbers[VARIANCE + signal, own] + moved * apart)

    # --- what is remembered -------------------------------------------------------------------------------------------

    def _rebuild(self, series: Integers) -> None:
        """Forget what is too old, and set the comparison of shapes up anew; see :meth:`Novelty.score`."""
        numbers = self._numbers
        floor = np.maximum(np.sqrt(numbers[VARIANCE, series]), SAME * np.abs(numbers[AVERAGE, series]))
        self._floor[series] = floor
        rows = self._rows[series]
        for group in self._slabs.groups(series, np.zeros(len(series), dtype=np.int64)):
            old = group.slab.size
            kept = min(old.rows + old.room, self._history)
            which = np.arange(len(series))[group.which]
            grown = rows[which] >= GROWN
            for some, room in ((which[~grown], YOUNG), (which[grown], OLD)):
                together = max(SET_UP // kept, 1)
                for first in range(0, len(some), together):
                    part = some[first : first + together]
                    self._set_up(series[part], floor[part], Size(kept, room))
            self._slabs.tidy(self._away)  # the next group gets the memory

    def _set_up(self, series: Integers, floor: Floats, size: Size) -> None:
        """Move some series of one slab to others of some size."""
        left, _ = self._slabs.where(int(series[0]))
        signals = left.signals[self._slabs.slots(series), :, -size.rows :]
        self._slabs.release(series)
        for slab, part, free in self._slabs.take(series, size):
            slab.signals[free, :, : size.rows] = signals[part]
            slab.signals[free, :, size.rows :] = math.nan
            for step, discords in zip(STEPS, slab.discords, strict=True):
                if discords is not None:
                    discords.set_up(free, step_means(signals[part, VALUE], step), floor[part])

    def put(self, series: int, novelty: Novelty) -> None:
        """Take over a series that was by itself; its arrays are kept here from now on."""
        novelty.wake()
        rows, start = novelty.rows, rebuilt(max(novelty.rows - 1, 0))
        size = Size(min(start, self._history), lasts(start))
        ((slab, _, free),) = self._slabs.take(np.array([series]), size)
        slot = int(free[0])
        slab.signals[slot] = novelty.signals
        for own, discords in zip(novelty.discords, slab.discords, strict=True):
            if own is not None and discords is not None:
                discords.put(slot, own)
        self._numbers[:, series] = novelty.spreads() + novelty.peaks()
        self._rows[series], self._floor[series] = rows, novelty.floor
        for row in range(max(rows - len(self._last), 0), rows):
            self._last[row % len(self._last), series] = novelty.signals[VALUE, row - start + size.rows]
        self._single[series] = novelty
        self.let_be(series)

    def lend(self, series: int, scoring: bool) -> Novelty:
        """One of the series by itself; to be taken back if values are scored."""
        rows = int(self._rows[series])
        start = rebuilt(max(rows - 1, 0))
        novelty = self._lent(series, rows, start, self._numbers[:, series].tolist(), scoring)
        novelty.floor = float(self._floor[series])
        self._away[series] = scoring
        if scoring and novelty.floor > 0.0:
            slab, slot = self._slabs.where(series)
            novelty.discords = [
                None if discords is None else discords.lend(slot, rows // step - start // step)
                for step, discords in zip(STEPS, slab.discords, strict=True)
            ]
        return novelty

    def take_back(self, series: int) -> None:
        """What has changed of a series that was lent."""
        novelty = self._single[series]
        assert novelty is not None
        before, self._away[series] = int(self._rows[series]), False
        if rebuilt(max(before - 1, 0)) != rebuilt(max(novelty.rows - 1, 0)):  # it has arrays of its own now
            self._slabs.release(np.array([series]))
            self.put(series, novelty)
            self._slabs.tidy(self._away)
            return
        slab, slot = self._slabs.where(series)
        for own, discords in zip(novelty.discords, slab.discords, strict=True):
            if own is not None and discords is not None:
                discords.take_back(slot, own)
        self._numbers[:, series], self._rows[series] = novelty.spreads() + novelty.peaks(), novelty.rows
        for row in range(max(novelty.rows - len(self._last), before), novelty.rows):
            place = row - rebuilt(max(novelty.rows - 1, 0)) + slab.size.rows
            self._last[row % len(self._last), series] = slab.signals[slot, VALUE, place]
        self.let_be(series)

    def let_be(self, series: int) -> None:
        """Nothing has changed of a series that was lent."""
        novelty = self._single[series]
        assert novelty is not None
        novelty.discords, novelty.signals = [None] * len(STEPS), NOTHING

    def _lent(self, series: int, rows: int, start: int, numbers: list[float], peaks: bool) -> Novelty:
        novelty = self._single[series]
        assert novelty is not None
        slab, slot = self._slabs.where(series)
        novelty.lend(rows, start - slab.size.rows, slab.signals[slot], numbers, peaks)
        return novelty

    def forget(self, series: int) -> None:
        """Let a series go, if it is here."""
        if series < len(self._single) and self._single[series] is not None:
            self._single[series], self._away[series] = None, False
            self._slabs.release(np.array([series]))
            self._slabs.tidy(self._away)
