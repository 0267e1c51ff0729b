"""The fields of a point as features: numbers as they are, time of day, time since the last point, categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomaly_app.conversions import DAY_MS
from anomaly_app.detectors import Floats, Integers
from anomaly_app.words import figure

TIME_OF_DAY = "time_of_day"
FREQUENCY = "frequency"

_SMALLEST_SPREAD = {"time": 0.02, "gap": 0.05, "rarity": 0.5}
"""Standard deviations below which a regular series would make an anomaly of nothing: about five minutes of the day,
5 % of a gap, half a nat of rarity."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Which features a point has.

    Args:
        names: of the values of a point.
        categories: names of those that are categories; their feature is rarity.
        time_of_day: the time of day is a field too: sine and cosine, so that midnight is no border.
        frequency: the time since the last point is a field too: the logarithm of it in ms plus 1.

    Example:
        >>> fields = Fields(("amount", "merchant"), ("merchant",), time_of_day=True)
        >>> fields.groups
        ('amount', 'merchant', 'time_of_day')
        >>> fields.group.tolist()
        [0, 1, 2, 2]
    """

    names: tuple[str, ...]
    categories: tuple[str, ...] = ()
    time_of_day: bool = False
    frequency: bool = False

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the fields as an explanation has them."""
        return (*self.names, *[TIME_OF_DAY] * self.time_of_day, *[FREQUENCY] * self.frequency)

    @property
    def group(self) -> Integers:
        """For each feature, the place of its field in :attr:`groups`."""
        places = list(range(len(self.names)))
        if self.time_of_day:
            places += [len(self.names)] * 2
        if self.frequency:
            places.append(len(self.names) + self.time_of_day)
        return np.array(places, dtype=np.int64)

    @property
    def count(self) -> int:
        """How many features there are."""
        return len(self.names) + 2 * self.time_of_day + self.frequency

    @property
    def places(self) -> list[int]:
        """Which features are categories."""
        return [place for place, name in enumerate(self.names) if name in self.categories]

    @property
    def sine(self) -> int | None:
        """Place of the sine of the time of day, before the cosine; None if it is no field."""
        return len(self.names) if self.time_of_day else None

    def smallest_spread(self) -> Floats:
        """For each feature, the standard deviation that it has at least; 0 for a number."""
        spread = [_SMALLEST_SPREAD["rarity"] if name in self.categories else 0.0 for name in self.names]
        spread += [_SMALLEST_SPREAD["time"]] * 2 * self.time_of_day + [_SMALLEST_SPREAD["gap"]] * self.frequency
        return np.array(spread)

    def encode(self, points: Floats, times: Integers, gaps: Integers) -> Floats:
        """Features of points; categories are left as their codes.

        Args:
            points: shape (n, values).
            times: in ms since 1970, shape (n,).
            gaps: ms since the point before in its series, shape (n,).
        """
        parts: list[Floats] = [points]
        if self.time_of_day:
            angle = (times % DAY_MS) * (2 * np.pi / DAY_MS)
            parts += [np.sin(angle)[:, None], np.cos(angle)[:, None]]
        if self.frequency:
            parts.append(np.log(1.0 + np.maximum(gaps, 0))[:, None])
        return np.concatenate(parts, axis=1)

    def describe(self, group: int, features: Floats, usual: Floats, spread: Floats) -> str:
        """A field of one point, and what is usual, in words."""
        own = np.flatnonzero(self.group == group)
        name, value, middle = self.groups[group], features[own], usual[own]
        if group < len(self.names):
            if name in self.categories:
                return f"{name} (in {_percent(np.exp(-value[0]))} of the points before)"
            return f"{name} {figure(value[0], 6)} (usual {figure(middle[0], 6)} ± {figure(spread[own][0], 3)})"
        if name == TIME_OF_DAY and self.time_of_day and group == len(self.names):
            return f"time of day {_clock(value)} (usual around {_clock(middle)})"
        return f"{_duration(value[0])} after the point before (usual {_duration(middle[0])})"


def check_names(names: Sequence[str], categories: Sequence[str]) -> str | None:
    """What is wrong with the names of categories; None if nothing is."""
    for name in categories:
        if name not in names:
            return f"{name!r} is no field; the fields are {', '.join(names)}"
    return None


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _clock(wave: Floats) -> str:
    minutes = round(float(np.arctan2(wave[0], wave[1])) % (2 * np.pi) * (DAY_MS / 60_000) / (2 * np.pi)) % 1_440
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _duration(log_ms: float) -> str:
    seconds = float(np.expm1(log_ms)) / 1_000
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.3g} min"
