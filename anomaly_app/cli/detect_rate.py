"""How many alarms a day a detector gives by design on the series of a file, and what would give fewer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anomaly_app.cli.detect_input import Series
    from anomaly_app.detectors import Floats

DAY_MS = 86_400_000
WANTED_A_DAY = 1.0
"""Alarms a day of a series for which a confidence is recommended."""
LEAST_WORTH = 1.05
"""Times what is wanted from which on another confidence is worth a word."""
GAP = 10.0
"""Usual distances between rows from which on a longer one is a gap, which says nothing of the pace."""


def rate(options: Mapping[str, Any], series: Series) -> str:
    """Expected alarms a day on these series, in words; empty if the detector promises no share of the rows.

    Args:
        options: of the detector, checked.
        series: rows.
    """
    share = _share(options)
    if share is None or not len(series):
        return ""
    text = f"{100 - 100 * share:g} % leaves"
    steps = _steps(series)
    if not len(steps):
        rows = "one row" if round(1 / share) <= 1 else f"one row in {1 / share:,.4g}"
        return f"{text} {rows} as an alarm by design; how many a day is not known: no two rows have different times"
    a_day = DAY_MS / steps
    least, most, total = (float(each) * share for each in (a_day.min(), a_day.max(), a_day.sum()))
    slow, fast = _span(float(steps.max())), _span(float(steps.min()))
    between = _between(_number(least), _number(most))
    text += f" {between} alarm{'s' * (between != '1')} a day by design"
    several = len(steps) > 1
    text += f", {'for each series ' * several}at a point in {_between(slow, fast)}"
    text += f", {_number(total)} for all {len(steps):,}" * several
    if most >= LEAST_WORTH * WANTED_A_DAY:
        left = 100 * WANTED_A_DAY / a_day.max() / _sides(options)
        text += f"; --confidence {100 - float(f'{left:.2g}'):.12g} leaves {'at most ' * several}one"
        text += f" for each, {_number(total / most)} for all" * several
    return text


def _between(first: str, second: str) -> str:
    return first if first == second else f"{first} to {second}"


def _share(options: Mapping[str, Any]) -> float | None:
    """Of the rows that are outside by design."""
    confidence = options.get("confidencePercentage")
    if confidence is None:
        return None
    if options.get("sensitivity"):
        confidence = 100.0 - options["sensitivity"] / 100
    above, below = (options.get(f"{side}BoundConfidencePercentage") for side in ("upper", "lower"))
    tails = {"up": confidence if above is None else above, "down": confidence if below is None else below}
    direction = options.get("direction", "both")
    return float(sum((100 - tail) / 200 for side, tail in tails.items() if direction in (side, "both")))


def _sides(options: Mapping[str, Any]) -> float:
    """Share of what a confidence leaves that counts."""
    return 1.0 if options.get("direction", "both") == "both" else 0.5


def _steps(series: Series) -> Floats:
    """The mean distance of the rows of each series in ms, gaps left out; of those that have one."""
    import numpy as np

    order = np.lexsort((series.times, series.series))
    numbers, times = series.series[order], series.times[order]
    found = []
    for own in np.split(times, np.flatnonzero(np.diff(numbers)) + 1):
        steps = np.diff(own)
        if (steps > 0).any():
            found.append(float(steps[steps <= GAP * np.median(steps[steps > 0])].mean()))
    return np.array(found, dtype=np.float64)


def _number(value: float) -> str:
    return f"{value:.2g}" if value < 100 else f"{value:,.0f}"


def _span(ms: float) -> str:
    """A time in words.

    Example:
        >>> _span(60_000.0), _span(3_600_000.0), _span(1_500.0)
        ('1 min', '1 h', '1.5 s')
    """
    for size, unit in ((DAY_MS, "d"), (3_600_000, "h"), (60_000, "min")):
        if ms >= size:
            return f"{ms / size:.3g} {unit}"
    return f"{ms / 1000:.3g} s"
