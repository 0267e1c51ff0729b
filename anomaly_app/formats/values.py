"""Python values to the memory form of SQL values (see :mod:`anomaly_app.schema`) and back."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NoReturn

from anomaly_app import conversions as c
from anomaly_app.floats import to_single
from anomaly_app.formats.misfit import UNFIT, Convert, array_of, map_of, misfit, part, row_of
from anomaly_app.schema import TEXTS, WHOLE_NUMBERS, DataType, Kind, units_per_second

_UTC = datetime.UTC
_NAIVE_EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001 (SQL's TIMESTAMP has no zone)
_AWARE_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=_UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)


def to_internal(type_: DataType) -> Convert | None:
    """A function from a Python value, or the text that SQL would cast, to the memory form of a type.

    It takes a value that is not None. An aware ``datetime`` is moved to UTC; a naive one for a TIMESTAMP_LTZ is UTC
    already. Scalars of numpy are taken for what their ``item()`` gives. Nested values are lists, mappings and, for
    ROW, sequences or mappings by field name.

    Returns:
        The function, or None if values pass unchanged. It raises :class:`~anomaly_app.formats.misfit.Misfit` for a
        value that does not fit.

    Example:
        >>> from anomaly_app.schema import INT, TIMESTAMP_3
        >>> to_internal(TIMESTAMP_3)("1970-01-01 00:00:01.500"), to_internal(INT)("7")
        (1500, 7)
        >>> to_internal(INT)(True)
        Traceback (most recent call last):
        anomaly_app.formats.misfit.Misfit: True (bool) is not an INT
    """
    if type_.kind is Kind.NULL:
        return None
    inner = _CONVERTERS[type_.kind](type_)

    def convert(value: Any) -> Any:
        try:
            return inner(value)
        except UNFIT:
            refuse(value, type_)

    return convert


def to_python(type_: DataType) -> Convert | None:
    """A function from the memory form of a type to Python's own type for it.

    TIMESTAMP becomes a naive ``datetime``, TIMESTAMP_LTZ an aware one in UTC, DATE a ``date``, TIME a ``time``, ROW a
    tuple. A date or timestamp that Python's types cannot show (before the year 1, after 9999, with nanoseconds) becomes
    its text.

    Returns:
        The function, which takes a value that is not None; or None if values pass unchanged.

    Example:
        >>> from anomaly_app.schema import TIMESTAMP_3
        >>> to_python(TIMESTAMP_3)(1500)
        datetime.datetime(1970, 1, 1, 0, 0, 1, 500000)
    """
    kind = type_.kind
    if kind in (Kind.TIMESTAMP, Kind.TIMESTAMP_LTZ):
        epoch = _NAIVE_EPOCH if kind is Kind.TIMESTAMP else _AWARE_EPOCH
        return _moments(epoch, type_.precision or 0)
    if kind is Kind.DATE:
        return _to_date
    if kind is Kind.TIME:
        return lambda value: (_NAIVE_EPOCH + datetime.timedelta(milliseconds=value)).time()
    if kind is Kind.ARRAY:
        element = _maybe(to_python(_part(type_.element)))
        return (lambda value: [element(item) for item in value]) if element else None
    if kind is Kind.MAP:
        of_key, of_value = _maybe(to_python(_part(type_.key))), _maybe(to_python(_part(type_.element)))
        if of_key is None and of_value is None:
            return None
        key, item = of_key or _same, of_value or _same
        return lambda value: {key(k): item(v) for k, v in value.items()}
    if kind is Kind.ROW:
        fields = [_maybe(to_python(field)) or _same for _, field in type_.fields]
        if all(field is _same for field in fields):
            return None
        return lambda value: tuple([f(v) for f, v in zip(fields, value, strict=True)])
    return None


def refuse(value: Any, type_: DataType) -> NoReturn:
    """Raise the error that says that a value does not fit a type."""
    misfit(repr(value), type(value).__name__, type_)


def _moments(epoch: datetime.datetime, precision: int) -> Convert:
    unit = datetime.timedelta(milliseconds=1) if precision <= 3 else _MICROSECOND
    per_unit = 1_000 if precision > 6 else 1

    def convert(value: int) -> Any:
        count, rest = divmod(value, per_unit)
        try:
            return c.timestamp_to_text(value, precision) if rest else epoch + unit * count
        except OverflowError:
            return c.timestamp_to_text(value, max(precision, 3))

    return convert


def _to_date(value: int) -> Any:
    try:
        return datetime.date.fromordinal(value + c.EPOCH_DAY)
    except (OverflowError, ValueError):
        return c.date_to_text(value)


def _same(value: Any) -> Any:
    return value


def _part(type_: DataType | None) -> DataType:
    assert type_ is not None, "an ARRAY or MAP names the types of its parts"
    return type_


def _maybe(convert: Convert | None) -> Convert | None:
    """The same for values that may be None."""
    return None if convert is None else lambda value: None if value is None else convert(value)


def _plain(value: Any) -> Any:
    """A scalar of numpy and the like as Python's own; a datetime64 by way of microseconds."""
    if type(value).__name__ == "datetime64":
        value = value.astype("datetime64[us]")
    item = getattr(value, "item", None)
    return item() if callable(item) else value


def _whole(type_: DataType) -> Convert:
    kind = type_.kind
    low, high = c.RANGES[kind]

    def convert(value: Any) -> Any:
        if type(value) is int:
            if low <= value <= high:
                return value
            refuse(value, type_)
        if isinstance(value, str):
            return c.text_to_whole(value, kind)
        if isinstance(value, int) and not isinstance(value, bool):
            return c.whole_in_range(int(value), kind)
        if isinstance(value, (float, Decimal)) and value % 1 == 0:
            return c.whole_in_range(int(value), kind)
        return _retry(convert, value, type_)

    return convert


