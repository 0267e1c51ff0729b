"""Values that do not fit their column, and where in it: one way for every format to go through nested values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from anomaly_app.errors import DecodeError, EvaluationError
from anomaly_app.schema import TIMESTAMPS, DataType

Convert = Callable[[Any], Any]

UNFIT = (EvaluationError, ArithmeticError, ValueError)
"""What conversions raise for a value that cannot be read."""

_LONGEST_SHOWN = 80


class Misfit(DecodeError):
    """A value that does not fit its type.

    Args:
        problem: what is wrong with it.
        path: from the column to the value, such as ``.temp`` or ``[2].reading``; indexes count from 1, as in SQL.

    Example:
        >>> print(Misfit("'x' (str) is not an INT").inside("[2]").inside("measurements"))
        measurements[2]: 'x' (str) is not an INT
    """

    def __init__(self, problem: str, path: str = "") -> None:
        self.problem, self.path = problem, path
        super().__init__(f"{path.removeprefix('.')}: {problem}" if path else problem)

    def inside(self, step: str) -> Misfit:
        """The same, seen from one level further out."""
        return Misfit(self.problem, step + self.path)


def misfit(shown: str, what: str, type_: DataType) -> NoReturn:
    """Raise the error that says that a value does not fit; where a number should be a time, how it becomes one.

    Args:
        shown: the value; only its beginning is told.
        what: the kind of thing that it is, in the words of its format.
        type_: that it should have.
    """
    way = ""
    if type_.kind in TIMESTAMPS and shown.strip("\"'-").isdigit():
        way = ": read it as BIGINT, and compute the time, as in ts AS TO_TIMESTAMP_LTZ(ms, 3)"
    shown = shown if len(shown) <= _LONGEST_SHOWN else shown[: _LONGEST_SHOWN - 3] + "…"
    name = str(type_.with_nullable(True))
    raise Misfit(f"{shown} ({what}) is not {'an' if name[0] in 'AI' else 'a'} {name}{way}") from None


def part(type_: DataType, inner: Convert | None, *, ignore: bool = False) -> Convert:
    """Converter of a part of a nested value.

    Args:
        type_: of the part.
        inner: from what is not None to memory form; None if that is the same.
        ignore: a part that does not fit is NULL where its type allows it.
    """

    def convert(value: Any) -> Any:
        if value is None:
            if not type_.nullable:
                raise Misfit(f"NULL for a part of type {type_}")
            return None
        if inner is None:
            return value
        try:
            return inner(value)
        except Misfit:
            if ignore and type_.nullable:
                return None
            raise

    return convert


def array_of(element: Convert) -> Convert:
    """Converter of the elements of an ARRAY."""

    def convert(values: Sequence[Any]) -> list[Any]:
        try:
            return [element(value) for value in values]
        except Misfit:
            _find((f"[{number}]", element, value) for number, value in enumerate(values, 1))
            raise

    return convert


def map_of(key: Convert, element: Convert) -> Convert:
    """Converter of the keys and values of a MAP."""

    def convert(values: Mapping[Any, Any]) -> dict[Any, Any]:
        try:
            return {key(name): element(value) for name, value in values.items()}
        except Misfit:
            _find(
                (f"[{name!r}]", one, item)
                for name, value in values.items()
                for one, item in ((key, name), (element, value))
            )
            raise

    return convert


def row_of(fields: Sequence[tuple[str, Convert]]) -> Convert:
    """Converter of a sequence of values of the fields of a ROW."""
    converts = [convert for _, convert in fields]
    names = [name for name, _ in fields]

    def convert(values: Sequence[Any]) -> tuple[Any, ...]:
        try:
            return tuple([one(value) for one, value in zip(converts, values, strict=True)])
        except Misfit:
            _find((f".{name}", one, value) for name, one, value in zip(names, converts, values, strict=True))
            raise

    return convert


def _find(parts: Iterable[tuple[str, Convert, Any]]) -> None:
    """Raise the first problem of some parts, with the step that leads to it."""
    for step, convert, value in parts:
        try:
            convert(value)
        except Misfit as problem:
            raise problem.inside(step) from None
