"""Whole columns of Python values to the memory form of SQL values: what most columns hold needs no look at each value.

A value costs a few nanoseconds where its column holds what its type says, such as ``int`` for INT; a call of Python
where it does not.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from operator import attrgetter
from typing import Any, TypeAlias

from anomaly_app import conversions as c
from anomaly_app.formats.values import to_internal
from anomaly_app.schema import TEXTS, TIMESTAMPS, WHOLE_NUMBERS, DataType, Kind

ColumnConvert: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]

_EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001 (SQL's TIMESTAMP has no zone)
_WHOLE_TEXTS = re.compile(r"[0-9+\- ]*")
_FLOAT_TEXTS = re.compile(r"[0-9eE+\-. ]*")
_ZONE = attrgetter("tzinfo")


def column_to_internal(type_: DataType) -> ColumnConvert:
    """A function from the values of a column, or the texts that SQL would cast, to memory form; None stays None.

    It gives what :func:`~anomaly_app.formats.values.to_internal` gives value by value, and raises where that would.

    Example:
        >>> from anomaly_app.schema import INT
        >>> column_to_internal(INT)([1, None, "2"]), column_to_internal(INT)(["7", "8"])
        ([1, None, 2], [7, 8])
    """
    each = to_internal(type_)
    if each is None:
        return lambda values: values
    quick = _quick(type_)

    def convert(values: Sequence[Any]) -> Sequence[Any]:
        kinds = set(map(type, values))
        holes = _NONE in kinds
        present = values
        if holes:
            kinds.discard(_NONE)
            present = [value for value in values if value is not None]
        if not kinds:
            return values
        found = quick(kinds, present) if quick is not None else None
        if found is None:
            return [None if value is None else each(value) for value in values]
        if not holes or found is present:
            return values if found is present else found
        following = iter(found)
        return [None if value is None else next(following) for value in values]

    return convert


_NONE = type(None)

_Quick: TypeAlias = Callable[[set[type], Sequence[Any]], Sequence[Any] | None]
"""From the types in a column and its values but None to memory form; None if they have to be looked at one by one."""


def _quick(type_: DataType) -> _Quick | None:
    kind = type_.kind
    if kind in TEXTS:
        return _same_if(str)
    if kind is Kind.BOOLEAN:
        return _same_if(bool)
    if kind is Kind.BYTES:
        return _same_if(bytes)
    if kind in WHOLE_NUMBERS:
        return _whole(*c.RANGES[kind])
    if kind is Kind.DOUBLE:
        return _double
    if kind in TIMESTAMPS:
        return _timestamp(type_.precision or 0)
    return None


def _same_if(wanted: type) -> _Quick:
    return lambda kinds, values: values if kinds == {wanted} else None


def _whole(low: int, high: int) -> _Quick:
    def quick(kinds: set[type], values: Sequence[Any]) -> Sequence[Any] | None:
        if kinds == {str}:
            numbers = _numbers(int, _WHOLE_TEXTS, values)
            if numbers is None:
                return None
            values = numbers
        elif kinds != {int}:
            return None
        return values if low <= min(values) and max(values) <= high else None

    return quick


def _double(kinds: set[type], values: Sequence[Any]) -> Sequence[Any] | None:
    if kinds == {float}:
        return values
    if kinds == {str}:
        return _numbers(float, _FLOAT_TEXTS, values)
    if kinds <= {int, float, Decimal}:
        return list(map(float, values))
    return None


def _numbers(read: Callable[[str], Any], plain: re.Pattern[str], texts: Sequence[str]) -> list[Any] | None:
    """Texts as numbers where Python reads them as SQL does: without ``_``, ``inf`` and digits of other scripts."""
    if plain.fullmatch("".join(texts)) is None:
        return None
    try:
        return list(map(read, texts))
    except ValueError:
        return None


def _timestamp(precision: int) -> _Quick:
    def quick(kinds: set[type], values: Sequence[Any]) -> Sequence[Any] | None:
        if kinds == {str}:
            return [c.text_to_timestamp(value, precision) for value in values]
        if kinds != {datetime.datetime} or set(map(_ZONE, values)) != {None}:
            return None
        spans = [value - _EPOCH for value in values]
        if precision == 3:
            return [span.days * 86_400_000 + span.seconds * 1_000 + span.microseconds // 1_000 for span in spans]
        if precision == 6:
            return [span.days * 86_400_000_000 + span.seconds * 1_000_000 + span.microseconds for span in spans]
        return None

    return quick
