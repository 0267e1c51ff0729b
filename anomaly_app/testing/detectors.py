"""The suite that every detector passes, whatever its model: what :mod:`anomaly_app.detectors` says, tried out.

A check takes a :class:`Subject`, runs it over made streams, and raises ``AssertionError`` with what differs. A test
runs them all::

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_contract(check):
        check(Subject(lambda: create({...}, ["price"])))

The idea of one suite for all estimators is that of scikit-learn's and river's ``check_estimator``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from anomaly_app.detectors import Detector, Floats, Integers, Verdicts

DAY_MS = 86_400_000
START_MS = 1_700_000_000_000

Outcome: TypeAlias = list[tuple[Any, bool | None, float | None]]
"""Value, flag and score of each point."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Points of some series, in the order in which they come.

    Args:
        series: shape (n,).
        times: in ms, shape (n,).
        points: shape (n, width).
    """

    series: Integers
    times: Integers
    points: Floats

    def __len__(self) -> int:
        return len(self.series)

    def take(self, which: Any) -> Stream:
        """The rows of a slice, a mask or indices."""
        return Stream(self.series[which], self.times[which], self.points[which])


@dataclass(frozen=True, slots=True)
class Subject:
    """What is tried.

    Args:
        create: makes a fresh detector; always the same one.
        tolerance: relative difference that is allowed between numbers which should be equal; 0 for bit by bit.
        settled: points of a series from which on it holds no more than before.
        change_bytes: what ``changes`` of a settled series may give after one point.
        rounds: points of each series with which many series are tried; some behind the first verdict.
        probability: scores are probabilities, so that 1 is not the bound of an anomaly.
        values: of one series: takes a generator, a number of points and the width; gives shape (n, width).
    """

    create: Callable[[], Detector]
    tolerance: float = 0.0
    settled: int = 1_500
    change_bytes: int = 4_096
    rounds: int = 80
    probability: bool = False
    values: Callable[[np.random.Generator, int, int], Floats] | None = None


Check: TypeAlias = Callable[[Subject], None]


def noisy_values(random: np.random.Generator, rows: int, width: int) -> Floats:
    """A daily wave and a walk under noise, with spikes, a level shift and missing values: shape (rows, width).

    Example:
        >>> noisy_values(np.random.default_rng(1), 3, 2).shape
        (3, 2)
    """
    wave = 5 * np.sin(np.arange(rows) * 2 * np.pi / 24)[:, None]
    values = 50 + wave + random.normal(size=(rows, width)) + 0.1 * np.cumsum(random.normal(size=(rows, width)), axis=0)
    values[random.random(rows) < 0.01] += 40
    values[rows * 2 // 3 :] += 15
    values[random.random((rows, width)) < 0.03] = np.nan
    values[random.random(rows) < 0.01] = np.nan
    return np.asarray(values, dtype=np.float64)


def make_stream(subject: Subject, rows: int = 600, series: int = 4, seed: int = 7) -> Stream:
    """Several series, mixed at random: hourly points, some of one time, some after a gap of a day.

    The last of the series is constant.
    """
    random = np.random.default_rng(seed)
    width = subject.create().width
    order = random.integers(0, series, rows)
    times, points = np.zeros(rows, dtype=np.int64), np.zeros((rows, width))
    for number in range(series):
        places = np.flatnonzero(order == number)
        steps = random.choice([0, 3_600_000, DAY_MS], len(places), p=[0.05, 0.94, 0.01])
        times[places] = START_MS + np.cumsum(steps)
        if number == series - 1:
            points[places] = 7.0
        else:
            points[places] = (subject.values or noisy_values)(random, len(places), width)
    return Stream(order.astype(np.int64), times, points)


def one_series(subject: Subject, rows: int, seed: int = 7) -> Stream:
    """One series, number 0, a point an hour."""
    random = np.random.default_rng(seed)
    times = START_MS + 3_600_000 * np.arange(rows, dtype=np.int64)
    points = (subject.values or noisy_values)(random, rows, subject.create().width)
    return Stream(np.zeros(rows, dtype=np.int64), times, points)


def outcome(verdicts: Verdicts, points: int) -> Outcome:
    """What the verdicts say; ``AssertionError`` if it is not one entry a point."""
    values, flags, scores = verdicts.values(), verdicts.flags(), verdicts.scores()
    lengths = (len(values), len(flags), len(scores))
    assert lengths == (points,) * 3, f"{lengths} values, flags and scores for {points} points"
    return list(zip(values, flags, scores, strict=True))


def run(detector: Detector, stream: Stream, cuts: Sequence[int] = ()) -> Outcome:
    """The outcome of a stream, cut into batches before the rows ``cuts`` (ascending)."""
    out: Outcome = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        part = stream.take(slice(start, end))
        out += outcome(detector.update(part.series, part.times, part.points), len(part))
    return out


def fresh(subject: Subject, series: int = 4) -> Detector:
    """A detector with room for some series."""
    detector = subject.create()
    detector.grow(series)
    return detector


@dataclass(slots=True)
class Saved:
    """What a store holds of one series: entries as ``changes`` gave them."""

    entries: dict[bytes, bytes] = field(default_factory=dict)

    def take(self, detector: Detector, series: int = 0) -> int:
        """Ask for the changes; the bytes that they had."""
        given = 0
        for key, value in detector.changes(series):
            assert isinstance(key, bytes), f"an entry's name is {key!r}, expected bytes"
            given += len(key) + len(value or b"")
            if value is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = value
        return given

    def size(self) -> int:
        """Bytes held."""
        return sum(len(key) + len(value) for key, value in self.entries.items())


def assert_same(one: Any, other: Any, tolerance: float, place: str) -> None:
    """Two outcomes say the same: NaN equals NaN, numbers within a relative tolerance.

    Example:
        >>> assert_same([(1.0, True)], [(1.0 + 1e-12, True)], 1e-9, "rows")
    """
    if isinstance(one, float) and isinstance(other, float):
        alike = one == other or (math.isnan(one) and math.isnan(other))
        assert alike or math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance), (
            f"{place}: {one!r} is not {other!r}"
        )
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
        assert len(one) == len(other), f"{place}: {len(one)} entries are not {len(other)}"
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_same(left, right, tolerance, f"{place}[{number}]")
    else:
        assert type(one) is type(other) and one == other, f"{place}: {one!r} is not {other!r}"


# --- the checks -------------------------------------------------------------------------------------------------------


def check_determinism(subject: Subject) -> None:
    """The same points give the same verdicts, and the arrays given are left as they are."""
    stream = make_stream(subject)
    before = stream.points.copy()
    for array in (stream.series, stream.times, stream.points):
        array.flags.writeable = False
    first = run(fresh(subject), stream)
    assert_same(first, run(fresh(subject), stream), 0.0, "the second run")
    assert np.array_equal(before, stream.points, equal_nan=True), "the points were written to"


def check_batches(subject: Subject, seed: int = 7, cuts: Sequence[int] | None = None) -> None:
    """However points are split into batches, the verdicts are the same; an empty batch is one."""
    stream = make_stream(subject, seed=seed)
    single = run(fresh(subject), stream, range(1, len(stream)))
    splits = [(), (0, 300, 300), tuple(range(7, len(stream), 7)), tuple(range(97, len(stream), 97))]
    for split in splits if cuts is None else [cuts]:
        assert_same(single, run(fresh(subject), stream, split), subject.tolerance, f"cut at {list(split)[:5]} …: row")


def check_keys(subject: Subject) -> None:
    """A series gets the verdicts that it would get alone, under another number, in another order of the series."""
    stream = make_stream(subject)
    together = run(fresh(subject), stream)
    for number in range(4):
        places = np.flatnonzero(stream.series == number)
        own = stream.take(places)
        alone = run(fresh(subject), Stream(np.zeros_like(own.series), own.times, own.points))
        assert_same([together[place] for place in places], alone, subject.tolerance, f"series {number}, row")
    order = np.argsort(stream.series, kind="stable")
    sorted_ = run(fresh(subject), stream.take(order))
    assert_same([together[place] for place in order], sorted_, subject.tolerance, "sorted by series: row")


def check_many_keys(subject: Subject) -> None:
    """A batch that has one point of each of many series says, and stores, what it would of each alone."""
    random = np.random.default_rng(3)
    many, rounds = 120, subject.rounds
    points = np.stack(
        [(subject.values or noisy_values)(random, rounds, subject.create().width) for _ in range(many)], axis=1
    )
    detector, lone = fresh(subject, many), fresh(subject)
    numbers, wanted = np.arange(many, dtype=np.int64), (0, 17, many - 1)
    stored = [Saved() for _ in wanted]
    for turn in range(rounds):
        times = np.full(many, START_MS + turn * 3_600_000, dtype=np.int64)
        if turn == rounds - 20:  # from here on the lone ones are those that were stored
            lone = fresh(subject)
            for alone, saved in enumerate(stored):
                lone.restore(alone, list(saved.entries.items()))
        all_ = outcome(detector.update(numbers, times, points[turn]), many)
        for alone, number in enumerate(wanted):
            own = slice(number, number + 1)
            one = outcome(lone.update(numbers[alone : alone + 1], times[own], points[turn][own]), 1)
            assert_same([all_[number]], one, subject.tolerance, f"round {turn}, series {number}")
            stored[alone].take(detector, number)


def check_restore(subject: Subject, seed: int = 7, cuts: Sequence[int] | None = None) -> None:
    """A series restored from its entries, under any number, has the future of one that was never written."""
    stream = one_series(subject, 700, seed)
    cuts = cuts if cuts is not None else (1, 3, 40, 41, 260, 300, 555)
    detector, saved, start = fresh(subject), Saved(), 0
    for cut in cuts:
        run(detector, stream.take(slice(start, cut)))
        saved.take(detector)
        assert saved.take(detector) == 0, "changes are given again"
        other = fresh(subject)
        other.restore(2, list(saved.entries.items()))
        again, copy = Saved(dict(saved.entries)), fresh(subject)
        assert again.take(other, 2) == 0, "what was restored counts as changed"
        rest = stream.take(slice(cut, min(cut + 150, len(stream))))
        moved = Stream(rest.series + 2, rest.times, rest.points)
        told = run(other, moved)
        again.take(other, 2)
        copy.restore(0, list(again.entries.items()))
        known = fresh(subject)
        run(known, stream.take(slice(0, cut)))
        assert_same(run(known, rest), told, subject.tolerance, f"restored after {cut} points: row")
        last = stream.take(slice(len(stream) - 60, len(stream)))
        assert_same(run(known, last), run(copy, last), subject.tolerance, f"restored twice after {cut} points: row")
        start = cut


def check_forget(subject: Subject) -> None:
    """A series that was forgotten is fresh, has nothing to store, and its neighbours do not notice."""
    stream, detector = make_stream(subject), fresh(subject)
    run(detector, stream)
    kept = Saved()
    kept.take(detector, 1)
    detector.forget(0)
    assert Saved().take(detector, 0) == 0, "a fresh series has changes"
    again = one_series(subject, 300)
    later = Stream(again.series, again.times + 10_000 * DAY_MS, again.points)
    assert_same(run(fresh(subject), later), run(detector, later), subject.tolerance, "forgotten: row")
    other = fresh(subject)
    other.restore(1, list(kept.entries.items()))
    moved = Stream(later.series + 1, later.times, later.points)
    assert_same(run(other, moved), run(detector, moved), subject.tolerance, "its neighbour: row")


def check_grow(subject: Subject) -> None:
    """More room, even much more, changes no series; less is not made."""
    stream = make_stream(subject)
    wanted = run(fresh(subject), stream)
    detector = fresh(subject)
    told = run(detector, stream.take(slice(0, 300)))
    detector.grow(5_000)
    detector.grow(1)
    told += run(detector, stream.take(slice(300, len(stream))))
    assert_same(wanted, told, subject.tolerance, "grown: row")
    assert Saved().take(detector, 4_999) == 0, "a series that has seen nothing has changes"


def check_missing(subject: Subject) -> None:
    """A missing point has no verdict, and any number of them does no harm: the next points get verdicts as before."""
    rows = subject.settled
    detector = fresh(subject)
    stream = one_series(subject, rows + 300)
    run(detector, stream.take(slice(0, rows)))
    width = stream.points.shape[1]
    times = stream.times[rows - 1] + 3_600_000 * np.arange(1, 301, dtype=np.int64)
    gap = Stream(np.zeros(300, dtype=np.int64), times, np.full((300, width), np.nan))
    for number, (_, flag, score) in enumerate(run(detector, gap)):
        assert flag is None and score is None, f"missing point {number}: flag {flag!r}, score {score!r}, expected None"
    later = stream.take(slice(rows, len(stream)))
    later = Stream(later.series, later.times + 301 * 3_600_000, np.nan_to_num(later.points, nan=50.0))
    told = run(detector, later)
    assert all(flag is not None for _, flag, _ in told[-200:]), "no verdicts after a gap"
    assert sum(flag is True for _, flag, _ in told[-200:]) < 100, "a gap spoils what was learnt"


def check_infinite(subject: Subject) -> None:
    """An infinite value is an anomaly with an explanation, and not learnt: all else is as if it were missing."""
    stream, width = one_series(subject, subject.settled + 100), subject.create().width
    stream = Stream(stream.series, stream.times, np.nan_to_num(stream.points, nan=50.0))
    places = np.array([5, subject.settled, subject.settled + 1, subject.settled + 40, subject.settled + 99])
    values = np.array([math.inf, math.inf, -math.inf, -math.inf, math.inf])
    infinite, missing = stream.points.copy(), stream.points.copy()
    field = np.arange(len(places)) % width
    missing[places, field], infinite[places, field] = np.nan, values
    wanted = run(fresh(subject), Stream(stream.series, stream.times, missing))
    for cuts in ((), range(7, len(stream), 7), range(1, len(stream))):
        told = run(fresh(subject), Stream(stream.series, stream.times, infinite), cuts)
        for place, value in zip(places.tolist()[1:], values.tolist()[1:], strict=True):
            _, flag, score = told[place]
            assert flag is True, f"{value} is no anomaly but {flag!r}"
            assert score is not None and (score == 1 if subject.probability else score > 1), f"{value} scores {score!r}"
        rest = [number for number in range(len(stream)) if number not in places]
        one, other = [wanted[number] for number in rest], [told[number] for number in rest]
        assert_same(one, other, subject.tolerance, "with infinite values in place of missing ones: row")
    last = Stream(stream.series, stream.times, infinite)
    detector = fresh(subject)
    run(detector, last.take(slice(0, subject.settled)))
    row = last.take(slice(subject.settled, subject.settled + 1))
    verdicts = detector.update(row.series, row.times, row.points)
    assert "inf" in verdicts.explain(0), f"{values[1]} is explained by {verdicts.explain(0)!r}"


def check_extremes(subject: Subject) -> None:
    """Huge, tiny and constant values raise nothing and warn of nothing; the series recovers."""
    width = subject.create().width
    rows = subject.settled
    for value in (0.0, -3.0, 1e-150, 1e120):
        detector = fresh(subject)
        times = START_MS + 1_000 * np.arange(rows + 1, dtype=np.int64)
        points = np.full((rows + 1, width), value)
        points[rows // 2] = 1e150
        points[rows // 2 + 1] = -1e150
        with np.errstate(all="raise", under="ignore"):
            told = run(detector, Stream(np.zeros(rows + 1, dtype=np.int64), times, points))
        for number, (_, flag, score) in enumerate(told):
            assert score is None or not math.isnan(score), f"score of point {number} of {value} is NaN, its flag {flag}"


def check_verdicts(subject: Subject) -> None:
    """Flags and scores say the same, and an anomaly can be explained."""
    stream, detector = one_series(subject, subject.settled), fresh(subject)
    flagged = 0
    for start in range(0, len(stream), 50):
        part = stream.take(slice(start, start + 50))
        verdicts = detector.update(part.series, part.times, part.points)
        for number, (_, flag, score) in enumerate(outcome(verdicts, len(part))):
            place = f"point {start + number}"
            assert flag is None or type(flag) is bool, f"{place}: the flag is {flag!r}"
            assert score is None or type(score) is float, f"{place}: the score is {score!r}"
            assert (flag is None) == (score is None), f"{place}: flag {flag!r}, score {score!r}"
            if flag is not None and score is not None and not subject.probability:
                assert flag is (score > 1), f"{place}: flag {flag!r}, score {score!r}"
            if subject.probability:
                assert score is None or 0 <= score <= 1, f"{place}: the score is {score!r}"
            if flag:
                flagged += 1
                assert verdicts.explain(number).strip(), f"{place}: no explanation"
    assert flagged, "the spikes of the stream are no anomalies"


def check_memory(subject: Subject) -> None:
    """What a series holds is bounded, and a point changes little of it."""
    rows = subject.settled
    stream = one_series(subject, 3 * rows)
    detector, saved = fresh(subject), Saved()
    run(detector, stream.take(slice(0, rows)))
    saved.take(detector)
    held = saved.size()
    run(detector, stream.take(slice(rows, 3 * rows - 20)))
    saved.take(detector)
    assert saved.size() <= 1.1 * held + 64, f"{held} bytes after {rows} points grew to {saved.size()} after {3 * rows}"
    for number in range(3 * rows - 20, 3 * rows):
        run(detector, stream.take(slice(number, number + 1)))
        given = saved.take(detector)
        assert given <= subject.change_bytes, f"one point changes {given} bytes, allowed are {subject.change_bytes}"


CHECKS: tuple[Check, ...] = (
    check_determinism,
    check_batches,
    check_keys,
    check_many_keys,
    check_restore,
    check_forget,
    check_grow,
    check_missing,
    check_infinite,
    check_extremes,
    check_verdicts,
    check_memory,
)
