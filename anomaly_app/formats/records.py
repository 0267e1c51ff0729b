"""Kafka records to rows of the engine, and rows of a sink to keys and values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, NamedTuple, TypeAlias

from anomaly_app.errors import FAILURES, DecodeError, IgnoredError, RegistryError
from anomaly_app.formats.avro import AvroDecoder, AvroEncoder
from anomaly_app.formats.csv import CsvDecoder, CsvEncoder
from anomaly_app.formats.debezium import METADATA as OF_EVENTS, DebeziumDecoder, DebeziumEncoder
from anomaly_app.formats.json import JsonDecoder, JsonEncoder
from anomaly_app.formats.options import AvroOptions, CsvOptions, DebeziumOptions, JsonOptions, parse_options
from anomaly_app.formats.places import Places
from anomaly_app.formats.raw import RawCodec
from anomaly_app.formats.registry import Registry
from anomaly_app.formats.topics import FormatSpec, Record, SinkLike, SourceLike
from anomaly_app.operators import Layout, Row
from anomaly_app.schema import Changelog, Column, Origin

Decoder: TypeAlias = JsonDecoder | CsvDecoder | AvroDecoder | RawCodec
Encoder: TypeAlias = JsonEncoder | CsvEncoder | AvroEncoder | RawCodec


class Decoded(NamedTuple):
    """What a batch of records gave.

    Args:
        rows: in the order of the records; a change event may give two, with the same position.
        bad: records that gave none, and why.
        tombstones: how many records have no value, and no meaning by that: in an upsert table it is a deletion.
        ignored: how many gave none and are let go, because the format has ``ignore-parse-errors``.
    """

    rows: list[Row]
    bad: list[tuple[Record, DecodeError]]
    tombstones: int = 0
    ignored: int = 0


class RecordDecoder:
    """Decodes records of a source into rows of a layout: ``(time, offset, *columns)``.

    In an upsert table a record without value is a deletion: of its row only the columns of the key, of the record and
    the kind of change are known, and its time is None if that stands in the value: see
    :func:`~anomaly_app.eventtime.with_times`.

    Args:
        source: the table.
        layout: the columns that its queries read.
        registry: for Avro.

    Raises:
        RegistryError: a format is Avro, and no registry is given.
        TypeError: a column has a type that its format cannot hold.
    """

    def __init__(self, source: SourceLike, layout: Layout, registry: Registry | None = None) -> None:
        schema = source.schema
        rowtime = next((column for column in schema.columns if column.name == schema.rowtime), None)
        columns = schema.sources([*layout.columns, *([rowtime] if rowtime is not None else [])])
        by_name = {column.name: column for column in schema.columns}
        values = [column for column in columns if column.origin is Origin.VALUE]
        keys = [column for column in columns if column.origin is Origin.KEY]
        around = [column for column in columns if column.origin is Origin.METADATA and column.source_name in OF_EVENTS]
        in_value = [by_name[name] for name in source.value_fields]
        self._events: DebeziumDecoder | None = None
        self._value: Decoder
        options = parse_options(source.value_format.name, source.value_format.options)
        if isinstance(options, DebeziumOptions):
            self._events = DebeziumDecoder(values, around, options)
        else:
            self._value = _decoder(source.value_format, in_value, values, registry)
        self._key: Decoder | None = None
        if keys and source.key_format is not None:
            in_key = [by_name[name] for name in source.key_fields]
            self._key = _decoder(source.key_format, in_key, keys, registry)
        self._key_names = ", ".join(column.name for column in keys)
        self._skips = source.skips_nulls
        self._deletes = schema.changelog is Changelog.UPSERT
        self._nothing = (None,) * len(values)
        places = Places(schema, [*values, *around], keys)
        self._rows = places.rows_function(layout.columns, rowtime)
        self._computed = {
            column.name: places.rows_function((column,), None)
            for column in (rowtime, *layout.columns)
            if column is not None and column.origin is Origin.COMPUTED
        }
        self._rowtime = schema.told(rowtime) if rowtime is not None else ""

    async def prepare(self, records: Iterable[Record]) -> None:
        """Fetch what :meth:`decode` needs for these records: cheap where nothing is missing.

        Raises:
            RegistryError: the schema registry cannot be reached; the same call may succeed later.
        """
        if self._events is None and isinstance(self._value, AvroDecoder):
            await self._value.prepare(record.value for record in records)
        if isinstance(self._key, AvroDecoder):
            await self._key.prepare(record.key for record in records)

    def decode(self, records: Sequence[Record], arrival_ms: int) -> Decoded:
        """Rows of records; nothing in them raises: those that give no row are told apart.

        Args:
            records: of one partition, in order.
            arrival_ms: processing time of the batch, and event time of its rows if the table has no rowtime.
        """
        nulls = 0
        if self._skips or self._events is not None:
            # An empty value is no event, but may be a text.
            kept = [one for one in records if one.value or (one.value is not None and self._events is None)]
            nulls, records = len(records) - len(kept), kept
        if not records:
            return Decoded([], [], nulls)
        try:
            rows = self._decode_all(records, arrival_ms)
        except Exception:
            # Whatever it was, the records are now read one by one, and there only bad data is caught.
            return self._one_by_one(records, arrival_ms, nulls)
        return Decoded(rows, [], nulls)

    def _decode_all(self, records: Sequence[Record], arrival_ms: int) -> list[Row]:
        keys: Any = repeat(())
        if self._key is not None:
            keys = self._key.decode_all([record.key for record in records])  # type: ignore[misc]  # None fails: one by one then
        values: Any
        if self._events is not None:
            numbers, values = self._events.decode_all([record.value for record in records])
            records = [records[number] for number in numbers]
            keys = keys if self._key is None else [keys[number] for number in numbers]
        elif self._deletes:
            values = self._with_nothing([record.value for record in records])
        else:
            values = self._value.decode_all([record.value for record in records])  # type: ignore[misc]  # None fails: one by one then
        rows = self._rows(records, values, keys, arrival_ms)
        if self._deletes:
            if any(_bad_time(row) for row in rows):
                raise DecodeError("a row has no time")
        elif rows and min([row[0] for row in rows]) < 0:
            raise DecodeError("a row has a negative time")
        return rows

    def _with_nothing(self, payloads: Sequence[bytes | None]) -> list[tuple[Any, ...]]:
        """The values; of a deletion NULLs."""
        given = self._value.decode_all([payload for payload in payloads if payload is not None])
        if len(given) == len(payloads):
            return given
        rows = iter(given)
        return [self._nothing if payload is None else next(rows) for payload in payloads]

    def _one_by_one(self, records: Sequence[Record], arrival_ms: int, nulls: int) -> Decoded:
        decoded = Decoded([], [])
        ignored = 0
        for record in records:
            try:
                if record.value is None and not self._deletes:
                    nulls += 1
                    raise DecodeError(f"null value (a tombstone): the table is append-only, {_SKIP}")
                decoded.rows.extend(self._decode_one(record, record.value, arrival_ms))
            except IgnoredError:
                ignored += 1
            except DecodeError as error:
                decoded.bad.append((record, error))
        return decoded._replace(tombstones=nulls, ignored=ignored)

    def _decode_one(self, record: Record, payload: bytes | None, arrival_ms: int) -> Sequence[Row]:
        values: list[tuple[Any, ...] | None]
        if self._events is not None:
            values = list(self._events.decode_one(payload))
        else:
            values = [self._nothing if payload is None else self._value.decode_one(payload)]
        key: Any = ()
        if self._key is not None:
            if record.key is None:
                raise DecodeError(f"null key, and columns are read from it: {self._key_names}")
            try:
                key = self._key.decode_one(record.key)
            except IgnoredError:
                raise
            except DecodeError as error:
                raise DecodeError(f"key: {error}") from None
            if key is None:
                return ()
        # An update is one thing: if one of its rows cannot be read, none is.
        return [self._row(record, value, key, arrival_ms) for value in values if value is not None]

    def _row(self, record: Record, value: tuple[Any, ...], key: Any, arrival_ms: int) -> Row:
        parts = ((record,), (value,), (key,), arrival_ms)
        deleted = self._deletes and record.value is None
        for name, compute in self._computed.items():
            try:
                compute(*parts)
            except FAILURES as error:
                raise DecodeError(f"computed column {name}: {error}") from None
        try:
            row = self._rows(*parts)[0]
        except TypeError:
            row = (None,)
        if row[0] is None:
            if deleted and len(row) > 1:
                return row
            raise DecodeError(f"the event time {self._rowtime} is NULL")
        if row[0] < 0:
            raise DecodeError(f"the event time {self._rowtime} is negative: {row[0]} ms since 1970")
        return row


_SKIP = "and 'value.null' = 'skip' would let it go"


def _bad_time(row: Row) -> bool:
    """Whether the time of a row of an upsert table is missing, though it is no deletion, or negative."""
    time = row[0]
    return bool(row[-1] % 2 == 0 if time is None else time < 0)


class RecordEncoder:
    """Encodes rows of a sink as keys and values.

    Args:
        sink: the table.
        registry: for Avro.

    Raises:
        RegistryError: a format is Avro, and no registry is given.
        TypeError: a column has a type that its format cannot hold.
    """

    def __init__(self, sink: SinkLike, registry: Registry | None = None) -> None:
        self._upsert = sink.upsert
        places = {column.name: number for number, column in enumerate(sink.columns)}
        self._key: Encoder | None = None
        if sink.key_format is not None:
            self._key = _encoder(sink.key_format, _named(sink, sink.key_fields), f"{sink.topic}-key", registry)
        in_value, options = (
            _named(sink, sink.value_fields),
            parse_options(sink.value_format.name, sink.value_format.options),
        )
        self._value: Encoder | DebeziumEncoder
        if isinstance(options, DebeziumOptions):
            self._value = DebeziumEncoder(in_value, options)
        else:
            self._value = _encoder(sink.value_format, in_value, f"{sink.topic}-value", registry)
        self._key_places = [places[name] for name in sink.key_fields]
        self._value_places = [places[name] for name in sink.value_fields]

    async def prepare(self) -> None:
        """Register the schemas of Avro formats.

        Raises:
            RegistryError: the registry cannot be reached (retriable), or refuses a schema (not retriable).
        """
        for encoder in (self._key, self._value):
            if isinstance(encoder, AvroEncoder):
                await encoder.prepare()

    def encode(self, values: Sequence[Any], change: int = 0) -> tuple[bytes | None, bytes | None]:
        """Key and value of a row of the sink's columns in memory form; a row that goes from an upsert table has none.

        Args:
            values: of the row.
            change: what becomes of it, a :class:`~anomaly_app.changes.Change`.

        Raises:
            EvaluationError: a value has no form in the format, such as a date beyond the year 9999.
        """
        key = None if self._key is None else self._key.encode(tuple([values[place] for place in self._key_places]))
        if change % 2 and self._upsert:
            return key, None
        row = tuple([values[place] for place in self._value_places])
        if isinstance(self._value, DebeziumEncoder):
            return key, self._value.encode(row, change)
        return key, self._value.encode(row)


def _named(sink: SinkLike, names: Iterable[str]) -> list[Column]:
    by_name = {column.name: column for column in sink.columns}
    return [by_name[name] for name in names]


def _decoder(
    format_: FormatSpec, columns: Sequence[Column], wanted: Sequence[Column], registry: Registry | None
) -> Decoder:
    options = parse_options(format_.name, format_.options)
    if isinstance(options, JsonOptions):
        return JsonDecoder(wanted, options)
    if isinstance(options, CsvOptions):
        names = [column.name for column in columns]
        return CsvDecoder(columns, [names.index(column.name) for column in wanted], options)
    if isinstance(options, AvroOptions):
        return AvroDecoder(wanted, options, _need(registry))
    assert not isinstance(options, DebeziumOptions), "the caller knows of events"
    return RawCodec(columns, options)


def _encoder(format_: FormatSpec, columns: Sequence[Column], subject: str, registry: Registry | None) -> Encoder:
    options = parse_options(format_.name, format_.options)
    if isinstance(options, JsonOptions):
        return JsonEncoder(columns, options)
    if isinstance(options, CsvOptions):
        return CsvEncoder(columns, options)
    if isinstance(options, AvroOptions):
        return AvroEncoder(columns, subject, options, _need(registry))
    assert not isinstance(options, DebeziumOptions), "the caller knows of events"
    return RawCodec(columns, options)


def _need(registry: Registry | None) -> Registry:
    if registry is None:
        raise RegistryError("the format 'avro-confluent' needs a schema registry: set its option 'url' or registry.url")
    return registry
