"""Values of JSON, one by one, with the conversions that Flink allows: numbers in quotes, texts from anything."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, NoReturn

import msgspec

from anomaly_app import conversions as c
from anomaly_app.errors import DecodeError
from anomaly_app.floats import to_single
from anomaly_app.formats.misfit import UNFIT, Convert, Misfit, array_of, map_of, misfit, part, row_of
from anomaly_app.formats.options import JsonOptions
from anomaly_app.formats.texts import from_text
from anomaly_app.schema import TEXTS, WHOLE_NUMBERS, DataType, Kind

_NAMES = {
    bool: "boolean", int: "number", Decimal: "number", float: "number", str: "string", list: "array", dict: "object",
}  # fmt: skip
_MOST_DIGITS = 20
_encode = msgspec.json.Encoder(decimal_format="number").encode

_ABSENT: Any = object()


def json_value(type_: DataType, options: JsonOptions) -> Convert:
    """A function from a value of JSON that is not null (floats as Decimal or float) to memory form.

    With ``ignore_parse_errors`` the innermost part that does not fit is NULL, as in Flink; what stands around it
    stays. Where that part is NOT NULL, what it belongs to is NULL.

    Raises:
        TypeError: the type is a MAP without texts as keys, which JSON does not have.

    Example:
        >>> from anomaly_app.sql import parse_type
        >>> json_value(parse_type("ARRAY<INT>"), JsonOptions(ignore_parse_errors=True))([1, "2", "x"])
        [1, 2, None]
        >>> json_value(parse_type("ARRAY<INT>"), JsonOptions())([1, "2", "x"])
        Traceback (most recent call last):
        anomaly_app.formats.misfit.Misfit: [3]: "x" (string) is not an INT
    """
    kind = type_.kind
    if kind in TEXTS:
        return lambda value: value if isinstance(value, str) else _encode(value).decode()
    if kind is Kind.ARRAY:
        array = array_of(_part(element_of(type_), options))
        return lambda value: array(value) if isinstance(value, list) else _refuse(value, type_)
    if kind is Kind.MAP:
        entries = map_of(str, _part(element_of(type_), options))
        return lambda value: entries(value) if isinstance(value, dict) else _refuse(value, type_)
    if kind is Kind.ROW:
        return _row(type_, options)
    return _scalar(type_)


def element_of(type_: DataType) -> DataType:
    """Type of the elements of an ARRAY or the values of a MAP; raises ``TypeError`` for a MAP with other keys."""
    assert type_.element is not None, "an ARRAY or MAP names the type of its elements"
    if type_.kind is Kind.MAP and (type_.key is None or type_.key.kind not in TEXTS):
        raise TypeError("a MAP in JSON has keys of a text type")
    return type_.element


def _refuse(value: Any, type_: DataType) -> NoReturn:
    misfit(_encode(value).decode(), _NAMES[type(value)], type_)


def _part(type_: DataType, options: JsonOptions) -> Convert:
    inner = part(type_, json_value(type_, options), ignore=options.ignore_parse_errors)

    def convert(value: Any) -> Any:
        if value is _ABSENT:
            if options.fail_on_missing_field:
                raise Misfit("it is absent")
            value = None
        return inner(value)

    return convert


def _row(type_: DataType, options: JsonOptions) -> Convert:
    row = row_of([(name, _part(field, options)) for name, field in type_.fields])
    names = [name for name, _ in type_.fields]

    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            _refuse(value, type_)
        return row([value.get(name, _ABSENT) for name in names])

    return convert


def _scalar(type_: DataType) -> Convert:
    kind = type_.kind
    parse = from_text(type_) or str
    number = _number(type_)

    def convert(value: Any) -> Any:
        try:
            if isinstance(value, str):
                return parse(value)
            if isinstance(value, bool):
                if kind is Kind.BOOLEAN:
                    return value
            elif number is not None and isinstance(value, (int, Decimal, float)):
                return number(value)
        except (*UNFIT, DecodeError):
            pass
        _refuse(value, type_)

    return convert


def _number(type_: DataType) -> Convert | None:
    if type_.kind in WHOLE_NUMBERS:
        return lambda value: _cut(value, type_.kind)
    if type_.kind is Kind.DOUBLE:
        return float
    if type_.kind is Kind.FLOAT:
        return lambda value: to_single(float(value))
    if type_.kind is Kind.DECIMAL:
        return decimal_of(type_, _exact)
    return None


def _exact(value: int | float | Decimal) -> Decimal:
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


def decimal_of(type_: DataType, exact: Callable[[Any], Decimal]) -> Convert:
    """From a number to a DECIMAL of a type; raises :class:`~anomaly_app.formats.misfit.Misfit` if it has no room."""
    precision, scale = type_.precision or 10, type_.scale or 0

    def convert(value: Any) -> Decimal:
        number = exact(value)
        result = c.rescale(number, scale, precision) if number.is_finite() else None
        if result is None:
            _refuse(value, type_)
        return result

    return convert


def _cut(value: int | float | Decimal, kind: Kind) -> int:
    """Without its fraction, as Jackson's ``getIntValue``."""
    if isinstance(value, Decimal) and value.adjusted() > _MOST_DIGITS:
        raise ValueError("int() of 1e999999999 would take all memory")
    return c.whole_in_range(int(value), kind)
