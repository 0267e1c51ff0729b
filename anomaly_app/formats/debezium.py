"""Change events of Debezium in JSON: what was there before a change, what is there after it, and which one it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from anomaly_app.changes import Change
from anomaly_app.errors import DecodeError, IgnoredError
from anomaly_app.formats.json import JsonDecoder, JsonEncoder
from anomaly_app.formats.json_values import json_value
from anomaly_app.formats.misfit import UNFIT, Misfit
from anomaly_app.formats.options import DebeziumOptions, JsonOptions
from anomaly_app.schema import STRING, Column, DataType, Kind, units_per_second

PREFIX = "value."
"""Begins the metadata keys of a format: those without it are of the record."""

METADATA: Mapping[str, DataType] = {
    "value.schema": STRING,
    "value.ingestion-timestamp": DataType(Kind.TIMESTAMP_LTZ, 3),
    "value.source.timestamp": DataType(Kind.TIMESTAMP_LTZ, 3),
    "value.source.database": STRING,
    "value.source.schema": STRING,
    "value.source.table": STRING,
    "value.source.properties": DataType(Kind.MAP, key=STRING, element=STRING),
}
"""Metadata keys of the format, and their types."""

_OF_SOURCE = {"value.source.database": "db", "value.source.schema": "schema", "value.source.table": "table"}
_PROPERTIES = json_value(METADATA["value.source.properties"], JsonOptions())
_BAD = (msgspec.MsgspecError, DecodeError, RecursionError, *UNFIT)
_WRAPPED = "'debezium-json.schema-include'"


class Changes(NamedTuple):
    """What a batch of records gave, in order.

    Args:
        numbers: of the record that each change is of, from 0; they never fall.
        rows: values of the columns, behind them those of the metadata, behind them the kind of change.
    """

    numbers: list[int]
    rows: list[tuple[Any, ...]]


class DebeziumDecoder:
    """Decodes change events into the rows that go and come: an update gives two.

    Args:
        columns: what to take out of the rows, by :attr:`~anomaly_app.schema.Column.source_name`.
        metadata: what to take out around them, a column for each key of :data:`METADATA` that is wanted.
        options: of the format.

    Example:
        >>> from anomaly_app.schema import INT
        >>> decoder = DebeziumDecoder([Column("qty", INT)], [], DebeziumOptions())
        >>> decoder.decode_one(b'{"before": {"qty": 3}, "after": {"qty": 4}, "op": "u"}')
        [(3, 1), (4, 2)]
    """

    def __init__(self, columns: Sequence[Column], metadata: Sequence[Column], options: DebeziumOptions) -> None:
        self._options = options
        self._image = JsonDecoder(columns, options.json)
        image = self._image.struct | None
        tells = [column.source_name for column in metadata]
        fields: list[Any] = [("op", str), ("before", image, None), ("after", image, None)]
        if "value.ingestion-timestamp" in tells:
            fields.append(("ts_ms", int | None, None))
        self._wants_source = any(key.startswith("value.source.") for key in tells)
        if self._wants_source:
            fields.append(("source", dict[str, Any] | None, None))
        envelope: Any = msgspec.defstruct("Event", fields, gc=False, kw_only=True)
        if options.schema_include:
            wrapped: list[Any] = [("payload", envelope), ("schema", msgspec.Raw, msgspec.Raw(b"null"))]
            envelope = msgspec.defstruct("Wrapped", wrapped, gc=False, kw_only=True)
        self._decode = msgspec.json.Decoder(envelope, float_hook=Decimal).decode
        self._decode_any = msgspec.json.Decoder(float_hook=Decimal).decode
        self._tells = [_teller(column) for column in metadata]

    # --- the quick way ----------------------------------------------------------------------------------

    def decode_all(self, payloads: Sequence[bytes | None]) -> Changes:
        """All records of a batch; those without a value give nothing. Raises if any of them is unusual."""
        decode, wrapped = self._decode, self._options.schema_include
        numbers: list[int] = []
        kinds: list[int] = []
        images: list[Any] = []
        told: list[tuple[Any, ...]] = []
        tells = self._tells
        for number, payload in enumerate(payloads):
            if not payload:
                continue
            event = decode(payload)
            around = None
            if wrapped:
                around, event = event, event.payload
            op, before = event.op, len(images)
            if op in ("c", "r"):
                images.append(event.after)
                kinds.append(0)
            elif op == "u":
                images += (event.before, event.after)
                kinds += (1, 2)
            elif op == "d":
                images.append(event.before)
                kinds.append(3)
            else:
                raise _unknown(op)
            some = len(images) - before
            numbers += [number] * some
            if tells:
                values = tuple([tell(event, around) for tell in tells])
                told += [values] * some
        if None in images:
            raise DecodeError("an event without its row")
        rows = self._image.rows(images)
        if tells:
            return Changes(numbers, [(*row, *more, kind) for row, more, kind in zip(rows, told, kinds, strict=True)])
        return Changes(numbers, [(*row, kind) for row, kind in zip(rows, kinds, strict=True)])

    # --- one by one -------------------------------------------------------------------------------------

    def decode_one(self, payload: bytes | None) -> list[tuple[Any, ...]]:
        """The rows of one record.

        Raises:
            IgnoredError: it is no change event, and such records are to be ignored.
            DecodeError: saying what is wrong with it.
        """
        if not payload:
            return []
        try:
            return self.decode_all([payload]).rows
        except _BAD:
            pass
        try:
            return self._lenient(payload)
        except IgnoredError:
            raise
        except DecodeError as error:
            raise (IgnoredError if self._options.json.ignore_parse_errors else DecodeError)(str(error)) from None

    def _lenient(self, payload: bytes) -> list[tuple[Any, ...]]:
        """The same with the conversions that JSON allows."""
        shown = payload[:80].decode("utf-8", "replace")
        try:
            event = self._decode_any(payload)
        except _BAD as error:
            raise DecodeError(f"not JSON: {error}") from None
        if not isinstance(event, dict):
            raise DecodeError(f"a JSON object was expected, not {shown!r}")
        around = event
        if self._options.schema_include:
            if not isinstance(event.get("payload"), dict):
                raise DecodeError(f"there is no 'payload': without schema it is {_WRAPPED} = 'false'")
            event = event["payload"]
        op = event.get("op")
        if op is None:
            told = "payload" in event and not self._options.schema_include
            raise DecodeError("there is no 'op'" + (f": with a schema it is {_WRAPPED} = 'true'" if told else ""))
        if op not in _IMAGES:
            raise _unknown(op)
        return [self._row(event, around, op, name, kind) for name, kind in _IMAGES[op]]

    def _row(self, event: dict[str, Any], around: dict[str, Any], op: str, name: str, kind: Change) -> tuple[Any, ...]:
        image = event.get(name)
        if image is None:
            why = " (for Postgres, its table needs REPLICA IDENTITY FULL)" if name == "before" else ""
            raise DecodeError(f"'{name}' of {_WORDS[op]} is null{why}")
        if not isinstance(image, dict):
            raise DecodeError(f"'{name}' is no JSON object")
        try:
            row = self._image.lenient(image)
        except DecodeError as error:
            raise DecodeError(f"'{name}': {error}") from None
        return (*row, *(tell(_Fields(event), _Fields(around)) for tell in self._tells), kind.value)


_IMAGES: Mapping[str, Sequence[tuple[str, Change]]] = {
    "c": [("after", Change.INSERT)],
    "r": [("after", Change.INSERT)],
    "u": [("before", Change.BEFORE), ("after", Change.AFTER)],
    "d": [("before", Change.DELETE)],
}
"""By operation, which rows an event has, and what each does."""

_WORDS = {"c": "an insertion (op c)", "r": "a snapshot (op r)", "u": "an update (op u)", "d": "a deletion (op d)"}


def _unknown(op: object) -> DecodeError:
    return DecodeError(f"unknown 'op' {op!r}: it must be c, r, u or d")


class _Fields:
    """Fields of a parsed object as attributes; one that is absent is None."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def __getattr__(self, name: str) -> Any:
        value = self._fields.get(name)
        return msgspec.Raw(msgspec.json.encode(value)) if name == "schema" else value


