"""What a series remembers of the times of the week, in one table, and where in it a time has its places.

A time (UTC) has seven places: for its minute of the day the usual value, for its half hour of the day how large errors
and how large the drift are there, and for its half hour of the week how far below and above the forecast improbable
values were last week and in the week before. Those of a half hour stand together, so that a value changes one part of
the table only.
"""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from anomaly_app.detectors import Integers

Whole = TypeVar("Whole", int, Integers)

MINUTE_MS = 60_000
PARTS, MINUTES = 48, 30
"""Half hours of a day, and minutes in one of them."""
PART = MINUTES + 2 + 4 * 7
PLACES = PARTS * PART
"""Numbers in the table; 0 where nothing is known."""
WEEK = 7 * PARTS
"""Half hours of a week."""


class Places(NamedTuple, Generic[Whole]):
    """Where the table has what is known of a time: numbers of entries, or arrays of them.

    Args:
        season: usual value of the minute of the day.
        noise: size of the errors in the half hour of the day.
        usual_drift: drift in it, see :mod:`anomaly_app.scoring.drift`.
        low, high: the farthest improbable value below and above the forecast in the half hour of the last week.
        low_before, high_before: the same of the week before that.
    """

    season: Whole
    noise: Whole
    usual_drift: Whole
    low: Whole
    high: Whole
    low_before: Whole
    high_before: Whole


def places(time_ms: Whole) -> Places[Whole]:
    """The places of a time, or of many.

    Example:
        >>> day = 86_400_000
        >>> places(31 * 60_000)
        Places(season=61, noise=90, usual_drift=91, low=92, high=93, low_before=94, high_before=95)
        >>> places(day).low - places(0).low, places(7 * day) == places(0)
        (4, True)
    """
    minute = time_ms // MINUTE_MS
    of_day = minute % (PARTS * MINUTES)
    first = of_day // MINUTES * PART
    low = first + MINUTES + 2 + 4 * (minute // (PARTS * MINUTES) % 7)
    return Places(first + of_day % MINUTES, first + MINUTES, first + MINUTES + 1, low, low + 1, low + 2, low + 3)


def half_hour(time_ms: int) -> tuple[int, int]:
    """The week, and the half hour of it.

    Example:
        >>> half_hour(0), half_hour(8 * 86_400_000)
        ((0, 0), (1, 48))
    """
    return divmod(time_ms // (MINUTES * MINUTE_MS), WEEK)


def table() -> list[float]:
    """An empty table."""
    return [0.0] * PLACES
