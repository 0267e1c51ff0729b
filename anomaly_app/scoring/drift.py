"""Slow trends: how far the last values together are from what is usual at their time, and from where they were before.

No single value of a slow trend need be unusual. So the distance to what is usual at the minute of the day is followed
by a level that has the memory of some 50 values, and that level by one of some thousand: the *drift* is the distance of
the two. Its noise is a fraction of that of the values, so it is told long before a value by itself would be. It has a
tail of its own (:mod:`anomaly_app.scoring.tail`), and its share of the false alarms: a fifth. What is less than a usual
error is not worth an alert however certain it is. Once it is told, or was told in another way, the slow level follows
for some hours.

A drift that was as large at this half hour of yesterday is expected: a series that grows by as much every day has one
each day. It is measured in usual errors of the half hour. Where the series has arrived at a new level both levels
are there at once, and the distance between the old and the new one is a drift whose tail need not be known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from anomaly_app.forecasting.symbols import Number, Symbol, choose, clip, largest, smallest
from anomaly_app.scoring.tail import Tail, tail_of

PACE, SLOW_PACE = 0.04, 0.001
"""Weights of the newest value in the level of the last values, and in that which it is compared with."""
MEMORY, FAR = 0.001, 4.0
"""Weight of the newest drift in its scale, and in how many scales it counts at most."""
USUAL, WIDE = 0.1, 1.25
"""Weight of the newest drift in that of its half hour of the day; how many times larger than yesterday it may be."""
LEAST, ARRIVED = 1.5, 3.0
"""Mean errors of a single value that a drift has at least, to be told, and a new level at which the series is."""
PART = 5.0
"""Of how many false alarms one may be a drift."""
APART = 240.0
"""Rows in which a drift is one event."""
UNSURE = 1000.0
"""Values at which a drift has to be twice as large, because its tail is not known yet."""
FREE, SPENT = 4.0, 1.0
"""Alarms that are free, and how many of these are not yet at the beginning; one more is when the next false one may
come."""

FIELDS = (
    "drift_seen",
    "drift",
    "drift_slow",
    "drift_steady",
    "drift_expected",
    "drift_scale",
    "drift_quantile",
    "drift_tail",
    "drift_calm",
    "drift_since",
    "drift_alarms",
)


class Row(NamedTuple):
    """What is known of a row.

    Args:
        apart: what the value is away from what is usual at its minute of the day.
        unknown: whether nothing is known of that.
        limit: how far a value moves a level at most.
        scale: mean error of a value, as it is on average.
        noise: how many times larger than that errors are in this half hour of the day.
        again: whether the row before was in the same half hour.
        hushed: whether an event was told just before.
        arrived: whether the series has been elsewhere for long enough to be there, by as much as is told.
        there: where that is, as ``apart``.
    """

    apart: Symbol
    unknown: Symbol
    limit: Symbol
    scale: Symbol
    noise: Symbol
    again: Symbol
    hushed: Symbol
    arrived: Symbol
    there: Symbol


def drift_tail(once_in: float) -> Tail:
    """The tail of the drifts where one false alarm in so many rows is wanted."""
    return tail_of("drift_", APART, UNSURE, PART * once_in)


def step(tail: Tail, once_in: float, given: Mapping[str, Symbol], row: Row) -> tuple[Symbol, dict[str, Number]]:
    """Judge the drift of a row, then learn it.

    Args:
        tail: of the drifts.
        once_in: rows in which one false alarm is wanted.
        given: the state, and the table at the places of the row.
        row: what is known of it.

    Returns:
        The drift over that of a false alarm, 0 if it is not to be told, and the fields and places that change.
    """
    unknown, arrived = row.unknown, row.arrived
    seen = given["drift_seen"] + choose(unknown, 0.0, 1.0)
    known = largest(seen, 1.0)
    first = seen < 1.5
    before = choose(first, row.apart, given["drift"])
    drift = choose(arrived, row.there, before + largest(1.0 / known, PACE) * clip(row.apart - before, row.limit))
    slow = choose(first, row.apart, given["drift_slow"])
    steady = choose(first, row.apart, given["drift_steady"])
    expected = choose(row.again, given["drift_expected"], given["usual_drift"])
    moved = (drift - slow) / row.noise
    most = WIDE * expected
    size = largest(largest(moved - largest(most, 0.0), smallest(most, 0.0) - moved), 0.0)
    own = largest(given["drift_scale"], row.scale * (1.0 / 64.0))
    ratio, _, learnt = tail.step(given, smallest(size / own, 1e6), seen, choose(unknown, 0.0, 1.0) > 0.5)
    ratio = choose(arrived, size / (ARRIVED * row.scale), smallest(ratio, size / (LEAST * row.scale)))

    since = choose(given["drift_since"] > 0.5, given["drift_since"], APART + 1.0)
    alarms = choose(first, SPENT, largest(given["drift_alarms"] - 1.0 / (PART * once_in), 0.0))
    over = choose(unknown, 0.0, choose(ratio < 1.0, 0.0, choose(since > APART, 1.0, 0.0))) > 0.5
    told = choose(over, choose(row.hushed, 0.0, choose(alarms > FREE - 1.0, 0.0, 1.0)), 0.0) > 0.5
    pace = choose(since > APART, choose(over, PACE, SLOW_PACE), PACE)
    usual = given["usual_drift"]
    results: dict[str, Number] = {
        "drift_seen": seen,
        "drift": drift,
        "drift_slow": choose(arrived, drift, slow + largest(1.0 / known, pace) * (drift - slow)),
        # what is usual must not depend on what was told, or it would be another one every day
        "drift_steady": choose(arrived, drift, steady + largest(1.0 / known, SLOW_PACE) * (drift - steady)),
        "drift_expected": expected,
        "drift_scale": given["drift_scale"]
        + largest(1.0 / known, MEMORY) * (smallest(size, choose(seen > 50.0, FAR * own, 1e300)) - given["drift_scale"]),
        "drift_since": choose(over, 1.0, smallest(since + 1.0, 1e9)),
        "drift_alarms": alarms + choose(told, 1.0, 0.0),
    }
    kept: dict[str, Number] = {name: choose(unknown, given[name], value) for name, value in results.items()}
    kept["usual_drift_next"] = choose(unknown, usual, usual + USUAL * ((drift - steady) / row.noise - usual))
    return choose(told, ratio, 0.0), kept | learnt


def _absolute(value: Symbol) -> Symbol:
    return largest(value, -value)