def _teller(column: Column) -> Callable[[Any, Any], Any]:
    """A function from an event, and what stands around it with a schema, to the value of a metadata column."""
    key = column.source_name
    if key == "value.schema":
        return lambda event, around: None if around is None else _text_of(around.schema)
    if key == "value.source.properties":
        return lambda event, around: _properties(event.source)
    if key in _OF_SOURCE:
        name = _OF_SOURCE[key]
        return lambda event, around: _property(event.source, name)
    per_ms = units_per_second(column.type) // 1_000
    if key == "value.ingestion-timestamp":
        return lambda event, around: _time(event.ts_ms, per_ms, "ts_ms")
    return lambda event, around: _time((event.source or {}).get("ts_ms"), per_ms, "source.ts_ms")


def _text_of(schema: Any) -> str | None:
    text = bytes(schema).decode()
    return None if text == "null" else text


def _properties(source: Any) -> dict[str, str] | None:
    if source is None:
        return None
    if not isinstance(source, dict):
        raise DecodeError("'source' is no JSON object")
    properties: dict[str, str] = _PROPERTIES(source)
    return properties


def _property(source: Any, name: str) -> str | None:
    """One of the properties: most are texts already."""
    value = source.get(name) if isinstance(source, dict) else None
    if value is None or isinstance(value, str):
        return value
    return (_properties({name: value}) or {})[name]


def _time(value: Any, per_ms: int, name: str) -> int | None:
    if value is None:
        return None
    try:
        return int(value) * per_ms
    except (TypeError, ValueError):
        raise Misfit(f"{value!r} is no time in milliseconds", f".{name}") from None


class DebeziumEncoder:
    """Encodes changes as events: a row that comes is an insertion, one that goes is a deletion, as Flink writes them.

    Args:
        columns: in the order of the rows.
        options: of the format.

    Example:
        >>> from anomaly_app.schema import INT
        >>> encoder = DebeziumEncoder([Column("qty", INT)], DebeziumOptions())
        >>> encoder.encode((3,), Change.BEFORE), encoder.encode((4,), Change.AFTER)
        (b'{"before":{"qty":3},"after":null,"op":"d"}', b'{"before":null,"after":{"qty":4},"op":"c"}')
    """

    def __init__(self, columns: Sequence[Column], options: DebeziumOptions) -> None:
        self._row = JsonEncoder(columns, options.json)
        self._nothing = not options.json.ignore_null_fields

    def encode(self, values: tuple[Any, ...], change: int) -> bytes:
        """The event of a row; raises :class:`~anomaly_app.errors.EvaluationError` for a date that has no text."""
        row = self._row.encode(values)
        if change % 2:
            after = b',"after":null' if self._nothing else b""
            return b'{"before":' + row + after + b',"op":"d"}'
        return (b'{"before":null,"after":' if self._nothing else b'{"after":') + row + b',"op":"c"}'
