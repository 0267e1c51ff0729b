"""The tail of a stream of errors: how far out the error is that comes once in so many rows.

The error in units of the scale that is exceeded in one row of 200 is tracked, and by how much it is exceeded: the mean
of ``1 - limit / error``, which is ξ / (1 + ξ) for a Pareto tail with the index ξ (Hill, "A simple general approach to
inference about the tail of a distribution", 1975) and cannot be spoilt by a few huge values. From there to the error
that comes once in so many rows it is a power of ξ. Rows behind one that exceeds are not counted for a while, as an
event is not thirty events; so long anomalies hardly move the tail.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from anomaly_app.forecasting.symbols import Number, Symbol, choose, largest, look_up, smallest

SHARE = 0.005
"""Of the rows that exceed the tracked quantile."""
STEP, EAGER = 0.02, 5.0
"""Step of the logarithm of the quantile, and values seen for a step of 1: the first are a guess."""
WIDER = 10.0
"""How many times larger a step is at most for heavy tails: their quantiles are farther apart."""
USUAL_TAIL = 0.15
"""Index of a tail that is as light as a Gaussian one here."""
TAIL_STEP, TAIL_BEFORE = 0.01, 20.0
"""Weight of the newest exceedance, and how many of them the first guess is worth."""
HEAVIEST = 0.75
"""Largest mean of 1 - limit / error: an index of 3."""
START_QUANTILE, START_TAIL = 2.5, 0.2
HEAVY = 2.0
"""By how much more than its index says a tail is extrapolated, for each unit of the index beyond the usual one: where a
tail is heavy, alarms come in bursts."""


class Tail(NamedTuple):
    """A tail that is tracked.

    Args:
        prefix: of its fields.
        apart: rows behind one that exceeds that are not counted.
        unsure: values at which an error has to be twice as far out, because the tail is not known yet.
        table: by thousandths of the mean of 1 - limit / error, how many quantiles the error of a false alarm is.
    """

    prefix: str
    apart: float
    unsure: float
    table: list[float]

    def step(
        self, given: Mapping[str, Symbol], units: Symbol, seen: Symbol, counts: Symbol
    ) -> tuple[Symbol, Symbol, dict[str, Number]]:
        """Judge an error, then learn it.

        Args:
            given: the state.
            units: the error in units of its scale.
            seen: errors so far, this one included; none is judged or learnt before it is 1.
            counts: whether this one may be learnt: a comparison.

        Returns:
            The error over that of a false alarm, that itself in units of the scale, and the fields that change.
        """
        name = self.prefix
        begun, started = seen > 0.5, seen > 1.5
        quantile = choose(started, given[f"{name}quantile"], START_QUANTILE)
        tail = choose(started, given[f"{name}tail"], START_TAIL / (1.0 + START_TAIL))
        held = smallest(tail, HEAVIEST)
        index = held / (1.0 - held)
        known = largest(seen, 1.0)
        limit = quantile * look_up(self.table, 1000.0 * held) * (1.0 + self.unsure / known)
        ratio = choose(begun, units / limit, 0.0)

        calm = choose(started, given[f"{name}calm"], self.apart + 1.0)
        counted, exceeds = choose(counts, calm, 0.0) > self.apart, units > quantile
        step = largest(STEP * between(index * (1.0 / USUAL_TAIL), 1.0, WIDER), smallest(EAGER / known, 0.2))
        moved = quantile * (1.0 + step * choose(exceeds, 1.0 - SHARE, -SHARE))
        weight = largest(1.0 / (TAIL_BEFORE + SHARE * known), TAIL_STEP)
        heavier = tail + weight * ((1.0 - quantile / largest(units, quantile)) - tail)
        return (
            ratio,
            limit,
            {
                f"{name}quantile": choose(begun, choose(counted, moved, quantile), 0.0),
                f"{name}tail": choose(begun, choose(counted, choose(exceeds, heavier, tail), tail), 0.0),
                f"{name}calm": choose(begun, choose(counted, choose(exceeds, 1.0, calm), calm + 1.0), 0.0),
            },
        )


def tail_of(prefix: str, apart: float, unsure: float, once_in: float) -> Tail:
    """A tail of which one error in so many rows is a false alarm.

    Example:
        >>> tail = tail_of("", 30.0, 400.0, 1440.0)
        >>> round(tail.table[0], 2), round(tail.table[130], 2), round(tail.table[300], 2)
        (1.0, 1.32, 3.42)
    """
    clusters = SHARE / (1.0 + apart * SHARE)
    table = []
    for thousandths in range(int(1000 * HEAVIEST) + 1):
        mean = thousandths / 1000
        index = mean / (1.0 - mean)
        table.append((once_in * clusters) ** index * (1.0 + HEAVY * max(index - USUAL_TAIL, 0.0)))
    return Tail(prefix, apart, unsure, table)


def between(value: Symbol, low: float, high: float) -> Symbol:
    """The number, not below or beyond some limits."""
    return smallest(largest(value, low), high)
