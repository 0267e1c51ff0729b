"""Slow trends: how far the last values together are from what is usual at their time, and from where they were before.

No single value of a slow trend need be unusual. So the distance to what is usual at the minute of the day is followed
by a level that has the memory of some 50 values, and that level by one of some thousand: the *drift* is the distance of
the two. Its noise is a fraction of that of the values, so it is told long before a value by itself would be. It has a
tail of its own (:mod:`anomaly_app.scoring.tail`), and its share of the false alarms: a fifth. What is less than a usual
error is not worth an alert however certain it is. Once it is told, or was told in another way, the slow level follows
for some hours.
"""

from __future__ import annotations

from collections.abc import Mapping

from anomaly_app.forecasting.symbols import Number, Symbol, choose, clip, largest, smallest
from anomaly_app.scoring.tail import Tail, tail_of

PACE, SLOW_PACE = 0.04, 0.001
"""Weights of the newest value in the level of the last values, and in that which it is compared with."""
MEMORY, FAR = 0.001, 4.0
"""Weight of the newest drift in its scale, and in how many scales it counts at most."""
LEAST = 1.5
"""Mean errors of a single value that a drift has at least, to be told."""
PART = 5.0
"""Of how many false alarms one may be a drift."""
APART = 240.0
"""Rows in which a drift is one event."""
UNSURE = 1000.0
"""Values at which a drift has to be twice as large, because its tail is not known yet."""
FREE = 3.0
"""Alarms that are free; one more is when the next false one may come."""

FIELDS = (
    "drift_seen",
    "drift",
    "drift_slow",
    "drift_scale",
    "drift_quantile",
    "drift_tail",
    "drift_calm",
    "drift_since",
    "drift_alarms",
)


def drift_tail(once_in: float) -> Tail:
    """The tail of the drifts where one false alarm in so many rows is wanted."""
    return tail_of("drift_", APART, UNSURE, PART * once_in)


def step(
    tail: Tail,
    once_in: float,
    given: Mapping[str, Symbol],
    apart: Symbol,
    unknown: Symbol,
    limit: Symbol,
    scale: Symbol,
    hushed: Symbol,
) -> tuple[Symbol, dict[str, Number]]:
    """Judge the drift of a row, then learn it.

    Args:
        tail: of the drifts.
        once_in: rows in which one false alarm is wanted.
        given: the state.
        apart: what the value is away from what is usual at its time.
        unknown: whether nothing is known of that.
        limit: how far a value moves a level at most.
        scale: mean error of a value.
        hushed: whether an event was told just before.

    Returns:
        The drift over that of a false alarm, 0 if it is not to be told, and the fields that change.
    """
    seen = given["drift_seen"] + choose(unknown, 0.0, 1.0)
    known = largest(seen, 1.0)
    first = seen < 1.5
    before = choose(first, apart, given["drift"])
    drift = before + largest(1.0 / known, PACE) * clip(apart - before, limit)
    slow = choose(first, apart, given["drift_slow"])
    size = _absolute(drift - slow)
    own = largest(given["drift_scale"], scale * (1.0 / 64.0))
    ratio, _, learnt = tail.step(given, smallest(size / own, 1e6), seen, choose(unknown, 0.0, 1.0) > 0.5)
    ratio = smallest(ratio, size / (LEAST * scale))

    since = choose(given["drift_since"] > 0.5, given["drift_since"], APART + 1.0)
    alarms = largest(given["drift_alarms"] - 1.0 / (PART * once_in), 0.0)
    over = choose(unknown, 0.0, choose(ratio < 1.0, 0.0, choose(since > APART, 1.0, 0.0))) > 0.5
    told = choose(over, choose(hushed, 0.0, choose(alarms > FREE - 1.0, 0.0, 1.0)), 0.0) > 0.5
    pace = choose(since > APART, choose(over, PACE, SLOW_PACE), PACE)
    results: dict[str, Number] = {
        "drift_seen": seen,
        "drift": drift,
        "drift_slow": slow + largest(1.0 / known, pace) * (drift - slow),
        "drift_scale": given["drift_scale"]
        + largest(1.0 / known, MEMORY) * (smallest(size, choose(seen > 50.0, FAR * own, 1e300)) - given["drift_scale"]),
        "drift_since": choose(over, 1.0, smallest(since + 1.0, 1e9)),
        "drift_alarms": alarms + choose(told, 1.0, 0.0),
    }
    kept: dict[str, Number] = {name: choose(unknown, given[name], value) for name, value in results.items()}
    return choose(told, ratio, 0.0), kept | learnt


def _absolute(value: Symbol) -> Symbol:
    return largest(value, -value)
