"""A forecast for each point, bounds around it, and whether the point lies outside."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anomaly_app.detectors import Entries, Floats, Integers
from anomaly_app.forecasting import season as seasons
from anomaly_app.forecasting.fitting import Candidate
from anomaly_app.forecasting.step import HUGE, OUTPUTS, PATH
from anomaly_app.forecasting.storage import Storage
from anomaly_app.forecasting.verdicts import UNIT, ForecastVerdicts

FEW = 100
"""Series a round from which on arrays are faster than floats."""
MODEL, POINTS, LENGTH, STEP = range(4)
"""First fields of a series: the model chosen, counted from 1 (0 for none), points and ms of a season, ms of a step."""
OWN = 4


@dataclass(frozen=True, slots=True)
class Season:
    """How the season of a series is found.

    Args:
        points: places of a season; None to look for it in the training.
        length_ms: of a season; None for ``points`` usual steps of the training.
        most: places that a season may have.
    """

    points: int | None
    length_ms: int | None
    most: int


class ForecastDetector:
    """Models of many series of one number each.

    A series is trained with its first points, then judged point by point. Of several candidates each series gets the
    one with the least Akaike criterion.

    Args:
        candidates: models that may be chosen.
        training: points, missing ones not counted, from which a model is estimated.
        season: None without.
    """

    width = 1

    def __init__(self, candidates: Sequence[Candidate], training: int, season: Season | None = None) -> None:
        self.candidates, self.training, self.season = tuple(candidates), training, season
        size = max(len(candidate.fields) for candidate in candidates)
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
        if rounds == 1 and count >= FEW:
            results = self._round(series, times, values)
        else:
            results = np.full((self.lines, count), np.nan)
            if count < FEW * rounds:
                self._one_by_one(series, times, values, results)
            elif count:
                for which in one_each(series):
                    results[:, which] = self._round(series[which], times[which], values[which])
        self.storage.touch(series)
        models, steps = self.storage.state[[[MODEL], [STEP]], series]
        return ForecastVerdicts(self.candidates, times, values, results, models, steps)

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
        inputs = values[None]
        if self.season:
            place = self._places(series, times)
            at: Any = int(place[0]) if (place == place[0]).all() else place
            inputs = np.stack([values, table[at, columns if isinstance(at, int) else series]])
        out = kernel.many_series(state, inputs)
        if not whole:
            self.storage.state[rows, series] = state
        if self.season:
            seasonal = self.storage.state[POINTS, series] > 1
            if isinstance(at, int) and seasonal.all():
                table[at, columns] = out[self.lines]
            else:
                table[place[seasonal], series[seasonal]] = out[self.lines][seasonal]
            self.storage.wrote(series[seasonal], place[seasonal])
            self._add_season(series, times, out)
        return out[: self.lines]

    def _collect_round(self, series: Integers, times: Integers, values: Floats) -> None:
        full = [
            number
            for number, time, value in zip(series.tolist(), times.tolist(), values.tolist(), strict=True)
            if self._collect(number, time, value)
        ]
        self._train(full)

    # --- few series: one after another --------------------------------------------------------------------------------

    def _one_by_one(self, series: Integers, times: Integers, values: Floats, results: Floats) -> None:
        order = np.argsort(series, kind="stable")
        bounds = np.flatnonzero(np.diff(series[order])) + 1
        for which in np.split(order, bounds):
            self._one(int(series[which[0]]), times[which], values[which], results, which)

    def _one(self, series: int, times: Integers, values: Floats, results: Floats, where: Integers) -> None:
        """All points of one series."""
        known = np.abs(values) <= HUGE
        start, count = 0, len(values)
        if not self.storage.state[MODEL, series]:
            while start < count:
                start += 1
                if known[start - 1] and self._collect(series, int(times[start - 1]), float(values[start - 1])):
                    self._train([series])
                    break
            else:
                return
        if start == count:
            return
        candidate = self.candidates[int(self.storage.state[MODEL, series]) - 1]
        rows = slice(OWN, OWN + len(candidate.fields))
        state = self.storage.state[rows, series].tolist()
        at, table = None, None
        if self.season:
            at = self._places(series, times)
            table = self.storage.table[:, series].data if self.storage.state[POINTS, series] > 1 else _NoSeason()
        switches = np.flatnonzero(np.diff(known[start:])) + 1 + start
        if self.season and self.path:  # the season of later points is that known behind each point
            switches = np.arange(start + 1, count)
        for begin, end in zip([start, *switches.tolist()], [*switches.tolist(), count], strict=True):
            kernel = candidate.observe if known[begin] else candidate.miss
            inputs = [values[begin:end].tolist()]
            if at is not None:
                inputs.append(at[begin:end].tolist())
            state, out = kernel.one_series(state, inputs, table)
            lines = np.array(out).reshape(end - begin, -1).T
            if self.season:
                self._add_season(np.array([series]), times[begin:end], lines)
            results[:, where[begin:end]] = lines[: self.lines]
        self.storage.state[rows, series] = state
        if at is not None and self.storage.state[POINTS, series] > 1:
            self.storage.wrote(series, at[start:])

    def _add_season(self, series: Integers, times: Integers, lines: Floats) -> None:
        """Add to the paths what the season adds at their times."""
        state = self.storage.state
        for step in range(1, self.path + 1):
            place = self._places(series, times + step * state[STEP, series].astype(np.int64))
            first = len(OUTPUTS) + len(PATH) * (step - 1)
            seasonal = self.storage.table[place, series]
            lines[first : first + len(PATH)] += lines[UNIT] * seasonal

    # --- training -----------------------------------------------------------------------------------------------------

    def _collect(self, series: int, time: int, value: float) -> bool:
        """Keep a point for the training; whether that was the last one."""
        held = self.storage.training.get(series)
        if held is None:
            held = self.storage.training[series] = array("d"), array("q")
        held[0].append(value)
        held[1].append(time)
        return len(held[0]) == self.training

    def _train(self, series: Sequence[int]) -> None:
        """Estimate the models of series whose training is complete."""
        if not series:
            return
        held = [self.storage.training.pop(number) for number in series]
        values = np.stack([np.frombuffer(values) for values, _ in held], axis=1)
        times = np.stack([np.frombuffer(times, dtype=np.int64) for _, times in held], axis=1)
        numbers = np.asarray(series)
        with np.errstate(all="ignore"):
            own = np.zeros((OWN, len(series)))
            own[POINTS:LENGTH], own[LENGTH] = 1.0, 1.0
            own[STEP] = seasons.step_ms(times)
            place, profile = np.zeros(values.shape, dtype=np.int64), np.zeros((1, len(series)))
            if self.season:
                points = self._points(values)
                length = np.minimum(points * own[STEP].astype(np.int64), seasons.LONGEST_MS)
                if self.season.length_ms is not None:
                    length = np.full(len(series), self.season.length_ms)
                place = seasons.places(times, points, length)
                profile = seasons.profile(values, place, points, self.season.most)
                own[POINTS], own[LENGTH] = points, length
            fitted = [
                candidate.fit(values, place, own[POINTS].astype(np.int64), profile) for candidate in self.candidates
            ]
        best = np.argmin(np.stack([each.criterion for each in fitted]), axis=0)
        own[MODEL] = best + 1
        for number, (candidate, each) in enumerate(zip(self.candidates, fitted, strict=True)):
            mine = best == number
            self.storage.state[OWN : OWN + len(candidate.fields), numbers[mine]] = each.state[:, mine]
            if self.season:
                self.storage.table[:, numbers[mine]] = np.where(own[POINTS, mine] > 1, each.season[:, mine], 0.0)
        self.storage.state[:OWN, numbers] = own
        for number in series:
            self.storage.wrote_all(number)

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
