"""How improbable a value is after those before it: a forecast, the tail of its errors, and a limit to the alarms.

One recursion over a few dozen numbers, written for :class:`~anomaly_app.forecasting.kernel.Kernel`, so that it runs
over floats for one series and over arrays for thousands, with the same bits.

* **Forecast.** Three levels follow the series at different speeds (:data:`PACES`); each counts by how small its errors
  have been of late. A value moves them by three mean errors at most; after 15 of them in a row that are farther out on
  one side the series is taken to be there, so a level shift is over after 15 rows, as with a median of 30.
  What is usual at the time and the drift go along.
* **Time of day.** Each minute of the day has its place in a table, which follows the value by two fifths a day. A value
  that is as it was at this minute, give or take by how much the last hour differed from the days before, is expected,
  too: the error is the smaller one of the two. So what happens every day at its time is no alarm from the third on.
* **Scale.** The mean absolute error, clipped; not less than a hundredth of what the series moves by; times how much
  larger or smaller than usual errors are in this half hour of the day.
* **Tail.** The error in units of the scale that comes once in 1440 rows, see :mod:`anomaly_app.scoring.tail`.
* **Week.** How far the values of each half hour of the week were from the levels, where they were far, in the last two
  weeks: what was in both is expected the third time.
* **Drift.** Slow trends, see :mod:`anomaly_app.scoring.drift`.
* **Flat line.** A value that stays exactly the same for ten rows, and three times the longest such stretch before, is
  an alarm, once.
* **Limit.** An event is told once: within 30 rows only what is half as far out again counts in full. Six alarms, and
  four more a day of 1440 rows, are free; a series that has more is asked for more, until it has none for some days.

The *ratio* is the error over that which comes once in 1440 rows; 1 is an alarm.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from anomaly_app.forecasting.kernel import Kernel
from anomaly_app.forecasting.symbols import Number, Symbol, choose, clip, equal, largest, smallest, sqrt
from anomaly_app.scoring import drift
from anomaly_app.scoring.places import Places
from anomaly_app.scoring.tail import between, tail_of

PACES = (0.5, 0.1, 0.03)
"""Weights of the newest value in the levels."""
WARM = 20.0
"""Values from which on errors are clipped."""
MOVES = 3.0
"""Mean errors by which a value moves a level at most."""
FAR = 4.0
"""Mean errors that an error counts as at most."""
MEMORY = 0.002
"""Weight of the newest error in the scale."""
ARRIVED = 15.0
"""Values in a row, all far out on one side, after which the series is there."""
SLOW, SLOW_SPREAD, SLOW_LIMIT = 0.0007, 0.001, 8.0
"""Weights of the newest value in level and spread of the whole series, and by how many spreads it counts at most."""
LEAST = 0.01
"""Scale in units of the spread at least."""
ROUNDING = 1e-10
"""Errors of that part of the value are rounding."""
SMALLEST, LARGEST_ERROR = 1e-290, 1e6
"""Scale at least, and error in units of the scale at most."""

FLAT, FLATTER, FORGET = 10.0, 3.0, 1.0 - 1.0 / 20_000
"""Rows in which a value stays the same that are an alarm: so many, and so many times the longest before; what is left
of that after a row."""
STUCK = 1.2
"""Ratio of a value that has just been the same for that long; it is told once."""

APART, UNSURE = 30.0, 400.0
"""Rows behind one that exceeds the quantile that are not counted, and values at which an error has to be twice as far
out, because the tail is not known yet."""
ONCE_IN = 1440.0
"""Rows in which one is an alarm, if nothing else is asked for."""
OFTENER = 0.95
"""Part of these rows in which an error is an alarm, before those of the same event are taken for one."""
AGAIN = 30.0
"""Rows within which an event is the same one."""
WORSE = 1.5
"""How many times farther out the same event has to be to be told again."""
FREE, REFILL = 6.0, 360.0
"""Alarms that are free, and rows after which one more is."""
RELAX = 0.5 ** (1 / 2880)
"""What is left after a row of what is asked for beyond 1: half of it after two days."""
MARK = 0.52
"""Score of an alarm at least; below 0.5 without one."""
DRIFTED, SPAN = 0.5, 0.01
"""Score of a drift that is told at least, and how much more it is at most: below all that is improbable."""

DAILY, OFFSET = 0.4, 0.1
"""Weights of the newest value in its place of the day, and in the difference of the last values from their places."""

NOISE, ANCHOR, NOISIER = 0.01, 0.1, 4.0
"""Weight of the newest error in the noise of its half hour, weight of 1 in that, and how many times larger or smaller
than usual it is at most."""
CALM = 2.5
"""Errors of that many usual ones of the half hour count as so many: an event is not the noise of its time."""
NEARLY, WIDE = 0.7, 1.25
"""Part of the distance of an alarm from which on the week remembers a value, and how much farther out than in the weeks
before it may be."""

LEVELS = tuple(f"level{number}" for number in range(len(PACES)))
ERRORS = tuple(f"error{number}" for number in range(len(PACES)))
FIELDS = (
    "count",
    *LEVELS,
    *ERRORS,
    "scale",
    "slow",
    "spread",
    "offset",
    "place",
    "visits",
    "week_place",
    "week_low",
    "week_high",
    "explained",
    "last",
    "same",
    "longest",
    "run",
    "run_sum",
    "run_apart",
    "quantile",
    "tail",
    "calm",
    "gain",
    "told_gain",
    "alarms",
    "since",
    "top",
    *drift.FIELDS,
)
"""Of a series, all 0 before its first value."""
OUTPUTS = ("score", "forecast", "limit", "ratio", "drifted")
"""Score from 0 to 1; forecast and distance from it that is an alarm, in the unit of the values; error over that."""


INPUTS = ("x", *Places._fields, "at", "week")
"""The value; the table of the series at the places of its time, and the numbers of the first and fourth of these."""


@functools.cache
def kernel(warmup: int, once_in: float = ONCE_IN) -> Kernel:
    """The recursion.

    Args:
        warmup: values before the first score above 0.
        once_in: rows in which one is an alarm.

    Example:
        >>> run = kernel(50)
        >>> values = [float(k * 7919 % 31) for k in range(3000)] + [80.0]
        >>> at = [[place] * 3001 for place in (0, 1, 2, 3, 4, 5, 6, 0, 3)]
        >>> state, out = run.one_series([0.0] * len(FIELDS), [values, *at], [0.0] * 7)
        >>> score, forecast, limit, ratio = out[-12:-8]
        >>> score > 0.5, abs(forecast - 15) < 3, 10 < limit < 30
        (True, True, True)
    """
    slots = [(name, f"{name}_next") for name in Places._fields]
    outputs = (*OUTPUTS, *(result for _, result in slots))
    return Kernel(functools.partial(_step, float(warmup), _Tails(once_in)), FIELDS, INPUTS, outputs, slots)


class _Tails:
    """Those of the errors and of the drifts, where one false alarm in so many rows is wanted."""

    def __init__(self, once_in: float) -> None:
        self.once_in = once_in
        self.errors = tail_of("", APART, UNSURE, OFTENER * once_in)
        self.drifts = drift.drift_tail(once_in)


def _step(warmup: float, tails: _Tails, given: Mapping[str, Symbol]) -> dict[str, Number]:
    x, count = given["x"], given["count"] + 1.0
    first, warm = count < 1.5, count > WARM
    results: dict[str, Number] = {"count": count}

    levels = [choose(first, x, given[name]) for name in LEVELS]
    near = _forecast(levels, [given[name] for name in ERRORS])
    usual, unknown = given["season"] + given["offset"], equal(given["season"], 0.0)
    forecast = choose(unknown, near, choose(_absolute(x - usual) < _absolute(x - near), usual, near))
    size = _absolute(x - forecast)
    usual_noise = 1.0 + given["noise"]
    noise = largest(given["scale"], LEAST * given["spread"]) * usual_noise
    scale = largest(noise, _absolute(x) * ROUNDING + SMALLEST)
    units = smallest(size / scale, LARGEST_ERROR)

    weight = largest(1.0 / count, MEMORY)
    far = FAR * scale
    results["scale"] = given["scale"] + weight * (_clipped(warm, size, far) / usual_noise - given["scale"])
    results["noise_next"] = _noise(given["noise"], choose(warm, smallest(units, CALM), 1.0) * usual_noise)
    for name, level in zip(ERRORS, levels, strict=True):
        results[name] = given[name] + weight * (_clipped(warm, _absolute(x - level), far) - given[name])
    limit = choose(warm, MOVES * scale, 1e300)
    apart = choose(unknown, given["drift"], x - given["season"])
    followed, arrived, there = _levels(given, x, x - near, apart, levels, count, limit)
    results |= followed
    moved = choose(_absolute(there - given["drift_slow"]) > limit, choose(arrived, 1.0, 0.0), 0.0) > 0.5
    results |= _season(given, x, usual, unknown, limit, choose(moved, there - given["offset"], 0.0))
    results |= _whole(given, x, first, count)

    seen = largest(count - warmup, 0.0)
    ratio, once, learnt = tails.errors.step(given, units, seen, seen > 0.5)
    results |= learnt
    ratio, explained, week = _week(given, x - near, NEARLY * once * scale, size, ratio)
    results |= week
    stuck, flat = _flat(given, x, first)
    ratio = largest(ratio, choose(seen > 0.5, stuck, 0.0))
    results |= flat
    hushed = choose(given["gain"] > 0.5, given["since"], 2.0 * AGAIN) < AGAIN + 0.5
    drifted, drifts = drift.step(
        tails.drifts,
        tails.once_in,
        given,
        drift.Row(
            apart=apart,
            unknown=unknown,
            limit=limit,
            scale=scale / usual_noise,
            noise=usual_noise,
            again=equal(given["week"], given["week_place"]),
            hushed=choose(ratio < 1.0, choose(hushed, 1.0, 0.0), 1.0) > 0.5,
            arrived=moved,
            there=there,
        ),
    )
    results |= drifts
    reported, limits = _limit(given, ratio, drifted, explained)
    results |= limits
    squared = reported * reported
    below, above = squared / (1.0 + squared), MARK + (1.0 - MARK) * ((squared - 1.0) / (squared + 1.0))
    slow = DRIFTED + SPAN * (1.0 - 1.0 / largest(drifted, 1.0))
    return results | {
        "score": choose(reported < 1.0, choose(drifted > 0.5, slow, below), above),
        "forecast": forecast,
        "limit": once * scale * choose(reported < ratio, ratio / largest(reported, SMALLEST), 1.0),
        "ratio": ratio,
        "drifted": drifted,
    }


def _absolute(value: Symbol) -> Symbol:
    return largest(value, -value)


def _clipped(warm: Symbol, size: Symbol, limit: Symbol) -> Symbol:
    return choose(warm, smallest(size, limit), size)


def _forecast(levels: list[Symbol], errors: list[Symbol]) -> Symbol:
    """The levels, weighted by the inverse squares of their errors."""
    known = [largest(error, SMALLEST) for error in errors]
    least = functools.reduce(smallest, known)
    shares = [least / error for error in known]
    weights = [share * share for share in shares]
    total = functools.reduce(lambda one, other: one + other, weights)
    base = levels[0]
    moved = functools.reduce(
        lambda one, other: one + other,
        [weight * (level - base) for weight, level in zip(weights[1:], levels[1:], strict=True)],
    )
    return base + moved / total


def _levels(
    given: Mapping[str, Symbol],
    x: Symbol,
    error: Symbol,
    apart: Symbol,
    levels: list[Symbol],
    count: Symbol,
    limit: Symbol,
) -> tuple[dict[str, Number], Symbol, Symbol]:
    """The levels follow; where the series has been beyond them for long enough they are there.

    Also gives whether they are, and how far the values on the way were from what is usual at their times.
    """
    run, up, down = given["run"], error > limit, error < -limit
    longer = choose(up, largest(run, 0.0) + 1.0, choose(down, smallest(run, 0.0) - 1.0, 0.0))
    arrived = _absolute(longer) > ARRIVED - 0.5
    results: dict[str, Number] = {"run": choose(arrived, 0.0, longer)}
    means = []
    for name, value in (("run_sum", x), ("run_apart", apart)):
        before = given[name]
        total = choose(
            up, choose(run > 0.0, before, 0.0) + value, choose(down, choose(run < 0.0, before, 0.0) + value, 0.0)
        )
        results[name] = choose(arrived, 0.0, total)
        means.append(total * (1.0 / ARRIVED))
    there, far = means
    for name, level, pace in zip(LEVELS, levels, PACES, strict=True):
        moved = level + largest(1.0 / count, pace) * clip(x - level, limit)
        results[name] = choose(arrived, there, moved)
    return results, arrived, far


def _whole(given: Mapping[str, Symbol], x: Symbol, first: Symbol, count: Symbol) -> dict[str, Number]:
    """Level and spread of the series as a whole."""
    slow, spread = choose(first, x, given["slow"]), given["spread"]
    known = choose(spread > 0.0, count, 0.0) > 50.0
    apart = x - slow
    limit = choose(known, SLOW_LIMIT * spread, 1e300)
    size = smallest(_absolute(apart), choose(known, FAR * spread, 1e300))
    return {
        "slow": slow + largest(1.0 / count, SLOW) * clip(apart, limit),
        "spread": spread + largest(1.0 / count, SLOW_SPREAD) * (size - spread),
    }


def _season(
    given: Mapping[str, Symbol], x: Symbol, usual: Symbol, unknown: Symbol, limit: Symbol, jump: Symbol
) -> dict[str, Number]:
    """What is usual at this minute of the day, and by how much the last values differed from it: all of a jump."""
    visits = choose(equal(given["at"], given["place"]), given["visits"] + 1.0, 1.0)
    moved = clip(x - usual, limit)
    followed = choose(equal(jump, 0.0), OFFSET * moved, jump)
    return {
        "season_next": choose(unknown, x, given["season"] + (DAILY / visits) * moved),
        "offset": choose(unknown, given["offset"], given["offset"] + followed),
        "place": given["at"],
        "visits": visits,
    }


def _noise(before: Symbol, size: Symbol) -> Symbol:
    """How much larger than usual errors are in this half hour, learnt from one of them; less 1, so that 0 is usual."""
    moved = before + NOISE * (size - (1.0 + before)) - NOISE * ANCHOR * before
    return between(moved, 1.0 / NOISIER - 1.0, NOISIER - 1.0)


def _week(
    given: Mapping[str, Symbol], apart: Symbol, limit: Symbol, size: Symbol, ratio: Symbol
) -> tuple[Symbol, Symbol, dict[str, Number]]:
    """The ratio without what was as far out at this time in both weeks before; the ratio that is explained by it."""
    again = equal(given["week"], given["week_place"])
    low = choose(again, given["week_low"], largest(given["low"], given["low_before"]))
    high = choose(again, given["week_high"], smallest(given["high"], given["high_before"]))
    beyond = largest(largest(apart - WIDE * high, WIDE * low - apart), 0.0)
    before = given["explained"]
    left = ratio * (smallest(beyond, size) / largest(size, SMALLEST))
    far = choose(_absolute(apart) > limit, apart, 0.0)
    explained = choose(left < 1.0, choose(ratio < 1.0, 0.0, ratio), 0.0)
    return (
        left,
        explained,
        {
            "explained": choose(explained > 0.5, 1.0, choose(before > 0.5, smallest(before + 1.0, 1e9), 0.0)),
            "week_place": given["week"],
            "week_low": low,
            "week_high": high,
            "low_next": smallest(choose(again, given["low"], 0.0), far),
            "high_next": largest(choose(again, given["high"], 0.0), far),
            "low_before_next": choose(again, given["low_before"], given["low"]),
            "high_before_next": choose(again, given["high_before"], given["high"]),
        },
    )


def _flat(given: Mapping[str, Symbol], x: Symbol, first: Symbol) -> tuple[Symbol, dict[str, Number]]:
    """How long the value has been exactly the same, over how long that is usual for the series."""
    same = choose(first, 0.0, choose(equal(x, given["last"]), given["same"] + 1.0, 0.0))
    longest = given["longest"]
    limit = FLAT + FLATTER * longest
    reached = choose(same < limit, 0.0, choose(same - 1.0 < limit, STUCK, 0.0))
    return reached, {
        "last": x,
        "same": same,
        "longest": largest(longest * FORGET, choose(same < 0.5, smallest(given["same"], 1e9), 0.0)),
    }


def _limit(
    given: Mapping[str, Symbol], ratio: Symbol, drifted: Symbol, explained: Symbol
) -> tuple[Symbol, dict[str, Number]]:
    """The ratio as it is told: less if as much was told just before, or if there are too many alarms."""
    started = given["gain"] > 0.5
    since = choose(started, given["since"], 2.0 * AGAIN)
    gain = largest(given["gain"] * RELAX, 1.0)
    alarms = largest(given["alarms"] - 1.0 / REFILL, 0.0)
    within, worse = since < AGAIN + 0.5, ratio > WORSE * given["top"]
    same = choose(within, choose(worse, 1.0, 0.0), 0.0) > 0.5
    share = choose(within, choose(worse, 1.0, since * (1.0 / AGAIN)), 1.0)
    reported = share * (ratio / choose(same, given["told_gain"], gain))
    told = choose(reported < 1.0, 0.0, 1.0) > 0.5
    new = choose(told, choose(same, 0.0, 1.0), 0.0) > 0.5
    more = alarms + choose(new, 1.0, 0.0)
    known = choose(told, 1.0, largest(drifted, explained)) > 0.5
    asked = choose(new, choose(more > FREE, largest(gain, sqrt(ratio * gain)), gain), gain)
    return reported, {
        "gain": asked,
        "told_gain": choose(new, gain, choose(started, given["told_gain"], 1.0)),
        "alarms": more,
        "since": choose(known, 1.0, smallest(since + 1.0, 1e9)),
        "top": choose(known, largest(ratio, largest(explained, 1.0)), choose(within, given["top"], 0.0)),
    }
