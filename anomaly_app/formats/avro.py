"""Avro in the Confluent wire format: a zero byte, the schema's id in four bytes, the record."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import fastavro

from anomaly_app.errors import DecodeError, RegistryError
from anomaly_app.floats import printed_single
from anomaly_app.formats.avro_flat import Reader, flat_reader
from anomaly_app.formats.avro_types import AvroSchema, Mismatch, reader
from anomaly_app.formats.avro_writers import derive, writer
from anomaly_app.formats.misfit import Convert, Misfit
from anomaly_app.formats.options import AvroOptions
from anomaly_app.formats.registry import UNKNOWN_SCHEMA, Registry, RegistryRefusal
from anomaly_app.formats.rowcode import rows_function
from anomaly_app.schema import Column, DataType

MAGIC = b"\0"
HEADER = 5
"""Bytes before the record."""

_AT_ONCE = 8


class AvroDecoder:
    """Decodes records written with any schema of the registry into tuples of columns in memory form.

    Fields are found by name; one that the writer's schema lacks is NULL, or has the default of the schema in the
    options. Call :meth:`prepare` first: it fetches the schemas that a batch needs.

    Args:
        columns: what to take out, by :attr:`~anomaly_app.schema.Column.source_name`.
        options: of the format.
        registry: where the schemas are.

    Raises:
        Mismatch: the schema in the options does not fit the columns.
    """

    def __init__(self, columns: Sequence[Column], options: AvroOptions, registry: Registry) -> None:
        self._columns = columns
        self._registry = registry
        self._reader_fields = AvroSchema.parse(options.schema).fields() if options.schema else {}
        self._readers: dict[bytes, Reader] = {}
        self._texts: dict[bytes, str] = {}
        self._naming: dict[bytes, Reader] = {}

    async def prepare(self, payloads: Iterable[bytes | None]) -> None:
        """Fetch the schemas of records, where they are not known yet.

        Raises:
            RegistryError: the registry cannot be reached, or refuses us; a schema that it does not know is no error.
        """
        heads = {payload[:HEADER] for payload in payloads if payload}
        missing = [head for head in heads - self._readers.keys() if head[:1] == MAGIC and len(head) == HEADER]
        if missing:
            limit = asyncio.Semaphore(_AT_ONCE)
            await asyncio.gather(*(self._fetch(head, limit) for head in missing))

    async def _fetch(self, head: bytes, limit: asyncio.Semaphore) -> None:
        id_ = int.from_bytes(head[1:], "big")
        try:
            async with limit:
                text = await self._registry.schema(id_)
        except RegistryRefusal as refusal:
            if refusal.status != 404 and refusal.error_code != UNKNOWN_SCHEMA:
                raise
            return
        self._readers[head], self._texts[head] = self.reader(text, id_), text

    def reader(self, text: str, id_: int) -> Reader:
        """A function that decodes records of one writer's schema; it raises on each if they do not fit the columns."""
        try:
            return self._reader(AvroSchema.parse(text))
        except Mismatch as mismatch:
            problem = f"schema {id_}: {mismatch}"

            def refuse(payload: bytes) -> tuple[Any, ...]:
                raise DecodeError(problem)

            return refuse

    def _reader(self, schema: AvroSchema, *, naming: bool = False) -> Reader:
        """``naming`` makes errors tell the field, at the cost of a call for each value."""
        fields = schema.fields()
        is_flat = not naming and flat_reader(schema, (), HEADER) is not None
        fetched: list[str] = []
        singles: set[str] = set()
        places: list[str] = []
        converts: list[Convert | None] = []
        names: dict[str, Any] = {}
        for number, column in enumerate(self._columns):
            wanted = self._reader_fields.get(column.source_name, {})
            name = next((n for n in (column.source_name, *wanted.get("aliases", ())) if n in fields), None)
            if name is None:
                names[f"k{number}"] = self._absent(column, wanted)
                places.append(f"k{number}")
                converts.append(None)
                continue
            convert = reader(schema, fields[name]["type"], column.type, name)
            place = f"r[{len(fetched)}]"
            if not column.type.nullable and schema.may_be_null(fields[name]["type"]):
                names[f"n{number}"] = _present(name)
                place = f"n{number}({place})"
            if convert is printed_single and is_flat:
                singles.add(name)
                convert = None
            fetched.append(name)
            places.append(place)
            converts.append(convert if convert is None or not naming else _named(name, convert))
        fetch = flat_reader(schema, fetched, HEADER, singles) or _general_reader(schema, fetched)
        if places == [f"r[{number}]" for number in range(len(places))] and not any(converts):
            return fetch
        rows = rows_function(places, converts, names)
        return lambda payload: rows((fetch(payload),))[0]

    def _absent(self, column: Column, wanted: Mapping[str, Any]) -> Any:
        if wanted.get("default") is not None:
            own = AvroSchema.of_type(wanted["type"])
            convert = reader(own, own.root, column.type, column.source_name)
            return wanted["default"] if convert is None else convert(wanted["default"])
        if not column.type.nullable:
            raise Mismatch(f"it has no field {column.source_name!r}, and the column is NOT NULL")
        return None

    def decode_all(self, payloads: Sequence[bytes]) -> list[tuple[Any, ...]]:
        """All records of a batch, the quick way; raises if any of them is wrong: use :meth:`decode_one` then."""
        readers = self._readers
        return [readers[payload[:HEADER]](payload) for payload in payloads]

    def decode_one(self, payload: bytes) -> tuple[Any, ...]:
        """One record; raises :class:`DecodeError` saying what is wrong."""
        if len(payload) < HEADER or payload[:1] != MAGIC:
            raise DecodeError(
                f"not Avro in the Confluent wire format: it begins with {payload[:HEADER].hex() or 'nothing'}"
            )
        decode = self._readers.get(payload[:HEADER])
        if decode is None:
            raise DecodeError(
                f"the schema registry has no schema with the id {int.from_bytes(payload[1:HEADER], 'big')}"
            )
        try:
            return decode(payload)
        except Misfit:
            return self._named_reader(payload[:HEADER])(payload)
        except DecodeError:
            raise
        except Exception as error:
            # fastavro lets out whatever a broken record makes it stumble over.
            problem = str(error) or "it ends too early"
            raise DecodeError(f"not a record of schema {int.from_bytes(payload[1:HEADER], 'big')}: {problem}") from None

    def _named_reader(self, head: bytes) -> Reader:
        if head not in self._naming:
            self._naming[head] = self._reader(AvroSchema.parse(self._texts[head]), naming=True)
        return self._naming[head]


