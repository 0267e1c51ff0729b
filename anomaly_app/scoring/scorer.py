"""The scorer of one series."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from anomaly_app import words
from anomaly_app.errors import StateError
from anomaly_app.scoring.novelty import Novelty
from anomaly_app.scoring.options import NUMBERS, OPTIONS, checked, once_in
from anomaly_app.scoring.places import PART, PARTS, WEEK, half_hour, places, table
from anomaly_app.scoring.residual import AGAIN, FIELDS, ONCE_IN, OUTPUTS, STUCK, kernel
from anomaly_app.scoring.tail import HEAVIEST

LARGEST = 1e75
"""Values beyond are taken for infinite: products of a few of them are no numbers."""
INFINITE = "the value is infinite, or as good as that"
"""The reason for a score of 1 of those."""
ALERT, MARK, KNOWN = 0.5, 0.51, 0.49
"""Scores of what is new, from that of an alert on, are put between the first two: below those of improbable values. The
last is that of what was new at the same time a week ago, too."""
SINCE, TOP, WEIGHT, EXPLAINED = (FIELDS.index(name) for name in ("since", "top", "tail", "explained"))
TAIL = b"tail"
"""Name of the entry with the numbers of the residuals."""
DAY = b"day"
"""Name of the entries with the parts of the table of times."""
TOLD = b"told"
"""Name of the entry with the week in which something new was told last, and how many weeks in a row that was, for each
half hour of the week."""
NEVER = -(1 << 62)
ROW = 2
"""From the third week in a row on what is new at its half hour is not told again."""
_VERSION = 6
_TAIL = struct.Struct(f"<BQ{NUMBERS}{len(FIELDS)}d")
_TOLD = struct.Struct(f"<{WEEK}q{WEEK}B")
_LENGTHS = struct.Struct("<II")


def placed(novelty: float, alert: float = ALERT) -> float:
    """The score of what is new among those of improbable values.

    How new it is says little about whether it is wanted, so any improbable value comes first.

    Args:
        novelty: from 0 to 1.
        alert: what is worth an alert.

    Example:
        >>> placed(0.4), placed(0.5), placed(1.0), placed(0.5, alert=0.6) < 0.5
        (0.4, 0.5, 0.51, True)
    """
    if novelty < alert:
        return novelty * (ALERT / alert)
    return ALERT + (MARK - ALERT) * (novelty - alert) / (1.0 - alert)


def novelty_alert(once: float) -> float:
    """What novelty is worth an alert if one value in so many may be a false alarm.

    In noise a third of the values that reach a novelty reach one that is a tenth higher.

    Example:
        >>> novelty_alert(1440.0), round(novelty_alert(3 * 1440.0), 6), novelty_alert(1e9)
        (0.5, 0.6, 0.95)
    """
    return min(max(ALERT + 0.1 * math.log(once / ONCE_IN, 3), 0.2), 0.95)


class AnomalyScorer:
    """Tells of one series, value by value, how anomalous it is just now: from 0 to 1, without looking ahead.

    What scores is told in :mod:`anomaly_app.scoring`. An event is told once. From 0.5 on a score is worth an alert: so
    much has about one row in 1440 of a series without anomalies, once a day at a point a minute.

    Of the times the minute of the day and the half hour of the week count, in UTC; not the distances between them.

    A missing value (NaN) scores 0, an infinite one (or
    one beyond ±1e75) scores 1; both change nothing. While there are not more than ``warmup`` values the score is 0.

    Args:
        **options: :data:`anomaly_app.scoring.options.OPTIONS`; the defaults are for series of which nothing is known.

    Raises:
        OptionError: an option is unknown or impossible.

    Example:
        >>> scorer = AnomalyScorer()
        >>> scores = [scorer.score(60_000 * k, 20.0 + k % 7) for k in range(1000)]
        >>> max(scores) < 0.5
        True
        >>> round(scorer.score(60_000_000, 50.0), 2), scorer.reason()[:40]
        (0.92, 'the value is above the forecast of 23.4 ')
    """

    def __init__(self, **options: Any) -> None:
        self._take(checked(options))

    @classmethod
    def of_checked(cls, options: Mapping[str, Any]) -> AnomalyScorer:
        """A scorer with options that were checked before; all of them are there."""
        scorer = cls.__new__(cls)
        scorer._take(options)
        return scorer

    def _take(self, options: Mapping[str, Any]) -> None:
        self.options: dict[str, Any] = {option.name: options[option.name] for option in OPTIONS}
        self._once = once_in(options)
        self._alert = novelty_alert(self._once)
        self._kernel = kernel(options["warmup"], self._once)
        self._state, self._places = [0.0] * len(FIELDS), table()
        self.novelty = Novelty(self.options) if options["history"] else None
        self._told, self._marked = [NEVER] * WEEK + [0] * WEEK, False
        self._changed, self._touched, self._known = False, set[int](), 0
        self._value, self._last, self._new = 0.0, (0.0,) * len(OUTPUTS), 0.0

    def score(self, timestamp_ms: int, value: float) -> float:
        """Score a value, then learn from it.

        Args:
            timestamp_ms: its time; only the order of the values counts.
            value: in any unit.

        Returns:
            From 0 to 1.
        """
        self._value = value = float(value)
        if not -LARGEST <= value <= LARGEST:
            return 1.0 if abs(value) > LARGEST else 0.0
        self._changed = True
        own = places(timestamp_ms)
        part = own.season // PART
        self._touched.add(part)
        self._known |= 1 << part
        tail = min(self._state[WEIGHT], HEAVIEST)
        points = ((value,), *((place,) for place in own), (own.season,), (own.low,))
        self._state, out = self._kernel.one_series(self._state, points, self._places)
        improbable, ratio = out[0], out[3]
        if self.novelty is None:
            self._last = tuple(out[: len(OUTPUTS)])
            return improbable
        since, usual = int(self._state[SINCE]) - 1, 0.0 < self._state[EXPLAINED] <= AGAIN + 1.0
        hushed = max(since, 1) if improbable < ALERT and since <= AGAIN else 0
        novelty = self.novelty.score(value, hushed, tail / (1.0 - tail), usual)
        score, told = self.judged(timestamp_ms, value, tuple(out[: len(OUTPUTS)]), novelty)
        if told:
            self._state[SINCE], self._state[TOP] = 1.0, max(ratio, 1.0)
        return score

    def judged(self, timestamp_ms: int, value: float, out: tuple[float, ...], novelty: float) -> tuple[float, bool]:
        """Put together how improbable a value is and how new.

        Args:
            timestamp_ms: its time.
            value: as it came.
            out: :data:`OUTPUTS`.
            novelty: how new it is.

        Returns:
            The score, and whether something new was told, so that for a while nothing of the same event is.
        """
        self._value, self._last, improbable, told = value, out, out[0], False
        self._new = placed(novelty, self._alert)
        if self._new >= ALERT:
            if self._usual(timestamp_ms):
                self._new, told = KNOWN, True
            told = told or improbable < ALERT
        return max(improbable, self._new), told

    # --- of many series, a bank keeps the state of the recursion ------------------------------------------------------

    @property
    def recursion(self) -> tuple[list[float], Any]:
        """State and table of the recursion."""
        return self._state, self._places

    def lend(self, state: list[float], table: Any, written: int, changed: bool) -> None:
        """Give back what a bank has kept.

        Args:
            state: of the recursion.
            table: of the recursion, too.
            written: bits of the parts of the table that were written to since it was given back last.
            changed: whether anything was.
        """
        self._state, self._places = state, table
        self._known |= written
        while written:
            last = written & -written
            self._touched.add(last.bit_length() - 1)
            written ^= last
        self._changed = self._changed or changed

    def _usual(self, timestamp_ms: int) -> bool:
        """Whether something new was told close to this half hour of the last weeks; from now on it was."""
        week, half = half_hour(timestamp_ms)
        near = (divmod(week * WEEK + half + step, WEEK) for step in (-1, 0, 1))
        row = max(self._told[WEEK + place] if then - self._told[place] == 1 else 0 for then, place in near)
        if self._told[half] != week:
            self._told[half], self._told[WEEK + half], self._marked = week, min(row + 1, ROW), True
        return row >= ROW

    def reason(self) -> str:
        """What gave the last score above 0, for people."""
        if abs(self._value) > LARGEST:
            return INFINITE
        score, forecast, limit, ratio, drifted = self._last
        if self.novelty is not None and self._new > score:
            return self.novelty.reason()
        return improbable_reason(self._value, forecast, limit, ratio, drifted, self._once)

    @property
    def expected(self) -> float:
        """What was expected of the last value: the forecast, or the mean of what is remembered if it was new."""
        if self.novelty is not None and self._new > self._last[0] and self._new >= ALERT:
            return self.novelty.mean
        return self._last[1]

    @property
    def out(self) -> bool:
        """Whether the last value was improbable or new, though the event may have been told before."""
        return max(self._last[3:]) >= 1.0 or (self.novelty is not None and self._new >= ALERT)

    # --- what is remembered -------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """All of the state; see :meth:`restore`."""
        entries = [(TAIL, self._tail()), *self._parts(self._used())]
        if self.novelty is not None:
            entries += [(TOLD, _TOLD.pack(*self._told)), *self.novelty.entries()]
        return b"".join(_LENGTHS.pack(len(name), len(value)) + name + value for name, value in entries)

    def restore(self, snapshot: bytes) -> None:
        """Make this scorer one that has seen what another with the same options had seen at its snapshot.

        From then on both give exactly the same scores.

        Args:
            snapshot: what :meth:`snapshot` gave.

        Raises:
            StateError: it is damaged, of another version, or of a scorer with other options.

        Example:
            >>> one, other = AnomalyScorer(), AnomalyScorer()
            >>> _ = [one.score(k, k % 10) for k in range(300)]
            >>> other.restore(one.snapshot())
            >>> one.score(300, 70.0) == other.score(300, 70.0)
            True
        """
        entries, place = [], 0
        while place < len(snapshot):
            if len(snapshot) < place + _LENGTHS.size:
                raise StateError("the snapshot of a scorer is damaged")
            name, value = _LENGTHS.unpack_from(snapshot, place)
            start = place + _LENGTHS.size
            place = start + name + value
            if place > len(snapshot):
                raise StateError("the snapshot of a scorer is damaged")
            entries.append((snapshot[start : start + name], snapshot[start + name : place]))
        other = AnomalyScorer.of_checked(self.options)
        other.load(entries)
        other._changed, other._marked, other._touched = True, True, set(other._used())
        if other.novelty is not None:
            other.novelty.unsaved()
        vars(self).update(vars(other))

    def changes(self) -> Iterator[tuple[bytes, bytes | None]]:
        """State entries put (or deleted: None) since the last call."""
        if self._changed:
            self._changed = False
            yield TAIL, self._tail()
            yield from self._parts(sorted(self._touched))
            self._touched.clear()
            if self._marked:
                self._marked = False
                yield TOLD, _TOLD.pack(*self._told)
            if self.novelty is not None:
                yield from self.novelty.changes()

    def load(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Give a fresh scorer the state entries that stand.

        Raises:
            StateError: one is missing, damaged, or belongs to a scorer with other options.
        """
        known = dict(entries)
        tail = known.pop(TAIL, b"")
        if len(tail) != _TAIL.size or tail[0] != _VERSION:
            raise StateError(f"the state of a scorer is not of version {_VERSION}, or it is damaged")
        _, self._known, *numbers = _TAIL.unpack(tail)
        options = dict(zip(self.options, numbers[: len(OPTIONS)], strict=True))
        if options != self.options:
            raise StateError(f"the state is that of a scorer with {options}, but this one has {self.options}")
        self._state = numbers[len(OPTIONS) :]
        for part in self._used():
            stored = known.pop(DAY + bytes((part,)), b"")
            if len(stored) != 8 * PART:
                raise StateError(
                    f"the state of a scorer has no places {part * PART} to {(part + 1) * PART - 1} of the day"
                )
            self._places[part * PART : (part + 1) * PART] = struct.unpack(f"<{PART}d", stored)
        told = known.pop(TOLD, b"")
        if told:
            if len(told) != _TOLD.size:
                raise StateError("the state of a scorer has no half hours of the week")
            self._told = list(_TOLD.unpack(told))
        if self.novelty is not None:
            self.novelty.load(known.items())

    def _used(self) -> list[int]:
        """Parts of the day in which a value has been."""
        return [part for part in range(PARTS) if self._known >> part & 1]

    def _parts(self, parts: Iterable[int]) -> Iterator[tuple[bytes, bytes]]:
        for part in parts:
            places = self._places[part * PART : (part + 1) * PART]
            yield DAY + bytes((part,)), struct.pack(f"<{PART}d", *places)

    def _tail(self) -> bytes:
        return _TAIL.pack(_VERSION, self._known, *self.options.values(), *self._state)


def improbable_reason(value: float, forecast: float, limit: float, ratio: float, drifted: float, once: float) -> str:
    """Why a value is improbable, for people.

    Args:
        value: as it came.
        forecast: what was expected.
        limit: distance from it that is an alarm.
        ratio: the distance over that of an alarm.
        drifted: that of the last values together over that of an alarm, if they are told.
        once: values in which one is an alarm.

    Example:
        >>> improbable_reason(50.0, 20.0, 6.0, 5.0, 0.0, 1440.0)
        'the value is above the forecast of 20 by 30, 5.0 times what comes once in 1440 values'
    """
    apart = abs(value - forecast)
    if ratio == STUCK and apart < limit:
        return f"the value has been exactly {words.figure(value, 5)} for far longer than any value before"
    if ratio < 1.0 <= drifted:
        return (
            "the last values together have drifted away from what is usual at this time, "
            f"{words.ratio(drifted)} times the limit"
        )
    side = "above" if value > forecast else "below"
    return (
        f"the value is {side} the forecast of {words.figure(forecast, 5)} by {words.figure(apart, 3)}, "
        f"{words.ratio(ratio)} times what comes once in {once:.0f} values"
    )
