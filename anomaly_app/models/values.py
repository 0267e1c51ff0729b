"""What a model gives, as values of the columns of its OUTPUT."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from anomaly_app.errors import DataError
from anomaly_app.floats import to_single
from anomaly_app.schema import APPROXIMATE, TEXTS, WHOLE_NUMBERS, Column, DataType, Kind

_BITS = {Kind.TINYINT: 7, Kind.SMALLINT: 15, Kind.INT: 31, Kind.BIGINT: 63}
LONGEST = 200
"""Characters of a value that an error quotes at most."""

Convert = Callable[[Any], Any]


class NoValueError(ValueError):
    """A value is none of a type."""


def converter(type_: DataType) -> Convert:
    """A function from what a model gives to a value of a type; it raises :class:`NoValueError`.

    Raises:
        TypeError: no model gives values of this type.

    Example:
        >>> from anomaly_app.schema import INT
        >>> converter(INT)(1.0), converter(INT)("1")
        (1, 1)
        >>> converter(INT)("fraud")
        Traceback (most recent call last):
        anomaly_app.models.values.NoValueError: 'fraud' is no INT
    """
    kind = type_.kind
    if kind in WHOLE_NUMBERS:
        convert = _whole(type_, 1 << _BITS[kind])
    elif kind in APPROXIMATE:
        convert = _number(type_)
    elif kind in TEXTS:
        convert = _text
    elif kind is Kind.BOOLEAN:
        convert = _boolean
    elif kind is Kind.ARRAY and type_.element is not None:
        convert = _array(converter(type_.element))
    elif kind is Kind.MAP and type_.key is not None and type_.element is not None:
        convert = _map(converter(type_.key), converter(type_.element))
    else:
        raise TypeError(f"no model gives {type_.with_nullable(True)}: numbers, texts, booleans, arrays and maps can be")
    return lambda value: None if value is None else convert(value)


def _refused(value: Any, type_: DataType | str) -> NoValueError:
    shown = repr(value)
    name = type_ if isinstance(type_, str) else type_.with_nullable(True)
    return NoValueError(f"{shown if len(shown) <= LONGEST else shown[:LONGEST] + '…'} is no {name}")


def _whole(type_: DataType, most: int) -> Convert:
    def whole(value: Any) -> int:
        try:
            if isinstance(value, str):
                value = float(value) if not value.strip().lstrip("+-").isdigit() else int(value)
            number = int(value)
        except (TypeError, ValueError, OverflowError):
            raise _refused(value, type_) from None
        if number != value or not -most <= number < most:
            raise _refused(value, type_)
        return number

    return whole


def _number(type_: DataType) -> Convert:
    is_double = type_.kind is Kind.DOUBLE

    def number(value: Any) -> float:
        try:
            return float(value) if is_double else to_single(float(value))
        except (TypeError, ValueError, OverflowError):
            raise _refused(value, type_) from None

    return number


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float, bool, list, dict)):
        return json.dumps(value, ensure_ascii=False)
    raise _refused(value, "STRING")


def _boolean(value: Any) -> bool:
    if value in (0, 1):  # True and False too
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in ("true", "false", "1", "0"):
        return value.strip().lower() in ("true", "1")
    raise _refused(value, "BOOLEAN")


def _array(element: Convert) -> Convert:
    def array(value: Any) -> list[Any]:
        if not isinstance(value, (list, tuple)):
            raise _refused(value, "ARRAY")
        return [element(one) for one in value]

    return array


def _map(key: Convert, element: Convert) -> Convert:
    def mapped(value: Any) -> dict[Any, Any]:
        if not isinstance(value, Mapping):
            raise _refused(value, "MAP")
        return {key(one): element(two) for one, two in value.items()}

    return mapped


class Outputs:
    """The columns of an OUTPUT.

    Args:
        columns: the columns.

    Raises:
        TypeError: no model gives values of a type; names the column.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self._converts: list[Convert] = []
        for column in columns:
            try:
                self._converts.append(converter(column.type))
            except TypeError as error:
                raise TypeError(f"column {column.name!r}: {error}") from None

    def row(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """The values of a row; raises ``DataError`` naming the column."""
        found = []
        for column, convert, value in zip(self.columns, self._converts, values, strict=True):
            try:
                found.append(convert(value))
            except NoValueError as error:
                raise DataError(f"the model gives for column {column.name!r} what it cannot be: {error}") from None
        return tuple(found)
