"""The detector contract: what every model of a series is to the rest of the system.

A :class:`Detector` holds the models of many series at once, numbered 0, 1, 2, …; who owns the key of a series is not
its business. It takes points in event-time order and judges each one before it learns from it. Time comes in with the
points. The shared suite in :mod:`anomaly_app.testing.detectors` says what every detector keeps:

* the same points give the same verdicts, however they are split into batches and whatever other series do;
* a series restored from its entries has the same future as one that was never written;
* a missing value (NaN) is not learnt from; an infinite one is an anomaly, and not learnt from either;
* points of one time go in the order in which they came;
* what a series holds is bounded, and what :meth:`Detector.changes` gives grows with the points that came in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from anomaly_app.schema import DataType

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Entries: TypeAlias = Iterable[tuple[bytes, bytes | None]]


class Verdicts(Protocol):
    """What a detector says about the points of one call, one entry a point."""

    def values(self) -> list[Any]:
        """Results in the memory form of the function's result type (a ROW is a tuple), for SQL."""
        ...

    def flags(self) -> list[bool | None]:
        """Whether each point is an anomaly; None where there is no verdict yet."""
        ...

    def scores(self) -> list[float | None]:
        """How far each point is out, in units of the distance from the forecast to the bound; None without verdict.

        Above 1 is an anomaly. A detector whose result is a probability gives that.
        """
        ...

    def explain(self, number: int) -> str:
        """One sentence for an alert on the point: the value, the bound, what was expected, what contributed."""
        ...


class Detector(Protocol):
    """Models of many series."""

    width: int
    """Numbers in a point."""

    def grow(self, series: int) -> None:
        """Make room for series 0 … ``series`` - 1; new ones have seen nothing. Never shrinks."""
        ...

    def update(self, series: Integers, times: Integers, points: Floats) -> Verdicts:
        """Judge points, then learn from them.

        Args:
            series: whose point it is, shape (n,); a series may come several times.
            times: event times in ms, shape (n,); they never fall within a series.
            points: shape (n, width); NaN is a missing value.
        """
        ...

    def changes(self, series: int) -> Entries:
        """Entries of a series put (or deleted: None) since the last call for it, under names of the detector's own."""
        ...

    def restore(self, series: int, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Give a fresh series all entries that stand; raises :class:`~anomaly_app.errors.StateError`."""
        ...

    def forget(self, series: int) -> None:
        """Make a series as fresh as :meth:`grow` made it; its number may be given to another key."""
        ...


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a detector function, given in ``JSON_OBJECT('name' VALUE value)``.

    Args:
        name: as written in SQL.
        type: of the value: ``int``, ``float``, ``bool`` or ``str``. An ``int`` is taken for a ``float``.
        default: when it is not given; None for "chosen by the detector".
        doc: one line for people.
        valid: whether a value is possible; and ``expected`` says in words what is, such as "a whole number from 1 on".
        expected: see ``valid``.
    """

    name: str
    type: type
    default: Any
    doc: str
    valid: Callable[[Any], bool] = field(default=lambda value: True)
    expected: str = ""


@dataclass(frozen=True, slots=True)
class DetectorFunction:
    """A SQL function ``NAME(value | ROW(…), rowtime [, JSON_OBJECT(…)]) OVER (…)`` whose state is a detector.

    Args:
        name: in SQL, upper case.
        options: those it knows.
        result: type of what it gives per row.
        create: makes a fresh detector; takes the checked options (all of them, defaults filled in) and the names of
            the values (one, or the fields of the ROW). Raises :class:`~anomaly_app.errors.OptionError` if options do
            not go together.
        multivariate: it takes a ROW of several values; else one number.
        doc: one line for people.
    """

    name: str
    options: tuple[Option, ...]
    result: DataType
    create: Callable[[Mapping[str, Any], Sequence[str]], Detector]
    multivariate: bool = False
    doc: str = ""


def check_options(function: DetectorFunction, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a function, checked, with the defaults of those that are not given.

    Args:
        function: whose options they are.
        given: by name.

    Raises:
        OptionError: one is unknown (the message lists those that there are), of another type, or impossible.

    Example:
        >>> from anomaly_app.schema import DOUBLE
        >>> options = (Option("horizon", int, 1, "periods ahead", lambda value: value > 0, "a whole number above 0"),)
        >>> function = DetectorFunction("F", options, DOUBLE, lambda options, names: None)
        >>> check_options(function, {})
        {'horizon': 1}
        >>> check_options(function, {"horizont": 1})
        Traceback (most recent call last):
        ...
        anomaly_app.errors.OptionError: F has no option 'horizont'; its options are horizon
    """
    from anomaly_app.errors import OptionError

    known = {option.name: option for option in function.options}
    for name in given:
        if name not in known:
            valid = ", ".join(sorted(known)) or "none"
            raise OptionError(name, f"{function.name} has no option {name!r}; its options are {valid}")
    checked: dict[str, Any] = {}
    for name, option in known.items():
        value = given.get(name, option.default)
        if name in given:
            if option.type is float and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)
            wrong = not isinstance(value, option.type) or (isinstance(value, bool) and option.type is not bool)
            if wrong or not option.valid(value):
                expected = option.expected or _WORDS[option.type]
                raise OptionError(name, f"{function.name}: option {name!r} is {value!r}, expected {expected}")
        checked[name] = value
    return checked


_WORDS = {int: "a whole number", float: "a number", bool: "TRUE or FALSE", str: "a text"}
