"""What of the anomalies of a detector people want to be told of: direction, size, duration, pauses, maintenance.

A :class:`WishedDetector` stands around any detector of one value. The detector judges and learns as ever; what it finds
and nobody wants is no anomaly in the result.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np

from anomaly_app.detectors import Detector, Entries, Floats, Integers, Option, Verdicts
from anomaly_app.errors import OptionError, StateError
from anomaly_app.words import duration

DAY_MS = 86_400_000
_MINUTES = 24 * 60

WISHES = (
    Option(
        "direction",
        str,
        "both",
        "which anomalies count: values above what was expected, below, or both",
        lambda value: value in ("up", "down", "both"),
        "'up', 'down' or 'both'",
    ),
    Option(
        "minDeviation",
        float,
        0.0,
        "distance from what was expected that an anomaly has at least, in the unit of the values",
        lambda value: value >= 0,
        "a number from 0 on",
    ),
    Option(
        "minDeviationPercent",
        float,
        0.0,
        "the same in per cent of what was expected",
        lambda value: value >= 0,
        "a number from 0 on",
    ),
    Option(
        "minDuration",
        int,
        1,
        "values in a row that have to be out; the alert comes with the last of them",
        lambda value: 1 <= value <= 10_000,
        "a whole number from 1 to 10000",
    ),
    Option(
        "cooldownMs",
        int,
        0,
        "ms of event time after an anomaly of a key in which there is no other one",
        lambda value: value >= 0,
        "a whole number from 0 on",
    ),
    Option(
        "maintenance",
        str,
        "",
        "times in UTC in which nothing counts, such as '02:00-03:30, 2026-05-01 20:00/2026-05-02 04:00'",
    ),
)
"""Options that a detector of one value has besides its own."""

_STATE = struct.Struct("<3d")
NAME = b"wish"
"""Of the entry of the state."""


class ExpectedVerdicts(Verdicts, Protocol):
    """Verdicts that know what was expected."""

    def expected(self) -> list[float]:
        """What was expected of each point; NaN where nothing was."""
        ...

    def out(self) -> list[bool]:
        """Whether each point is out, though its event may have been told before."""
        ...


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to be told.

    Args:
        direction: ``up``, ``down`` or ``both``.
        deviation: from what was expected at least, in the unit of the values.
        percent: the same, in per cent of what was expected.
        duration: values in a row.
        cooldown_ms: after an anomaly.
        maintenance: first and last ms of times in which nothing counts; those of every day are less than a day from 0.
        outside: the same as it was said.
    """

    direction: str = "both"
    deviation: float = 0.0
    percent: float = 0.0
    duration: int = 1
    cooldown_ms: int = 0
    maintenance: tuple[tuple[int, int], ...] = ()
    outside: str = ""

    def covers(self, value: float, expected: float, time: int) -> bool:
        """Whether an anomaly counts, whatever was before it."""
        if any(_within(time, first, last) for first, last in self.maintenance):
            return False
        if expected != expected or abs(value) == math.inf:
            return self.direction == "both" or (value > 0) is (self.direction == "up")
        apart = value - expected
        if self.direction != "both" and (apart > 0) is not (self.direction == "up"):
            return False
        return abs(apart) >= max(self.deviation, self.percent / 100 * abs(expected))

    def words(self) -> str:
        """What was asked for, for an explanation.

        Example:
            >>> Wish("down", percent=10.0, duration=3, cooldown_ms=600_000).words()
            'downwards, by 10 % or more, 3 in a row, 10 minutes or more after the last one'
        """
        parts = [] if self.direction == "both" else [f"{self.direction}wards"]
        parts += [f"by {self.deviation:g} or more"] * (self.deviation > 0)
        parts += [f"by {self.percent:g} % or more"] * (self.percent > 0)
        parts += [f"{self.duration} in a row"] * (self.duration > 1)
        parts += [f"{duration(self.cooldown_ms)} or more after the last one"] * (self.cooldown_ms > 0)
        parts += [f"outside of maintenance ({self.outside})"] * bool(self.maintenance)
        return ", ".join(parts)


