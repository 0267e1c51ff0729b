"""JSON objects, as Flink's ``json`` format has them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from anomaly_app import conversions as c
from anomaly_app.errors import DecodeError, EvaluationError, IgnoredError
from anomaly_app.floats import float_to_text, to_single
from anomaly_app.formats.json_values import decimal_of, element_of, json_value
from anomaly_app.formats.misfit import UNFIT, Convert, Misfit
from anomaly_app.formats.options import JsonOptions
from anomaly_app.formats.rowcode import rows_function
from anomaly_app.formats.texts import from_text, to_text
from anomaly_app.schema import APPROXIMATE, TIMESTAMPS, WHOLE_NUMBERS, Column, DataType, Kind

_BAD = (msgspec.MsgspecError, DecodeError, RecursionError, *UNFIT)

_TIMES = TIMESTAMPS | {Kind.DATE, Kind.TIME}


class JsonDecoder:
    """Decodes records of JSON objects into tuples of columns in memory form.

    A typed decoder of msgspec, made for the columns, does the common case. A record that it refuses is read once
    more, value by value, with the conversions that Flink allows: numbers in quotes, texts from numbers.

    Args:
        columns: what to take out, by :attr:`~anomaly_app.schema.Column.source_name`.
        options: of the format.

    Attributes:
        struct: what the typed decoder makes of an object.
        rows: from these to tuples.

    Example:
        >>> from anomaly_app.schema import INT, STRING
        >>> decoder = JsonDecoder([Column("user", STRING), Column("qty", INT)], JsonOptions())
        >>> decoder.decode_all([b'{"qty": 3, "user": "ann", "more": []}']), decoder.decode_one(b'{"qty": "4"}')
        ([('ann', 3)], (None, 4))
    """

    def __init__(self, columns: Sequence[Column], options: JsonOptions) -> None:
        self._columns = columns
        self._options = options
        strict = options.fail_on_missing_field
        fields = [(column.source_name, column.type) for column in columns]
        self.struct = _struct("Record", fields, strict)
        self._decode = msgspec.json.Decoder(self.struct).decode
        places = [f"r.c{number}" for number in range(len(columns))]
        self.rows = rows_function(places, [_finish(column.type) for column in columns])
        self._lenient = [json_value(column.type, options) for column in columns]
        self._decode_any = msgspec.json.Decoder(float_hook=Decimal).decode

    def decode_all(self, payloads: Sequence[bytes]) -> list[tuple[Any, ...]]:
        """All records of a batch, the quick way; raises if any of them is unusual: use :meth:`decode_one` then."""
        return self.rows(map(self._decode, payloads))

    def decode_one(self, payload: bytes) -> tuple[Any, ...]:
        """One record.

        Raises:
            IgnoredError: it is no JSON object, and such records are to be ignored.
            DecodeError: saying which field is wrong, and why.
        """
        try:
            return self.rows((self._decode(payload),))[0]
        except _BAD:
            pass
        try:
            record = self._decode_any(payload)
        except _BAD as error:
            raise self._unreadable(f"not JSON: {error}") from None
        if not isinstance(record, dict):
            shown = payload[:80].decode("utf-8", "replace")
            raise self._unreadable(f"a JSON object was expected, not {shown!r}")
        return self.lenient(record)

    def lenient(self, record: dict[str, Any]) -> tuple[Any, ...]:
        """An object that is parsed already, with the conversions that are allowed; raises ``DecodeError``."""
        return tuple([self._value(record, number) for number in range(len(self._columns))])

    def _unreadable(self, problem: str) -> DecodeError:
        return IgnoredError(problem) if self._options.ignore_parse_errors else DecodeError(problem)

    def _value(self, record: dict[str, Any], number: int) -> Any:
        column = self._columns[number]
        name = column.source_name
        if name not in record and self._options.fail_on_missing_field:
            raise DecodeError(f"field {name!r} is absent")
        value = record.get(name)
        try:
            if value is not None:
                return self._lenient[number](value)
        except Misfit as error:
            if not (self._options.ignore_parse_errors and column.type.nullable):
                raise DecodeError(f"field {name + error.path!r}: {error.problem}") from None
        if not column.type.nullable:
            raise DecodeError(f"field {name!r} is {'NULL' if name in record else 'absent'}, and its column is NOT NULL")
        return None


def _struct(name: str, fields: Sequence[tuple[str, DataType]], strict: bool) -> type[msgspec.Struct]:
    """A struct with fields c0, c1, …; nullable ones may be absent unless ``strict``."""
    definitions: list[Any] = []
    for number, (_, type_) in enumerate(fields):
        hint = _hint(type_, f"{name}_{number}", strict)
        definition = (f"c{number}", hint | None if type_.nullable else hint)
        definitions.append((*definition, None) if type_.nullable and not strict else definition)
    rename = {f"c{number}": field for number, (field, _) in enumerate(fields)}
    # Without gc: the structs die with the batch and hold no cycles. Keywords: optional fields may precede others.
    return msgspec.defstruct(name, definitions, rename=rename, gc=False, kw_only=True)


def _hint(type_: DataType, name: str, strict: bool) -> Any:
    kind = type_.kind
    if kind in WHOLE_NUMBERS:
        low, high = c.RANGES[kind]
        return Annotated[int, msgspec.Meta(ge=low, le=high)]
    if kind in APPROXIMATE:
        return float
    if kind is Kind.ROW:
        return _struct(name, type_.fields, strict)
    if kind in (Kind.ARRAY, Kind.MAP):
        element = element_of(type_)
        hint: Any = _hint(element, name, strict)
        hint = hint | None if element.nullable else hint
        return list.__class_getitem__(hint) if kind is Kind.ARRAY else dict.__class_getitem__((str, hint))
    return {Kind.BOOLEAN: bool, Kind.DECIMAL: Decimal, Kind.BYTES: bytes}.get(kind, str)


def _finish(type_: DataType) -> Convert | None:
    """From what the typed decoder gives to memory form; None if that is the same."""
    kind = type_.kind
    if kind in _TIMES:
        return from_text(type_)
    if kind is Kind.FLOAT:
        return to_single
    if kind is Kind.DECIMAL:
        return decimal_of(type_, _same)
    if kind in (Kind.ARRAY, Kind.MAP):
        element = _finish(element_of(type_))
        return None if element is None else _each(element, kind)
    if kind is Kind.ROW:
        places = [f"r.c{number}" for number in range(len(type_.fields))]
        rows = rows_function(places, [_finish(field) for _, field in type_.fields])
        return lambda value: rows((value,))[0]
    return None


def _each(element: Convert, kind: Kind) -> Convert:
    if kind is Kind.ARRAY:
        return lambda value: [None if item is None else element(item) for item in value]
    return lambda value: {key: None if item is None else element(item) for key, item in value.items()}


class JsonEncoder:
    """Encodes tuples of columns in memory form as JSON objects.

    Args:
        columns: in the order of the tuples.
        options: of the format.

    Example:
        >>> from anomaly_app.schema import INT, TIMESTAMP_3
        >>> JsonEncoder([Column("qty", INT), Column("at", TIMESTAMP_3)], JsonOptions()).encode((3, 1500))
        b'{"qty":3,"at":"1970-01-01 00:00:01.5"}'
    """

    def __init__(self, columns: Sequence[Column], options: JsonOptions) -> None:
        fields = [(column.source_name, column.type) for column in columns]
        self._row = _write_row(fields, options, "Record")
        self._encode = msgspec.json.Encoder(decimal_format="number").encode

    def encode(self, values: tuple[Any, ...]) -> bytes:
        """The object of a row; raises :class:`EvaluationError` for a date that has no text."""
        return self._encode(self._row(values))


def _write_row(fields: Sequence[tuple[str, DataType]], options: JsonOptions, name: str) -> Callable[[Any], Any]:
    struct = msgspec.defstruct(
        name,
        [(f"c{number}", Any, None) for number in range(len(fields))],
        rename={f"c{number}": field for number, (field, _) in enumerate(fields)},
        omit_defaults=options.ignore_null_fields,
        gc=False,
    )
    places = [f"r[{number}]" for number in range(len(fields))]
    rows = rows_function(
        places, [_writer(type_, options, f"{name}_{number}") for number, (_, type_) in enumerate(fields)]
    )
    return lambda values: struct(*rows((values,))[0])


def _writer(type_: DataType, options: JsonOptions, name: str) -> Convert | None:
    kind = type_.kind
    if kind in _TIMES:
        return to_text(type_, "T" if options.iso_timestamps else " ")
    if kind in APPROXIMATE:
        # JSON has no such numbers; Jackson writes their names.
        return lambda value: value if math.isfinite(value) else float_to_text(value)
    if kind is Kind.DECIMAL and options.plain_decimals:
        return lambda value: msgspec.Raw(format(value, "f").encode())
    if kind is Kind.ARRAY:
        element = _writer(element_of(type_), options, name) or _same
        return lambda value: [None if item is None else element(item) for item in value]
    if kind is Kind.MAP:
        element = _writer(element_of(type_), options, name) or _same
        return lambda value: {key: None if item is None else element(item) for key, item in _keyed(value, options)}
    if kind is Kind.ROW:
        return _write_row(type_.fields, options, name)
    return None


def _same(value: Any) -> Any:
    return value


def _keyed(value: dict[Any, Any], options: JsonOptions) -> list[tuple[str, Any]]:
    if None not in value:
        return list(value.items())
    if options.null_key_mode == "FAIL":
        raise EvaluationError("a MAP with a NULL key: see the option 'map-null-key.mode'")
    literal = options.null_key_literal
    named = [(literal if key is None else key, item) for key, item in value.items()]
    return named if options.null_key_mode == "LITERAL" else [pair for pair in value.items() if pair[0] is not None]
