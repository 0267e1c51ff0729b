"""Simulated families of series with planted anomalies, a point a minute, for ``series.py``.

Ten kinds of series, eight kinds of anomalies. *Size*: an anomaly of s standard deviations is as far from what was to be
expected as the noise of its family is with the probability with which Gaussian noise is s standard deviations out. So a
size means the same for heavy tails, and one of 4 comes by itself once in eleven days. A spike or dip takes the place of
the noise, a shift is added to it.

A missing stretch is no anomaly of the values: it is planted without a label, and an alert at its end is a false one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import signal, special, stats

Floats = NDArray[np.float64]

DAY = 1440
DAYS = 14
START_MS = 1_700_006_400_000
QUIET = 2 * DAY
"""Rows at the beginning without anomalies."""
SIZES = (4.0, 10.0)
RAREST = 5.0
"""Standard deviations from where on sizes grow in proportion: the quantiles of heavy tails grow beyond all measure."""
KINDS = ("spike", "dip", "shift", "trend", "season", "variance", "flat", "missing")


class Family(NamedTuple):
    """A kind of series.

    Args:
        noise: of a number of rows, from a generator.
        course: what is to be expected in each row.
        spread: what the noise is multiplied by in each row, from the course.
        tail: how far out the noise is where Gaussian noise is so many standard deviations out.
        whole: values are rounded, and not below 0.
    """

    noise: Callable[[np.random.Generator, int], Floats]
    course: Callable[[np.random.Generator, Floats], Floats]
    spread: Callable[[Floats], Floats]
    tail: Callable[[float], float]
    whole: bool = False


class Made(NamedTuple):
    """A simulated series: times in ms, values, and first row, last row and kind of each anomaly."""

    times: NDArray[np.int64]
    values: Floats
    events: list[tuple[int, int, str]]


def _gauss(random: np.random.Generator, rows: int) -> Floats:
    return random.normal(size=rows)


def _ar(random: np.random.Generator, rows: int) -> Floats:
    return np.asarray(signal.lfilter([0.6], [1, -0.8], random.normal(size=rows + 100))[100:])


def _t3(random: np.random.Generator, rows: int) -> Floats:
    return random.standard_t(3, rows)


def _skew(random: np.random.Generator, rows: int) -> Floats:
    return np.asarray(np.exp(0.5 * random.normal(size=rows)) - 1.0)


def _t_tail(size: float) -> float:
    rare = min(abs(size), RAREST)
    return float(np.sign(size) * stats.t.isf(special.ndtr(-rare), 3) * abs(size) / rare)


def _skew_tail(size: float) -> float:
    return float(np.exp(0.5 * size) - 1.0)


def _normal_tail(size: float) -> float:
    return size


def _level(random: np.random.Generator, day: Floats) -> Floats:
    return np.full(len(day), random.uniform(20, 200))


def _daily(random: np.random.Generator, day: Floats) -> Floats:
    course = 2.0 * np.sin(2 * np.pi * (day + random.random())) + np.sin(4 * np.pi * (day + random.random()))
    return np.asarray(100.0 + random.uniform(2, 8) * course)


def _weekly(random: np.random.Generator, day: Floats) -> Floats:
    course = _daily(random, day) - 100.0
    return np.asarray(100.0 + course * np.where(np.floor(day + random.integers(7)) % 7 < 5, 1.0, 0.5))


def _trend(random: np.random.Generator, day: Floats) -> Floats:
    return _daily(random, day) + random.choice([-1, 1]) * random.uniform(1, 4) * day


def _jobs(random: np.random.Generator, day: Floats) -> Floats:
    """Plateaus: something that runs at fixed hours."""
    start = random.random()
    return np.asarray(
        np.where((day + start) % 1 < 0.35, 120.0, 100.0) + np.where((day + start) % 0.25 < 0.02, 15.0, 0.0)
    )


def _ones(course: Floats) -> Floats:
    return np.ones(len(course))


def _requests(random: np.random.Generator, day: Floats) -> Floats:
    return np.asarray(10.0 + (_daily(random, day) - 82.0) ** 2 / 4.0)


FAMILIES = {
    "noise": Family(_gauss, _level, _ones, _normal_tail),
    "memory": Family(_ar, _level, _ones, _normal_tail),
    "heavy": Family(_t3, _level, _ones, _t_tail),
    "skewed": Family(_skew, _level, _ones, _skew_tail),
    "daily": Family(_gauss, _daily, _ones, _normal_tail),
    "daily-memory": Family(_ar, _daily, _ones, _normal_tail),
    "weekly": Family(_gauss, _weekly, _ones, _normal_tail),
    "trend": Family(_gauss, _trend, _ones, _normal_tail),
    "jobs": Family(_gauss, _jobs, _ones, _normal_tail),
    "counts": Family(_gauss, _requests, lambda course: np.sqrt(np.maximum(course, 1.0)), _normal_tail, whole=True),
}


def plain(family: str, seed: int, days: int = DAYS) -> Made:
    """A series of a family without anomalies: every alarm is a false one.

    Example:
        >>> plain("noise", 1).events
        []
    """
    random = np.random.default_rng([list(FAMILIES).index(family), seed])
    noise, course_of, spread_of, _, whole = FAMILIES[family]
    course = course_of(random, np.arange(days * DAY) / DAY)
    values = course + spread_of(course) * noise(random, days * DAY)
    if whole:
        values = np.maximum(np.round(values), 0.0)
    return Made(START_MS + 60_000 * np.arange(days * DAY, dtype=np.int64), values, [])


def make(family: str, seed: int, days: int = DAYS) -> Made:
    """A series of a family with one anomaly of each kind that it can have.

    Example:
        >>> made = make("daily", 1)
        >>> sorted(kind for _, _, kind in made.events)
        ['dip', 'flat', 'season', 'shift', 'spike', 'trend', 'variance']
        >>> plain = make("noise", 1)
        >>> len(plain.events), len(plain.times) < 14 * 1440  # no season to change; some rows are missing
        (6, True)
    """
    random = np.random.default_rng([list(FAMILIES).index(family), seed])
    noise, course_of, spread_of, tail, whole = FAMILIES[family]
    rows = days * DAY
    day = np.arange(rows) / DAY
    course = course_of(random, day)
    spread = spread_of(course)
    values, moved = noise(random, rows), np.zeros(rows)
    kinds = [kind for kind in KINDS if kind != "season" or course_of is not _level]
    random.shuffle(kinds)
    room = (rows - QUIET) // len(kinds)
    events, kept, held = [], np.ones(rows, dtype=np.bool_), []
    for place, kind in enumerate(kinds):
        first = QUIET + place * room + int(random.integers(room // 8, room // 2))
        size = float(random.uniform(*SIZES))
        up = kind != "dip" and (kind == "spike" or random.random() < 0.5)
        far = tail(size if up else -size)
        if kind in ("spike", "dip"):
            length = int(random.integers(1, 8))
            values[first : first + length] = far
        elif kind == "shift":
            length = 60
            moved[first:] += far
        elif kind == "trend":
            length = int(random.integers(60, 240))
            moved[first : first + length] += far * np.linspace(0, 1, length)
            moved[first + length :] += far
        elif kind == "season":
            length = DAY // 4
            course = course.copy()
            later = np.roll(course, DAY // 4 if random.random() < 0.5 else -DAY // 4)
            course[first : first + length] = later[first : first + length]
        elif kind == "variance":
            length = 60
            values[first : first + length] *= size / 1.5
        elif kind == "flat":
            length = int(random.integers(60, 180))
            held.append((first, length))
        else:
            kept[first : first + int(random.integers(60, 300))] = False
            continue
        events.append((first, first + length - 1, kind))
    values = course + spread * (values + moved)
    for first, length in held:
        values[first : first + length] = values[first]
    if whole:
        values = np.maximum(np.round(values), 0.0)
    new = np.cumsum(kept) - 1
    times = START_MS + 60_000 * np.arange(rows, dtype=np.int64)
    return Made(times[kept], values[kept], [(int(new[a]), int(new[b]), kind) for a, b, kind in events])
