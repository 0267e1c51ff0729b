"""A forecast for each point, bounds around it, and whether the point lies outside."""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly_app.detectors import Entries, Floats, Integers
from anomaly_app.forecasting import season as seasons
from anomaly_app.forecasting.fitting import Candidate
from anomaly_app.forecasting.step import HUGE, OUTPUTS, PATH
from anomaly_app.forecasting.storage import Storage
from anomaly_app.forecasting.verdicts import UNIT, ForecastVerdicts, SeasonNote

FEW = 100
"""Series a round from which on arrays are faster than floats."""
MODEL, POINTS, LENGTH, STEP = range(4)
"""First fields of a series: the model chosen, counted from 1 (0 for none), points and ms of a season, ms of a step."""
OWN = 4
TOGETHER = 2_000_000
"""Points that are estimated from at once: more series wait, so that 10,000 of them do not need gigabytes."""
CHOICE = 512
"""Last points by which the model is chosen when a season is taken up: all of them for each model would take long."""


@dataclass(frozen=True, slots=True)
class Season:
    """How the season of a series is found.

    Args:
        points: places of a season; None to look for it in the training.
        length_ms: of a season; None for ``points`` usual steps of the training.
        most: places that a season may have.
        visits: to places of the season before it is taken up; None to take it up with the training.
    """

    points: int | None
    length_ms: int | None
    most: int
    visits: int | None = None


