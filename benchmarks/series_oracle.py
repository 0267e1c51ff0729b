"""What could be found at best: a detector that knows how a simulated series is made, for comparison with ``series.py``.

::

    python -m benchmarks.series_oracle [--series 2] [--seed 0]

It knows the course, the spread and the law of the noise, and so turns each value into one of standard Gaussian noise
(that of a family with memory into its innovation). It looks for one value far out, for a mean of 8, 30 and 120 values
that is, for 60 values that vary too much or too little, and for values that stay the same; and each of these five ways
has a fifth of the false alarms: together one in 1440 values, by the limits that give that on series without anomalies.
A single spike that is *added* to the noise, not put in its place, is found with the probability that is printed last.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from benchmarks import series_made
from benchmarks.series_measures import A_DAY, Series, clusters, prepare, reach

Floats = NDArray[np.float64]

MEANS = (8, 30, 120)
VARIANCE = 60
ALIKE = 10
"""Rows in a row with the same value; families of whole numbers have three in a row now and then, never ten."""


def noise_of(family: str, seed: int, one: series_made.Made) -> Floats:
    """The values of a series as standard Gaussian noise, as far as nothing is planted."""
    random = np.random.default_rng([list(series_made.FAMILIES).index(family), seed])
    made = series_made.FAMILIES[family]
    rows = (one.times - series_made.START_MS) // 60_000
    course = made.course(random, np.arange(series_made.DAYS * A_DAY) / A_DAY)
    apart = ((one.values - course[rows]) / made.spread(course)[rows]).astype(np.float64)
    if family in ("memory", "daily-memory"):
        gap = np.diff(rows, prepend=rows[0] - 1)
        before = np.concatenate([[0.0], apart[:-1]])
        return np.asarray(np.where(gap == 1, (apart - 0.8 * before) / 0.6, apart))
    if family == "heavy":
        return np.asarray(np.sign(apart) * -special.ndtri(stats.t.sf(np.abs(apart), 3)))
    if family == "skewed":
        return np.asarray(2.0 * np.log(np.maximum(apart + 1.0, 1e-6)))
    return apart


def statistics(values: Floats, noise: Floats) -> list[Floats]:
    """The five ways to look at a series, each about standard Gaussian where nothing is planted."""
    held = np.clip(noise, -12.0, 12.0)
    total = np.concatenate([[0.0], np.cumsum(held)])
    means = np.zeros((len(MEANS), len(noise)))
    for number, length in enumerate(MEANS):
        means[number, length - 1 :] = (total[length:] - total[:-length]) / np.sqrt(length)
    squares = np.concatenate([[0.0], np.cumsum(np.square(held))])
    variance = np.zeros(len(noise))
    variance[VARIANCE - 1 :] = np.abs((squares[VARIANCE:] - squares[:-VARIANCE]) / VARIANCE - 1.0) * np.sqrt(VARIANCE)
    changed = np.flatnonzero(np.diff(values, prepend=np.nan) != 0)
    alike = np.arange(len(values)) - changed[np.searchsorted(changed, np.arange(len(values)), side="right") - 1]
    return [np.abs(noise), *np.abs(means), variance, np.where(alike >= ALIKE, 1e6, 0.0)]


def limit(scores: list[Floats], share: float) -> float:
    """The value that is exceeded in so many clusters a day of all of these."""
    days = sum(map(len, scores)) / A_DAY
    low, high = 0.0, max(float(each.max()) for each in scores) + 1.0
    for _ in range(40):
        middle = (low + high) / 2
        found = sum(clusters(np.flatnonzero(each >= middle)) for each in scores) / days
        low, high = (middle, high) if found > share or middle < 2.0 else (low, middle)
    return high


def main() -> None:
    """Find limits on series without anomalies, then what is found of those that have some."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=2, help="of each family")
    parser.add_argument("--seed", type=int, default=0, help="of the first series of each family")
    arguments = parser.parse_args()
    prepared = []
    for family in series_made.FAMILIES:
        seeds = range(arguments.seed, arguments.seed + arguments.series)
        quiet = [(seed, series_made.plain(family, seed)) for seed in range(1000, 1003)]
        ways = list(zip(*(statistics(one.values, noise_of(family, seed, one)) for seed, one in quiet), strict=True))
        limits = [limit(list(way), 1.0 / 5) for way in ways[:-1]] + [1e6]
        for seed in seeds:
            one = series_made.make(family, seed)
            ratios = [
                way / most
                for way, most in zip(statistics(one.values, noise_of(family, seed, one)), limits, strict=True)
            ]
            series = Series(f"made/{family}-{seed}", one.times, one.values, one.events)
            prepared.append(prepare(series, np.max(ratios, axis=0)))
    reached = reach(prepared, 1.0)
    print(f"found {reached.found} of {reached.events} at {reached.false:.2f} false alarms a day")
    print(", ".join(f"{kind} {found} of {events}" for kind, (found, events) in sorted(reached.kinds.items())))
    far = float(-special.ndtri(0.5 / A_DAY))
    print(
        f"an added spike of 4 standard deviations: {special.ndtr(4.0 - far):.0%}, if all alarms are for single values"
    )


if __name__ == "__main__":
    main()