def _named(name: str, convert: Convert) -> Convert:
    def named(value: Any) -> Any:
        try:
            return convert(value)
        except Misfit as error:
            raise DecodeError(f"field {name + error.path!r}: {error.problem}") from None

    return named


def _general_reader(schema: AvroSchema, names: Sequence[str]) -> Reader:
    """A function from a payload to the values of some fields."""
    read, plain = fastavro.schemaless_reader, schema.plain

    def fetch(payload: bytes) -> tuple[Any, ...]:
        stream = io.BytesIO(payload)
        stream.seek(HEADER)
        record: Any = read(stream, plain, None)
        if stream.tell() != len(payload):
            raise DecodeError(f"{len(payload) - stream.tell()} bytes are left behind the record")
        return tuple([record[name] for name in names])

    return fetch


def _present(name: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if value is None:
            raise DecodeError(f"field {name!r} is NULL, and its column is NOT NULL")
        return value

    return check


class AvroEncoder:
    """Encodes tuples of columns in memory form; call :meth:`prepare` first, which registers the schema.

    Args:
        columns: in the order of the tuples.
        subject: under which the schema is registered if the options do not say.
        options: of the format.
        registry: where.

    Raises:
        Mismatch: the schema in the options does not fit the columns, or Avro cannot hold a type.
    """

    def __init__(self, columns: Sequence[Column], subject: str, options: AvroOptions, registry: Registry) -> None:
        fields = [(column.source_name, column.type) for column in columns]
        self._schema = AvroSchema.parse(options.schema or json.dumps(derive(fields)))
        self._subject = options.subject or subject
        self._registry = registry
        self._names = [name for name, _ in fields]
        self._rows = rows_function(
            [f"r[{number}]" for number in range(len(fields))], [self._writer(name, type_) for name, type_ in fields]
        )
        self._header: bytes | None = None

    def _writer(self, name: str, type_: DataType) -> Callable[[Any], Any] | None:
        field = self._schema.fields().get(name)
        if field is None:
            raise Mismatch(f"the schema has no field {name!r}")
        return writer(self._schema, field["type"], type_, name)

    async def prepare(self) -> None:
        """Register the schema; raises :class:`RegistryError`, also if it is not compatible with the ones before."""
        id_ = await self._registry.register(self._subject, self._schema.text)
        self._header = MAGIC + id_.to_bytes(4, "big")

    def encode(self, values: tuple[Any, ...]) -> bytes:
        """The bytes of a row."""
        if self._header is None:
            raise RegistryError(f"the schema of {self._subject} is not registered yet: call prepare() first")
        stream = io.BytesIO()
        stream.write(self._header)
        record = dict(zip(self._names, self._rows((values,))[0], strict=True))
        fastavro.schemaless_writer(stream, self._schema.plain, record)
        return stream.getvalue()
