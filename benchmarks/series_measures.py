"""How alerts on labelled series are counted, for ``series.py``; the rules of ``shared/wsd/README.md``.

An *event* is a stretch of labelled rows with gaps of at most 30 rows. It is *found* if a row from 5 before to 5 behind
it scores at least the threshold. Rows outside of all events that do are *false alarms*, those within 30 rows of each
other one. One threshold for all series.

At a *budget* the threshold is lowered as far as there are no more false alarms than that; not beyond the first time
that there are, since alarms that run together are fewer again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

APART = 30
"""Rows between labels of one event at most, and between alarms that are one."""
CLOSE = 5
"""Rows before and behind an event in which an alert finds it."""
A_DAY = 1440
"""Rows in a day at a point a minute: rates are per so many rows, whatever the step of a series."""
BUDGETS = (0.3, 1.0, 3.0)
GRID = 200
"""Scores of false alarms that are tried as thresholds, besides those of all events."""


@dataclass(frozen=True)
class Series:
    """A labelled series.

    Args:
        name: as printed; its first part is the corpus.
        times: in ms.
        values: one a row.
        events: first and last row, and what kind of anomaly it is (empty if that is not known).
        day: rows in a day of this series.
        windows: those of NAB, if it is one of its files.
    """

    name: str
    times: NDArray[np.int64]
    values: Floats
    events: Sequence[tuple[int, int, str]]
    day: int = A_DAY
    windows: Sequence[tuple[int, int]] = field(default=())

    @property
    def days(self) -> float:
        """How many days it lasts, a point counted as a minute."""
        return len(self.values) / A_DAY


def events_of(labels: Floats) -> list[tuple[int, int, str]]:
    """Stretches of labelled rows with gaps of at most :data:`APART` rows.

    Example:
        >>> events_of(np.array([0, 1, 1, 0, 1] + [0] * 40 + [1]))
        [(1, 4, ''), (45, 45, '')]
    """
    rows = np.flatnonzero(labels)
    if not len(rows):
        return []
    cuts = np.flatnonzero(np.diff(rows) > APART)
    return [
        (int(a), int(b), "") for a, b in zip(rows[np.r_[0, cuts + 1]], rows[np.r_[cuts, len(rows) - 1]], strict=True)
    ]


def outside(series: Series) -> NDArray[np.bool_]:
    """Rows in which an alert is a false one."""
    free = np.ones(len(series.values), dtype=np.bool_)
    for first, last, _ in series.events:
        free[max(first - CLOSE, 0) : last + CLOSE + 1] = False
    return free


def clusters(rows: NDArray[np.int64]) -> int:
    """Alarms in some rows: those within :data:`APART` rows of the one before belong to it.

    Example:
        >>> clusters(np.array([3, 4, 30, 100]))
        2
    """
    return int((np.diff(rows) > APART).sum()) + 1 if len(rows) else 0


@dataclass(frozen=True)
class Prepared:
    """Scores of one series as the measures need them.

    Args:
        series: whose they are.
        peaks: the largest score of each event.
        rows, scores: of the rows outside of events, those that score anything.
    """

    series: Series
    peaks: Floats
    rows: NDArray[np.int64]
    scores: Floats

    def false(self, threshold: float) -> int:
        """False alarms at a threshold."""
        return clusters(self.rows[self.scores >= threshold])


def prepare(series: Series, scores: Floats) -> Prepared:
    """Look at scores of a series, one a row."""
    known = np.nan_to_num(scores, nan=0.0)
    peaks = [float(known[max(first - CLOSE, 0) : last + CLOSE + 1].max()) for first, last, _ in series.events]
    rows = np.flatnonzero(outside(series) & (known > 0))
    return Prepared(series, np.array(peaks), rows, known[rows])


@dataclass(frozen=True)
class Reached:
    """What was reached at a threshold.

    Args:
        threshold: the score that an alert has at least; infinite if even the highest is over the budget.
        found, events: how many.
        false: false alarms a day and series.
        worst: of the series that has most of them.
        kinds: found and all events by kind.
    """

    threshold: float
    found: int
    events: int
    false: float
    worst: float
    kinds: dict[str, tuple[int, int]]


def reach(prepared: Iterable[Prepared], threshold: float) -> Reached:
    """What is found at a threshold, at how many false alarms."""
    found = events = false = 0
    days = worst = 0.0
    kinds: dict[str, tuple[int, int]] = {}
    for one in prepared:
        hit = (one.peaks >= threshold) & (one.peaks > 0)
        here = one.false(threshold)
        found, events, false, days = found + int(hit.sum()), events + len(hit), false + here, days + one.series.days
        worst = max(worst, here / one.series.days)
        for (_, _, kind), is_found in zip(one.series.events, hit.tolist(), strict=True):
            before = kinds.get(kind, (0, 0))
            kinds[kind] = before[0] + is_found, before[1] + 1
    return Reached(threshold, found, events, false / days if days else 0.0, worst, kinds)


def at_budget(prepared: Sequence[Prepared], budget: float) -> Reached:
    """What is found with one threshold for all series that gives at most so many false alarms a day and series."""
    days = sum(each.series.days for each in prepared)
    peaks = np.concatenate([np.zeros(1), *(each.peaks for each in prepared)])
    false = np.sort(np.concatenate([np.zeros(1), *(each.scores for each in prepared)]))[::-1]
    ranks = np.unique(np.geomspace(1, len(false), GRID).astype(int)) - 1
    thresholds = np.unique(np.concatenate([peaks, false[ranks]]))
    best = np.inf
    for threshold in thresholds[thresholds > 0][::-1].tolist():
        if sum(each.false(threshold) for each in prepared) > budget * days:
            break
        best = threshold
    return reach(prepared, best)