def _retry(convert: Convert, value: Any, type_: DataType) -> Any:
    plain = _plain(value)
    if plain is value:
        refuse(value, type_)
    return convert(plain)


def _float(type_: DataType) -> Convert:
    single = type_.kind is Kind.FLOAT

    def convert(value: Any) -> Any:
        if isinstance(value, (float, int, Decimal)) and not isinstance(value, bool):
            number = float(value)
        elif isinstance(value, str):
            number = c.text_to_float(value)
        else:
            return _retry(convert, value, type_)
        return to_single(number) if single else number

    return convert


def _decimal(type_: DataType) -> Convert:
    precision, scale = type_.precision or 10, type_.scale or 0

    def convert(value: Any) -> Any:
        if isinstance(value, str):
            result = c.text_to_decimal(value, precision, scale)
        elif isinstance(value, float):
            result = c.float_to_decimal(value, precision, scale)
        elif isinstance(value, int) and not isinstance(value, bool):
            result = c.rescale(Decimal(value), scale, precision)
        elif isinstance(value, Decimal) and value.is_finite():
            result = c.rescale(value, scale, precision)
        else:
            return _retry(convert, value, type_)
        if result is None:
            refuse(value, type_)
        return result

    return convert


def _text(type_: DataType) -> Convert:
    def convert(value: Any) -> Any:
        if isinstance(value, str):
            return str(value)
        refuse(value, type_)

    return convert


def _boolean(type_: DataType) -> Convert:
    def convert(value: Any) -> Any:
        if isinstance(value, bool):
            return value
        if isinstance(value, str):
            return c.text_to_boolean(value)
        return _retry(convert, value, type_)

    return convert


def _timestamp(type_: DataType) -> Convert:
    precision = type_.precision or 0
    unit = datetime.timedelta(milliseconds=1)
    per_day = 86_400 * units_per_second(type_)

    def convert(value: Any) -> Any:
        if isinstance(value, datetime.datetime):
            naive = value if value.tzinfo is None else value.astimezone(_UTC).replace(tzinfo=None)
            if precision == 3:
                return (naive - _NAIVE_EPOCH) // unit
            return c.storable(c.from_fields(0, (naive - _NAIVE_EPOCH) // _MICROSECOND * 1_000, precision))
        if isinstance(value, str):
            return c.text_to_timestamp(value, precision)
        if isinstance(value, datetime.date):
            return (value.toordinal() - c.EPOCH_DAY) * per_day
        return _retry(convert, value, type_)

    return convert


def _date(type_: DataType) -> Convert:
    def convert(value: Any) -> Any:
        if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
            return value.toordinal() - c.EPOCH_DAY
        if isinstance(value, str):
            return c.text_to_date(value)
        if isinstance(value, datetime.datetime) and value.time() == datetime.time():
            return value.toordinal() - c.EPOCH_DAY
        return _retry(convert, value, type_)

    return convert


def _time(type_: DataType) -> Convert:
    def convert(value: Any) -> Any:
        if isinstance(value, datetime.time) and value.tzinfo is None:
            return ((value.hour * 60 + value.minute) * 60 + value.second) * 1000 + value.microsecond // 1000
        if isinstance(value, str):
            return c.text_to_time(value)
        return _retry(convert, value, type_)

    return convert


def _bytes(type_: DataType) -> Convert:
    def convert(value: Any) -> Any:
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value)
        if isinstance(value, str):
            return value.encode()
        refuse(value, type_)

    return convert


def _interval(type_: DataType) -> Convert:
    def convert(value: Any) -> Any:
        if type_.kind is Kind.INTERVAL_DAY and isinstance(value, datetime.timedelta):
            return value // datetime.timedelta(milliseconds=1)
        if type(value) is int:
            return value
        return _retry(convert, value, type_)

    return convert


def _nested(type_: DataType) -> Convert:
    """Converter of a part, with NULL allowed where the type allows it."""
    return part(type_, to_internal(type_))


def _array(type_: DataType) -> Convert:
    array = array_of(_nested(_part(type_.element)))

    def convert(value: Any) -> Any:
        if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
            return array(value)
        refuse(value, type_)

    return convert


def _map(type_: DataType) -> Convert:
    entries = map_of(_nested(_part(type_.key)), _nested(_part(type_.element)))

    def convert(value: Any) -> Any:
        if isinstance(value, Mapping):
            return entries(value)
        refuse(value, type_)

    return convert


def _row(type_: DataType) -> Convert:
    names = [name for name, _ in type_.fields]
    row = row_of([(name, _nested(field)) for name, field in type_.fields])

    def convert(value: Any) -> Any:
        if isinstance(value, Mapping):
            value = [value.get(name) for name in names]
        elif isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or len(value) != len(names):
            refuse(value, type_)
        return row(value)

    return convert


_CONVERTERS: dict[Kind, Callable[[DataType], Convert]] = {
    **dict.fromkeys(TEXTS, _text),
    **dict.fromkeys(WHOLE_NUMBERS, _whole),
    Kind.BOOLEAN: _boolean,
    Kind.FLOAT: _float,
    Kind.DOUBLE: _float,
    Kind.DECIMAL: _decimal,
    Kind.DATE: _date,
    Kind.TIME: _time,
    Kind.TIMESTAMP: _timestamp,
    Kind.TIMESTAMP_LTZ: _timestamp,
    Kind.BYTES: _bytes,
    Kind.ARRAY: _array,
    Kind.MAP: _map,
    Kind.ROW: _row,
    Kind.INTERVAL_DAY: _interval,
    Kind.INTERVAL_YEAR: _interval,
}