def _within(time: int, first: int, last: int) -> bool:
    if last > 2 * DAY_MS:
        return first <= time <= last
    of_day = time % DAY_MS
    return first <= of_day <= last or first <= of_day + DAY_MS <= last


def wish(options: Mapping[str, Any], name: str) -> Wish:
    """What options ask for.

    Args:
        options: checked ones, among them :data:`WISHES`.
        name: of the function, for messages.

    Raises:
        OptionError: times of maintenance cannot be read.

    Example:
        >>> from anomaly_app.wishes import WISHES
        >>> given = {option.name: option.default for option in WISHES} | {"maintenance": "23:00-01:00"}
        >>> wish(given, "F").maintenance  # ms of the day
        ((82800000, 90000000),)
    """
    periods = [part.strip() for part in options["maintenance"].split(",") if part.strip()]
    return Wish(
        options["direction"],
        options["minDeviation"],
        options["minDeviationPercent"],
        options["minDuration"],
        options["cooldownMs"],
        tuple(_period(part, name) for part in periods),
        ", ".join(periods),
    )


def _period(text: str, name: str) -> tuple[int, int]:
    try:
        if "/" in text:
            first, last = (_moment(part.strip()) for part in text.split("/"))
            if first < last:
                return first, last
        else:
            first, last = (_of_day(part) for part in text.split("-"))
            if first != last:
                return first, last if last > first else last + DAY_MS
    except ValueError:
        pass
    expected = (
        "such as '02:00-03:30' (every day), '00:00-24:00' or '2026-05-01 20:00/2026-05-02 04:00', in UTC, with commas "
        "between; the second is later than the first, or on the next day"
    )
    raise OptionError("maintenance", f"{name}: option 'maintenance' has {text!r}, expected times {expected}")


