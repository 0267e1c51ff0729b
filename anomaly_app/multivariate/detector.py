"""The detector of several fields: features, a model of them, and a bound that keeps its promise.

Points of a series come in stretches of some dozens: within one, the model and the bound stand still, so that all its
points are judged at once; at its end the bound moves, and the model learns from it or waits for more. Where a stretch
ends is counted in points of the series, whatever batches they come in.

The bound follows the share of points that were beyond it (adaptive conformal inference: Gibbs and Candès 2021): in
the long run it is that of the confidence, whatever the distribution. Where more than half of a stretch is beyond, the
series has changed for good: a model that can do with so few points starts again from them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from anomaly_app.detectors import Floats, Integers
from anomaly_app.errors import StateError
from anomaly_app.multivariate.categories import Counters
from anomaly_app.multivariate.fields import Fields
from anomaly_app.multivariate.history import History
from anomaly_app.multivariate.model import Model, grown
from anomaly_app.multivariate.verdicts import Outliers

Mask: TypeAlias = NDArray[np.bool_]

_FARTHER = 2.0
"""The bound does not move farther out than this many times the farthest point, lest the detector is blind for long."""
_HUGE = 1e140
"""Numbers are cut off here, so that their squares stay finite."""
_NEVER = -(1 << 63)
_HEAD = struct.Struct(">BIIqqqd")
_BOUND = struct.Struct(">ddq")
_VERSION = 1
_TOGETHER = 256
"""Series that learn at once; bounds the memory that it takes."""


class MultivariateDetector:
    """Judges points of several fields; see :mod:`anomaly_app.detectors` for its methods.

    Args:
        fields: what of a point counts.
        model: of the features; it belongs to this detector alone.
        warm_up: points of a series before its first verdict.
        alpha: share of points that may be flagged.
        memory: points after which a category's count has faded to 1/e.
    """

    def __init__(self, fields: Fields, model: Model, warm_up: int, alpha: float, memory: int) -> None:
        self.width = len(fields.names)
        self._fields, self._model, self._warm_up, self._pace = fields, model, warm_up, model.pace
        self._categories = fields.places
        self._counters = Counters(len(self._categories), memory)
        self._history = History(model.window, fields.count + len(self._categories))
        expected = alpha * self._pace
        beyond = np.arange(self._pace + 1)
        self._moves = np.exp(model.gain * (beyond - expected))
        # When the model starts again, only as far as chance explains: what was beyond is usual from now on.
        self._careful_moves = np.minimum(self._moves, np.exp(model.gain * (4 * np.sqrt(expected) + 2)))
        self._size = 0
        self._seen, self._time, self._beyond = (np.zeros(0, dtype=np.int64) for _ in range(3))
        self._learnt, self._saved_learnt, self._saved_seen, self._saved_time = (
            np.zeros(0, dtype=np.int64) for _ in range(4)
        )
        self._center, self._reach, self._farthest = np.zeros(0), np.zeros(0), np.zeros(0)

    def grow(self, series: int) -> None:
        """Make room for series 0 … ``series`` - 1."""
        if series <= self._size:
            return
        first, self._size = self._size, max(series, 2 * self._size)
        for name in _ARRAYS:
            setattr(self, name, grown(getattr(self, name), self._size))
        self._time[first:] = self._saved_time[first:] = _NEVER
        self._counters.grow(self._size)
        self._history.grow(self._size)
        self._model.grow(self._size)

    def update(self, series: Integers, times: Integers, points: Floats) -> Outliers:
        """Judge points, then learn from them."""
        told = Outliers(self._fields, times)
        infinite = np.isinf(points)
        rows = np.flatnonzero(np.isfinite(points).all(axis=1))
        rows = rows[np.argsort(series[rows], kind="stable")]
        own, time = series[rows], times[rows]
        first = np.ones(len(rows), dtype=np.bool_)
        first[1:] = own[1:] != own[:-1]
        before = np.where(first, self._time[own], np.roll(time, 1))
        last = np.roll(first, -1)
        self._time[own[last]] = time[last]
        if self._fields.frequency and (before == _NEVER).any():
            # The first point of a series has no point before it: nothing can be said or learnt.
            known = before != _NEVER
            rows, own, time, before = rows[known], own[known], time[known], before[known]
            first = np.ones(len(rows), dtype=np.bool_)
            first[1:] = own[1:] != own[:-1]
        features = self._fields.encode(np.clip(points[rows], -_HUGE, _HUGE), time, time - before)
        starts = np.flatnonzero(first)
        numbers = self._seen[own] + np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
        turn = self._stretch_of(numbers) - self._stretch_of(self._seen[own])
        out, out_turn = self._infinite_rows(series, rows, infinite)
        order = np.argsort(turn, kind="stable")
        ends = np.searchsorted(turn[order], np.arange(1, max(turn.max(initial=-1), out_turn.max(initial=-1)) + 2))
        begin = 0
        for number, end in enumerate(ends.tolist()):
            now = out[out_turn == number]
            told.add_infinite(now, infinite[now], self._center[series[now]] + self._reach[series[now]])
            part = order[begin:end]
            if len(part):
                self._take(told, rows[part], own[part], numbers[part], features[part])
            begin = end
        return told

    def _infinite_rows(self, series: Integers, rows: Integers, infinite: Mask) -> tuple[Integers, Integers]:
        """Points with an infinite value that are behind the warm-up, and the stretch of the point that is next.

        Args:
            series: of all points.
            rows: of the points that count, sorted by series.
            infinite: which values are, shape (n, width).
        """
        out = np.flatnonzero(infinite.any(axis=1))
        if not len(out):
            return out, out
        own = series[rows]
        first, last = np.searchsorted(own, series[out]), np.searchsorted(own, series[out], side="right")
        counts = np.array(
            [np.searchsorted(rows[a:b], row) for a, b, row in zip(first, last, out, strict=True)], dtype=np.int64
        )
        seen = self._seen[series[out]]
        judged = seen + counts >= self._warm_up
        turn = self._stretch_of(seen + counts) - self._stretch_of(seen)
        return out[judged], turn[judged]

    def _stretch_of(self, numbers: Integers) -> Integers:
        """In which stretch a point is, by its number in its series: 0 is the warm-up."""
        return np.maximum((numbers - self._warm_up) // self._pace + 1, 0)

    def _take(self, told: Outliers, rows: Integers, series: Integers, numbers: Integers, features: Floats) -> None:
        """Points of one stretch of each of their series, sorted by series."""
        codes = features[:, self._categories]
        if self._categories:
            features[:, self._categories] = self._counters.rarity(series, codes)
        judged = np.flatnonzero(numbers >= self._warm_up)
        if len(judged):
            of = series[judged]
            judgement = self._model.score(of, features[judged])
            away = judgement.scores - self._center[of]
            ratio = away / self._reach[of]
            np.maximum.at(self._farthest, of, away)
            beyond = np.flatnonzero(ratio > 1)
            np.add.at(self._beyond, of[beyond], 1)
            told.add(rows[judged], judgement, self._center[of] + self._reach[of], ratio)
            told.add_flagged(rows[judged[beyond]], features[judged[beyond]], *self._model.usual(of[beyond]))
        self._history.put(series, numbers, np.concatenate([features, codes], axis=1))
        last = np.flatnonzero(np.append(series[1:] != series[:-1], True))
        self._seen[series[last]] = numbers[last] + 1
        behind = numbers[last] + 1 - self._warm_up
        full = series[last[(behind >= 0) & (behind % self._pace == 0)]]
        for start in range(0, len(full), _TOGETHER):
            self._learn(full[start : start + _TOGETHER])

    def _learn(self, full: Integers) -> None:
        """Series that have just finished a stretch learn from it."""
        first = self._seen[full] == self._warm_up
        begun, later = full[first], full[~first]
        if self._categories:
            for series, count in ((begun, self._warm_up), (later, self._pace)):
                codes = self._history.last(series, self._seen[series], count)[:, :, self._fields.count :]
                for number, own in zip(series.tolist(), codes, strict=True):
                    self._counters.learn(number, own)
        if len(begun):
            if self._categories:
                self._rate_first_points(begun)
            points = self._features(begun, self._warm_up)
            self._model.start(begun, points)
            bound = self._model.bound(begun, points)
            self._center[begun], self._reach[begun] = bound.center, bound.width
        if len(later):
            block = self._model.block
            due = (self._seen[later] - self._warm_up) % block == 0
            changed = due & (block == self._pace) & (self._beyond[later] > self._pace // 2)
            for series, learn in ((later[changed], self._model.start), (later[due & ~changed], self._model.learn)):
                if len(series):
                    learn(series, self._features(series, block))
            # Where the model starts again, the bound goes on: it is in terms of the spread, which is what has changed.
            move = np.where(changed, self._careful_moves[self._beyond[later]], self._moves[self._beyond[later]])
            reach = self._reach[later]
            self._reach[later] = np.minimum(reach * move, np.maximum(reach, _FARTHER * self._farthest[later]))
        self._reach[full] = np.maximum(self._reach[full], self._model.smallest_bound)
        self._learnt[full], self._beyond[full], self._farthest[full] = self._seen[full], 0, 0.0

    def _rate_first_points(self, series: Integers) -> None:
        """How rare categories were in the warm-up: each point measured by the others of it."""
        kept = self._history.last(series, self._seen[series], self._warm_up)
        count = self._fields.count
        each, codes = np.repeat(series, self._warm_up), kept[:, :, count:].reshape(-1, len(self._categories))
        kept[:, :, self._categories] = self._counters.rarity(each, codes, own=1.0).reshape(kept[:, :, count:].shape)
        numbers = np.tile(np.arange(self._warm_up), len(series))
        self._history.put(each, numbers, kept.reshape(len(each), -1))
        self._saved_seen[series] = 0

    def _features(self, series: Integers, count: int) -> Floats:
        return self._history.last(series, self._seen[series], count)[:, :, : self._fields.count]

    def changes(self, series: int) -> Iterator[tuple[bytes, bytes | None]]:
        """Entries put since the last call: a head, the points that came, and the model if it has learnt."""
        seen, time = int(self._seen[series]), int(self._time[series])
        if (seen, time) == (self._saved_seen[series], self._saved_time[series]):
            return
        sizes = self._warm_up, self._history.size
        yield b"h", _HEAD.pack(_VERSION, *sizes, seen, time, int(self._beyond[series]), self._farthest[series])
        yield from self._history.entries(series, int(self._saved_seen[series]), seen)
        if self._learnt[series] != self._saved_learnt[series]:
            learnt = int(self._learnt[series])
            bound = _BOUND.pack(self._center[series], self._reach[series], learnt)
            yield b"m", bound + self._model.dump(series)
            if self._categories:
                yield b"c", self._counters.dump(series)
            self._saved_learnt[series] = learnt
        self._saved_seen[series], self._saved_time[series] = seen, time

    def restore(self, series: int, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back all entries of a series."""
        held = dict(entries)
        if not held:
            return
        try:
            version, warm_up, size, seen, time, beyond, farthest = _HEAD.unpack(held.pop(b"h"))
            if version != _VERSION:
                raise StateError(f"a multivariate detector's state is of version {version}, expected {_VERSION}")
            if (warm_up, size) != (self._warm_up, self._history.size):
                raise StateError("a multivariate detector's state was written with other training sizes")
            model, counters = held.pop(b"m", None), held.pop(b"c", None)
            for name, data in held.items():
                self._history.load(series, name, data)
            self._seen[series], self._time[series], self._beyond[series] = seen, time, beyond
            self._farthest[series] = farthest
            if model is not None:
                center, reach, learnt = _BOUND.unpack_from(model)
                self._center[series], self._reach[series], self._learnt[series] = center, reach, learnt
                behind = (learnt - self._warm_up) % self._model.block
                fitted = learnt - behind
                count = self._warm_up if fitted == self._warm_up else self._model.block
                reference = self._history.last(np.array([series]), np.array([fitted]), count)[0]
                self._model.load(series, model[_BOUND.size :], reference[:, : self._fields.count])
            if self._categories and counters is not None:
                self._counters.load(series, counters)
        except (KeyError, ValueError, IndexError, struct.error) as error:
            raise StateError(f"the state of a multivariate detector is unreadable: {error}") from error
        self._saved_seen[series], self._saved_time[series] = seen, time
        self._saved_learnt[series] = self._learnt[series]

    def forget(self, series: int) -> None:
        """Make a series fresh."""
        for name in _ARRAYS:
            getattr(self, name)[series] = 0
        self._time[series] = self._saved_time[series] = _NEVER
        self._counters.forget(series)


_ARRAYS = (
    "_seen",
    "_time",
    "_beyond",
    "_learnt",
    "_saved_learnt",
    "_saved_seen",
    "_saved_time",
    "_center",
    "_reach",
    "_farthest",
)
"""Numbers of which each series has one; 0 in a fresh one."""
