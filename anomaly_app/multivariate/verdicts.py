"""What a multivariate detector says about points."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly_app.detectors import Floats, Integers
from anomaly_app.multivariate.fields import Fields
from anomaly_app.multivariate.model import Judgement
from anomaly_app.words import figure

_WORTH_TELLING = 0.1
"""Share of the score that a field needs to be named in an explanation."""


class Outliers:
    """Verdicts on the points of one call; points without one keep NaN.

    Args:
        fields: of the points.
        times: of the points.
    """

    def __init__(self, fields: Fields, times: Integers) -> None:
        self._fields, self._times = fields, times
        n = len(times)
        self._score, self._bound, self._ratio = np.full(n, np.nan), np.full(n, np.nan), np.full(n, np.nan)
        self._parts = np.zeros((n, len(fields.groups)))
        self._flagged: dict[int, tuple[Floats, Floats, Floats]] = {}
        self._infinite: dict[int, list[str]] = {}

    def add(self, rows: Integers, judgement: Judgement, bound: Floats, ratio: Floats) -> None:
        """Judged points; features of one field are added up."""
        self._score[rows], self._bound[rows], self._ratio[rows] = judgement.scores, bound, ratio
        for feature, group in enumerate(self._fields.group.tolist()):
            self._parts[rows, group] += judgement.contributions[:, feature]

    def add_infinite(self, rows: Integers, infinite: NDArray[np.bool_], bound: Floats) -> None:
        """Points with infinite values: anomalies, whatever the model, and by those values alone."""
        self._score[rows], self._bound[rows], self._ratio[rows] = np.inf, bound, np.inf
        for row, fields in zip(rows.tolist(), infinite, strict=True):
            own = np.flatnonzero(fields)
            self._parts[row, own] = np.inf
            self._infinite[row] = [self._fields.names[place] for place in own.tolist()]

    def add_flagged(self, rows: Integers, features: Floats, usual: Floats, spread: Floats) -> None:
        """What the explanations of anomalies need."""
        self._flagged.update(zip(rows.tolist(), zip(features, usual, spread, strict=True), strict=True))

    def values(self) -> list[Any]:
        """Rows (timestamp, score, threshold, is_anomaly, contributions)."""
        names = self._fields.groups
        return [
            (time, None, None, None, None)
            if ratio != ratio
            else (time, score, bound, ratio > 1, dict(zip(names, parts, strict=True)))
            for time, score, bound, ratio, parts in zip(
                self._times.tolist(),
                self._score.tolist(),
                self._bound.tolist(),
                self._ratio.tolist(),
                self._parts.tolist(),
                strict=True,
            )
        ]

    def flags(self) -> list[bool | None]:
        """Whether each point is an anomaly; None for one that is missing or before the first verdict."""
        return [None if ratio != ratio else ratio > 1 for ratio in self._ratio.tolist()]

    def scores(self) -> list[float | None]:
        """How far each point is out, in units of the way from the usual score to the bound."""
        return [None if ratio != ratio else ratio for ratio in self._ratio.tolist()]

    def explain(self, number: int) -> str:
        """The score, the bound, and the fields that make the score, the largest first."""
        score, bound = self._score[number], self._bound[number]
        if number in self._infinite:
            return f"{', '.join(self._infinite[number])}: infinite"
        if number not in self._flagged:
            if np.isnan(score):
                return "no anomaly: no verdict"
            return f"no anomaly: score {figure(score, 3)}, not above the bound {figure(bound, 3)}"
        parts = self._parts[number]
        total = parts[parts > 0].sum()
        words = [
            self._fields.describe(group, *self._flagged[number])
            + (f" contributes {parts[group] / total:.0%}" if total else "")
            for place, group in enumerate(np.argsort(-parts, kind="stable").tolist())
            if place == 0 or parts[group] >= _WORTH_TELLING * total > 0
        ]
        return f"score {figure(score, 3)} is above the bound {figure(bound, 3)}: {', '.join(words)}"