def _moment(text: str) -> int:
    """A time in ms; one without an offset is UTC."""
    given = datetime.fromisoformat(text)
    return round((given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp() * 1000)


def _of_day(text: str) -> int:
    hours, minutes = (int(part) for part in text.strip().split(":"))
    if not 0 <= hours * 60 + minutes <= _MINUTES or not 0 <= minutes < 60:
        raise ValueError(text)
    return (hours * 60 + minutes) * 60_000


class WishedDetector:
    """A detector of one value whose anomalies are those that somebody wants to be told of.

    Args:
        inner: judges and learns.
        asked: what is wanted.
        flag: place of ``is_anomaly`` in its result; None if the result is a score from 0 to 1.
        threshold: score from which on a point is an anomaly.
    """

    width = 1

    def __init__(self, inner: Detector, asked: Wish, flag: int | None, threshold: float = 1.0) -> None:
        self._inner, self._asked, self._flag, self._threshold = inner, asked, flag, threshold
        self._run = np.zeros(0)
        self._peak = np.zeros(0)
        self._last = np.zeros(0)
        self._changed = np.zeros(0, dtype=np.bool_)

    def grow(self, series: int) -> None:
        """Make room."""
        self._inner.grow(series)
        more = max(series - len(self._run), 0)
        self._run, self._peak = (np.append(array, np.zeros(more)) for array in (self._run, self._peak))
        self._last = np.append(self._last, np.full(more, -math.inf))
        self._changed = np.append(self._changed, np.zeros(more, dtype=np.bool_))

    def update(self, series: Integers, times: Integers, points: Floats) -> WishedVerdicts:
        """Judge points, then learn from them."""
        inner: ExpectedVerdicts = self._inner.update(series, times, points)  # type: ignore[assignment]  # by its maker
        flags, scores, asked = inner.flags(), inner.scores(), self._asked
        outside = inner.out() if asked.duration > 1 else [flag is True for flag in flags]
        wanted = list(flags)
        given = series.tolist(), times.tolist(), points[:, 0].tolist()
        columns = zip(*given, inner.expected(), outside, flags, scores, strict=True)
        for number, (own, time, value, expected, out, flag, score) in enumerate(columns):
            if flag is None:
                continue
            told = (out or flag) and asked.covers(value, expected, time)
            if asked.duration > 1:
                run = self._run[own] = self._run[own] + 1.0 if told else 0.0
                peak = self._peak[own] = max(self._peak[own], score or 0.0) if told else 0.0
                self._changed[own] = True
                told = bool(run == asked.duration)
                if told:
                    scores[number] = max(float(peak), self._threshold)
            if told and time - self._last[own] < asked.cooldown_ms:
                told = False
            if told:
                self._last[own], self._changed[own] = time, True
            wanted[number] = told
        return WishedVerdicts(inner, wanted, scores, self)

    def changes(self, series: int) -> Entries:
        """State entries put or deleted since the last call."""
        given = list(self._inner.changes(series))
        if self._changed[series]:
            self._changed[series] = False
            given.append((NAME, _STATE.pack(self._run[series], self._peak[series], self._last[series])))
        return given

    def restore(self, series: int, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Give a fresh series its entries."""
        known = dict(entries)
        own = known.pop(NAME, None)
        if own is not None:
            if len(own) != _STATE.size:
                raise StateError("what was told of a series is damaged in its state")
            self._run[series], self._peak[series], self._last[series] = _STATE.unpack(own)
        self._inner.restore(series, known.items())

    def forget(self, series: int) -> None:
        """Make a series fresh."""
        self._run[series] = self._peak[series] = 0.0
        self._last[series], self._changed[series] = -math.inf, False
        self._inner.forget(series)

    def given(self, value: Any, score: float | None, wanted: bool | None) -> Any:
        """A result of the inner detector as it is given out."""
        if wanted is None:
            return value
        if self._flag is None:
            return self.score(score, wanted)
        return (*value[: self._flag], wanted, *value[self._flag + 1 :])

    def score(self, score: float | None, wanted: bool | None) -> float | None:
        """A score of the inner detector as it is given out: on the side of the threshold where it belongs."""
        if wanted is None or score is None:
            return score
        if self._flag is None:
            below = math.nextafter(self._threshold, 0.0)
            return max(score, self._threshold) if wanted else min(score, below)
        return max(score, math.nextafter(1.0, 2.0)) if wanted else min(score, 1.0)

    def said(self, explanation: str, score: float | None, wanted: bool | None) -> str:
        """What the detector says of a point, beside the score of all those in a row that are told with it."""
        if self._flag is not None or self._asked.duration == 1 or not wanted or score is None:
            return explanation
        return f"score {score:.2f} in {self._asked.duration} values in a row, of which the last has {explanation}"

    def words(self) -> str:
        """What was asked for."""
        return self._asked.words()


class WishedVerdicts:
    """What a :class:`WishedDetector` says of the points of one call."""

    def __init__(
        self,
        inner: Verdicts,
        wanted: Sequence[bool | None],
        scores: Sequence[float | None],
        detector: WishedDetector,
    ) -> None:
        self._inner, self._wanted, self._scores, self._detector = inner, wanted, scores, detector

    def values(self) -> list[Any]:
        """Results."""
        rows = zip(self._inner.values(), self._scores, self._wanted, strict=True)
        return [self._detector.given(*row) for row in rows]

    def flags(self) -> list[bool | None]:
        """Whether each point is an anomaly that is wanted."""
        return list(self._wanted)

    def scores(self) -> list[float | None]:
        """How far out each point is; that of what is not wanted is no more than that of an ordinary one."""
        return [self._detector.score(*pair) for pair in zip(self._scores, self._wanted, strict=True)]

    def explain(self, number: int) -> str:
        """What the detector says, and what was asked for."""
        said = self._detector.said(self._inner.explain(number), self._scores[number], self._wanted[number])
        return f"{said}; asked for: {self._detector.words()}"


def as_wished(inner: Detector, asked: Wish, flag: int | None, threshold: float = 1.0) -> Detector:
    """The detector, with what is wanted around it if anything is."""
    return inner if asked == Wish() else WishedDetector(inner, asked, flag, threshold)
