"""How far from normal: what a rule's output says about a value, its usual value and the bound that it passed."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

USUAL = (
    "forecast",
    "expected",
    "predicted",
    "avg",
    "average",
    "mean",
    "median",
    "usual",
    "typical",
    "normal",
    "baseline",
)
"""Words in the name of a column that holds what was to be expected, the best ones first."""
BOUND = frozenset({"threshold", "limit", "bound"})
SPREAD = frozenset({"stddev", "stdev", "std", "sd", "sigma", "mad"})
QUALIFIERS = frozenset({"max", "min", "last", "unusual", "actual", "observed", "current", "value", "upper", "lower"})
"""Words that say which of the values; they do not name the quantity."""
_NO_QUANTITY = frozenset(
    {"time", "ts", "tstamp", "timestamp", "date", "start", "end", "id", "count", "rowtime", "score", "risk", "rows"}
)
_NUMBER = re.compile(r"[+-]?\d{1,30}(\.\d{1,30})?")


class Named(NamedTuple):
    """A number and the column that holds it."""

    name: str
    value: float


class Deviation(NamedTuple):
    """A value beside what was to be expected.

    Args:
        value: what came.
        usual: what was to be expected.
        bound: what it passed.
        spread: a standard deviation, or what stands for it.
    """

    value: Named
    usual: Named | None
    bound: Named | None
    spread: Named | None

    @property
    def percent(self) -> float | None:
        """Above (or below, negative) the usual value, without one the bound; None if that is zero."""
        base = self.usual or self.bound
        if base is None or base.value == 0:
            return None
        return (self.value.value - base.value) / abs(base.value) * 100

    def words(self) -> str:
        """A sentence without its full stop.

        Example:
            >>> row = {"max_amount": 900.0, "avg_amount": 120.0, "stddev_amount": 65.0, "threshold": 282.5}
            >>> deviation_of(row).words()
            'max_amount 900.00 is 650 % above avg_amount 120.00; 12 times stddev_amount; threshold is 282.50'
        """
        text = f"{self.value.name} {number(self.value.value)}"
        base = self.usual or self.bound
        if base is not None:
            text += f" is {self._beside(base)}"
        if self.usual is not None and self.spread is not None and self.spread.value > 0:
            times = abs(self.value.value - self.usual.value) / self.spread.value
            text += f"; {times:,.3g} times {self.spread.name}"
        if self.bound is not None and self.usual is not None:
            text += f"; {self.bound.name} is {number(self.bound.value)}"
        return text

    def short(self) -> str:
        """For a column of a table."""
        percent = self.percent
        return f"{percent:+,.0f} %" if percent is not None else number(self.value.value)

    def _beside(self, base: Named) -> str:
        percent = self.percent
        side = "above" if self.value.value >= base.value else "below"
        if percent is None:
            return f"{side} {base.name} {number(base.value)}"
        return f"{abs(percent):,.{0 if abs(percent) >= 10 else 1}f} % {side} {base.name} {number(base.value)}"


def deviation_of(payload: Mapping[str, Any]) -> Deviation | None:
    """What the names of the output columns say; None if they say nothing.

    Example:
        >>> deviation_of({"unusual_quantity": 30, "avg_quantity": 4}).percent
        650.0
        >>> deviation_of({"actual_value": 7.5, "forecast_value": 5.0, "upper_bound": 6.0}).words()
        'actual_value 7.50 is 50 % above forecast_value 5.00; upper_bound is 6.00'
        >>> deviation_of({"user_id": "user-7", "quantity": 3}) is None
        True
    """
    observed: list[tuple[Named, frozenset[str], int]] = []
    usual: list[tuple[Named, frozenset[str], int]] = []
    bounds: list[tuple[Named, frozenset[str], frozenset[str]]] = []
    spreads: list[tuple[Named, frozenset[str]]] = []
    for column in _numbers(payload):
        words = _words(column.name)
        stem = words - QUALIFIERS
        if words & _NO_QUANTITY:
            continue
        if words & BOUND:
            bounds.append((column, stem - BOUND, words))
        elif words & SPREAD:
            spreads.append((column, stem - SPREAD))
        elif expected := [place for place, word in enumerate(USUAL) if word in words]:
            usual.append((column, stem - set(USUAL), expected[0]))
        else:
            observed.append((column, stem, 0 if words & QUALIFIERS else 1))
    observed.sort(key=lambda found: found[2])
    usual.sort(key=lambda found: found[2])
    for base, stem, _ in usual:
        value = _alike(observed, stem)
        if value is not None:
            return Deviation(value, base, _bound(bounds, value, stem), _alike(spreads, stem))
    for base, stem, _ in bounds:
        value = _alike(observed, stem)
        if value is not None:
            return Deviation(value, None, _bound(bounds, value, stem) or base, None)
    return None


def number(value: float) -> str:
    """For people.

    Example:
        >>> number(1234567.891), number(30), number(0.00123456)
        ('1,234,567.89', '30', '0.001235')
    """
    if isinstance(value, int) or (value.is_integer() and abs(value) >= 1_000_000):
        return f"{int(value):,}"
    return f"{value:,.2f}" if abs(value) >= 0.01 or value == 0 else f"{value:.4g}"


def _alike(columns: list[Any], stem: frozenset[str]) -> Named | None:
    """The column of the same quantity; of no quantity the only one that there is."""
    found = next((column[0] for column in columns if column[1] == stem), None)
    if found is None and not stem and len(columns) == 1:
        found = columns[0][0]
    if found is None:
        found = next((column[0] for column in columns if not column[1]), None)
    return found


def _bound(
    bounds: list[tuple[Named, frozenset[str], frozenset[str]]], value: Named, stem: frozenset[str]
) -> Named | None:
    """The bound on the side on which the value is."""
    fitting = [(column, words) for column, own, words in bounds if own == stem or not own]
    if len(fitting) > 1:
        side = "upper" if any("upper" in words and value.value > column.value for column, words in fitting) else "lower"
        fitting = [(column, words) for column, words in fitting if side in words] or fitting
    return fitting[0][0] if fitting else None


def _numbers(payload: Mapping[str, Any]) -> Iterator[Named]:
    for name, value in payload.items():
        if isinstance(value, Mapping):  # a ROW, such as the verdict of a detector
            yield from _numbers({str(inner): part for inner, part in value.items() if not isinstance(part, Mapping)})
        elif isinstance(value, bool):
            continue
        elif isinstance(value, int | float):
            if math.isfinite(value):
                yield Named(name, value)
        elif isinstance(value, str) and _NUMBER.fullmatch(value):  # a DECIMAL
            yield Named(name, float(value))


@functools.lru_cache(maxsize=4_096)
def _words(name: str) -> frozenset[str]:
    return frozenset(word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name))