class ForecastDetector:
    """Models of many series of one number each.

    A series is trained with its first points, then judged point by point. Of several candidates each series gets the
    one with the least Akaike criterion.

    Args:
        candidates: models that may be chosen.
        training: points, missing ones not counted, from which a model is estimated.
        season: None without.
        seasonal: models that may be chosen when a season is taken up after the training.
    """

    width = 1

    def __init__(
        self,
        candidates: Sequence[Candidate],
        training: int,
        season: Season | None = None,
        seasonal: Sequence[Candidate] = (),
    ) -> None:
        self.candidates, self.training, self.season = (*candidates, *seasonal), training, season
        self._late = season if season and season.visits is not None else None
        self._first, self._second = slice(0, len(candidates)), slice(len(candidates), None)
        self.note = ""
        """Ends what is said of bounds in explanations."""
        size = max(len(candidate.fields) for candidate in self.candidates)
        self.path = candidates[0].plan.path
        self.lines = len(candidates[0].plan.outputs)
        self.storage = Storage(OWN + size, season.most if season else 0)

    def grow(self, series: int) -> None:
        """Make room."""
        self.storage.grow(series)

    def update(self, series: Integers, times: Integers, points: Floats) -> ForecastVerdicts:
        """Judge points, then learn from them."""
        values = np.ascontiguousarray(points[:, 0])
        count = len(series)
        rounds = int(np.bincount(series).max()) if count else 0
        judging = self._judging(series) if self._may_change(series) else None
        if rounds == 1 and count >= FEW:
            results = self._round(series, times, values)
        else:
            results = np.full((self.lines, count), np.nan)
            if count < FEW * rounds:
                self._one_by_one(series, times, values, results, judging)
            elif count:
                for which in one_each(series):
                    if judging is not None:
                        judging[:, which] = self._judging(series[which])
                    results[:, which] = self._round(series[which], times[which], values[which])
        self.storage.touch(series)
        models, steps, waiting = self._judging(series) if judging is None else judging
        season = SeasonNote(self._late.most, self._late.visits or 0, waiting) if self._late else None
        return ForecastVerdicts(self.candidates, times, values, results, models, steps, season, self.note)

    def _may_change(self, series: Integers) -> bool:
        """Whether a series may get a second model in the middle of a batch."""
        return self._late is not None and (
            bool(self.storage.training) or bool((self.storage.state[MODEL, series] == 0).any())
        )

    def _judging(self, series: Integers) -> Floats:
        """Of each series the model and the step with which it judges, and the points that wait for its season."""
        judging = np.zeros((3, len(series)))
        judging[:2] = self.storage.state[[[MODEL], [STEP]], series]
        if self._late and self.storage.training:
            held = self.storage.training
            judging[2] = [len(held[number][0]) if number in held else 0 for number in series.tolist()]
        return judging

    def changes(self, series: int) -> Entries:
        """Entries put or deleted since the last call."""
        return self.storage.changes(series)

    def restore(self, series: int, entries: Any) -> None:
        """Give a fresh series its entries."""
        self.storage.restore(series, entries)

    def forget(self, series: int) -> None:
        """Make a series fresh."""
        self.storage.forget(series)

    # --- many series: one operation for all ---------------------------------------------------------------------------

    def _round(self, series: Integers, times: Integers, values: Floats) -> Floats:
        """Results of one point of each of some series."""
        chosen = self.storage.state[MODEL, series]
        known = np.abs(values) <= HUGE
        results = self._judge_round(series, times, values, chosen, known)
        if self._late and self.storage.training:
            part = np.flatnonzero(known & (chosen > 0))
            self._collect_round(series[part], times[part], values[part])
        return results

    def _judge_round(
        self, series: Integers, times: Integers, values: Floats, chosen: Floats, known: NDArray[np.bool_]
    ) -> Floats:
        """The same by the models ``chosen``; points of series without one are collected."""
        first = int(chosen[0])
        if first and known.all() and (chosen == first).all():
            return self._step(first, True, series, times, values)
        results = np.full((self.lines, len(series)), np.nan)
        for number in np.unique(chosen).astype(int):
            for observed in (True, False):
                part = np.flatnonzero((chosen == number) & (known == observed))
                if len(part) and number:
                    results[:, part] = self._step(number, observed, series[part], times[part], values[part])
                elif observed:
                    self._collect_round(series[part], times[part], values[part])
        return results

    def _step(self, number: int, observed: bool, series: Integers, times: Integers, values: Floats) -> Floats:
        """Results of one point of each of some series, which have the same model."""
        candidate = self.candidates[number - 1]
        kernel = candidate.observe if observed else candidate.miss
        low, count = int(series.min()), len(series)
        rows, table = slice(OWN, OWN + len(candidate.fields)), self.storage.table
        whole = int(series.max()) - low + 1 == count
        if whole:  # every series of a range: its state needs no copy
            order = series - low
            if not (order[1:] > order[:-1]).all():
                back = np.empty_like(order)
                back[order] = np.arange(count)
                return self._step(number, observed, series[back], times[back], values[back])[:, order]
            columns: Any = slice(low, low + count)
            state = self.storage.state[rows, columns]
        else:
            columns = series
            state = np.take(self.storage.state[rows], series, axis=1)
        inputs, has_season = values[None], candidate.has_season
        if has_season:
            place = self._places(series, times)
            at: Any = int(place[0]) if (place == place[0]).all() else place
            inputs = np.stack([values, table[at, columns if isinstance(at, int) else series]])
        out = kernel.many_series(state, inputs)
        if not whole:
            self.storage.state[rows, series] = state
        if has_season:
            seasonal = self.storage.state[POINTS, series] > 1
            if isinstance(at, int) and seasonal.all():
                table[at, columns] = out[self.lines]
            else:
                table[place[seasonal], series[seasonal]] = out[self.lines][seasonal]
            self.storage.wrote(series[seasonal], place[seasonal])
            self._add_season(series, times, out)
        return out[: self.lines]

    def _collect_round(self, series: Integers, times: Integers, values: Floats) -> None:
        """Keep a point of each of some series, which have a model or which all have none."""
        full = [
            number
            for number, time, value in zip(series.tolist(), times.tolist(), values.tolist(), strict=True)
            if self._collect(number, time, value)
        ]
        self._train(full)

    # --- few series: one after another --------------------------------------------------------------------------------

    def _one_by_one(
        self, series: Integers, times: Integers, values: Floats, results: Floats, judging: Floats | None
    ) -> None:
        order = np.argsort(series, kind="stable")
        bounds = np.flatnonzero(np.diff(series[order])) + 1
        for which in np.split(order, bounds):
            number, known, start = int(series[which[0]]), np.abs(values[which]) <= HUGE, 0
            while start < len(which):
                if judging is not None:
                    judging[:2, which[start:]] = self.storage.state[[[MODEL], [STEP]], number]
                end, complete = self._collect_some(number, times[which], values[which], known, start, which, judging)
                part = which[start:end]
                if self.storage.state[MODEL, number]:
                    self._one(number, times[part], values[part], known[start:end], results, part)
                if complete:
                    self._train([number])
                start = end

    def _one(
        self,
        series: int,
        times: Integers,
        values: Floats,
        known: NDArray[np.bool_],
        results: Floats,
        where: Integers,
    ) -> None:
        """Points of one series, which has a model."""
        count = len(values)
        candidate = self.candidates[int(self.storage.state[MODEL, series]) - 1]
        rows = slice(OWN, OWN + len(candidate.fields))
        state = self.storage.state[rows, series].tolist()
        at, table = None, None
        if candidate.has_season:
            at = self._places(series, times)
            table = self.storage.table[:, series].data if self.storage.state[POINTS, series] > 1 else _NoSeason()
        switches = np.flatnonzero(np.diff(known)) + 1
        if candidate.has_season and self.path:  # the season of later points is that known behind each point
            switches = np.arange(1, count)
        for begin, end in zip([0, *switches.tolist()], [*switches.tolist(), count], strict=True):
            kernel = candidate.observe if known[begin] else candidate.miss
            inputs = [values[begin:end].tolist()]
            if at is not None:
                inputs.append(at[begin:end].tolist())
            state, out = kernel.one_series(state, inputs, table)
            lines = np.array(out).reshape(end - begin, -1).T
            if candidate.has_season:
                self._add_season(np.array([series]), times[begin:end], lines)
            results[:, where[begin:end]] = lines[: self.lines]
        self.storage.state[rows, series] = state
        if at is not None and self.storage.state[POINTS, series] > 1:
            self.storage.wrote(series, at)

    def _add_season(self, series: Integers, times: Integers, lines: Floats) -> None:
        """Add to the paths what the season adds at their times."""
        state = self.storage.state
        for step in range(1, self.path + 1):
            place = self._places(series, times + step * state[STEP, series].astype(np.int64))
            first = len(OUTPUTS) + len(PATH) * (step - 1)
            seasonal = self.storage.table[place, series]
            lines[first : first + len(PATH)] += lines[UNIT] * seasonal

    # --- training -----------------------------------------------------------------------------------------------------

    def _collect_some(
        self,
        series: int,
        times: Integers,
        values: Floats,
        known: NDArray[np.bool_],
        start: int,
        where: Integers,
        judging: Floats | None,
    ) -> tuple[int, bool]:
        """Keep points from ``start`` on; where those end that the present model judges, and whether a training does."""
        count = len(values)
        if self.storage.state[MODEL, series] and series not in self.storage.training:
            if judging is not None:
                judging[2, where[start:]] = 0
            return count, False
        for place in range(start, count):
            if judging is not None:
                judging[2, where[place]] = self.storage.held(series)
            if known[place] and self._collect(series, int(times[place]), float(values[place])):
                return place + 1, True
        return count, False

    def _collect(self, series: int, time: int, value: float) -> bool:
        """Keep a point for the training, or for the season; whether that was the last one."""
        trained = bool(self.storage.state[MODEL, series])
        held = self.storage.training.get(series)
        if held is None:
            if trained:
                return False
            held = self.storage.training[series] = array("d"), array("q")
        if trained and self._visit(time) == self._visit(held[1][-1]):
            return False
        held[0].append(value)
        held[1].append(time)
        return len(held[0]) == (self._late.visits if trained and self._late else self.training)

    def _visit(self, time: int) -> float:
        """A number of the visit to a place of the season in which a time lies; without its length each point is one."""
        if self.season is None or self.season.points is None or self.season.length_ms is None:
            return math.nan
        return time * self.season.points // self.season.length_ms

    def _train(self, series: Sequence[int]) -> None:
        """Estimate the models of series whose training is complete, or those with a season; all are of one kind."""
        if not series:
            return
        second = self._late is not None and bool(self.storage.state[MODEL, series[0]])
        points = len(self.storage.training[series[0]][0])
        together = max(TOGETHER // points, 1)
        for start in range(0, len(series), together):
            self._estimate(series[start : start + together], second)
        for number in series:
            if self._late and not second:
                self._keep_visits(number)
            else:
                del self.storage.training[number]
                self.storage.wrote_all(number)

    def _keep_visits(self, series: int) -> None:
        """Of the points of a training those that begin a visit stay and wait for the season."""
        values, times = self.storage.training[series]
        visits = [self._visit(time) for time in times]
        new = [True, *(one != other for one, other in itertools.pairwise(visits))]
        if not all(new):
            self.storage.replace(
                series,
                array("d", itertools.compress(values, new)),
                array("q", itertools.compress(times, new)),
            )

    def _estimate(self, series: Sequence[int], second: bool) -> None:
        held = [self.storage.training[number] for number in series]
        values = np.stack([np.frombuffer(values) for values, _ in held], axis=1)
        times = np.stack([np.frombuffer(times, dtype=np.int64) for _, times in held], axis=1)
        numbers = np.asarray(series)
        season = self.season if second or not self._late else None
        chosen = self._second if second else self._first
        with np.errstate(all="ignore"):
            own = np.zeros((OWN, len(series)))
            own[POINTS:LENGTH], own[LENGTH] = 1.0, 1.0
            own[STEP] = seasons.step_ms(times)
            place, profile = np.zeros(values.shape, dtype=np.int64), np.zeros((1, len(series)))
            if season:
                points = self._points(values)
                length = np.minimum(points * own[STEP].astype(np.int64), seasons.LONGEST_MS)
                if season.length_ms is not None:
                    length = np.full(len(series), season.length_ms)
                place = seasons.places(times, points, length)
                profile = seasons.profile(values, place, points, season.most, repeated=second)
                own[POINTS], own[LENGTH] = points, length
            quick = second and len(values) > CHOICE
            last, places = slice(-CHOICE if quick else None, None), own[POINTS].astype(np.int64)
            fitted = [one.fit(values[last], place[last], places, profile) for one in self.candidates[chosen]]
            best = np.argmin(np.stack([each.criterion for each in fitted]), axis=0)
            own[MODEL] = best + 1 + chosen.start
            for number, (candidate, each) in enumerate(zip(self.candidates[chosen], fitted, strict=True)):
                mine = np.flatnonzero(best == number)
                if not len(mine):
                    continue
                state, table = each.state[:, mine], each.season[:, mine]
                if quick:
                    whole = candidate.fit(values[:, mine], place[:, mine], places[mine], profile[:, mine], runs=1)
                    state, table = whole.state, whole.season
                self.storage.state[OWN : OWN + len(candidate.fields), numbers[mine]] = state
                if season:
                    self.storage.table[:, numbers[mine]] = np.where(own[POINTS, mine] > 1, table, 0.0)
        self.storage.state[:OWN, numbers] = own

    def _points(self, values: Floats) -> Integers:
        """Places in the season of each series."""
        assert self.season is not None
        if self.season.points is None:
            return np.minimum(seasons.period(values), self.season.most)
        return np.full(values.shape[1], self.season.points)

    def _places(self, series: Integers | int, times: Integers) -> Integers:
        """In which place of its season each series is."""
        points, length = (self.storage.state[row, series].astype(np.int64) for row in (POINTS, LENGTH))
        return seasons.places(times, points, length)


def one_each(series: Integers) -> Iterator[Integers]:
    """Indices of points, one of each series at a time, in the order in which they came."""
    order = np.argsort(series, kind="stable")
    sizes = np.bincount(series)
    starts = np.cumsum(sizes) - sizes
    turn = np.empty(len(series), dtype=np.int64)
    turn[order] = np.arange(len(series)) - starts[series[order]]
    for number in range(int(sizes.max())):
        yield np.flatnonzero(turn == number)


class _NoSeason:
    """The table of a series in which no season was found: nothing is added, nothing is kept."""

    def __getitem__(self, place: int) -> float:
        return 0.0

    def __setitem__(self, place: int, value: float) -> None:
        pass
