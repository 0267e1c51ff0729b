"""Avro schemas against SQL types: what can be read as what."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import fastavro
import fastavro.schema

from anomaly_app import conversions as c
from anomaly_app.floats import printed_single, to_single
from anomaly_app.formats.misfit import Convert, array_of, map_of, misfit, part, row_of
from anomaly_app.formats.values import refuse
from anomaly_app.schema import APPROXIMATE, TEXTS, TIMESTAMPS, WHOLE_NUMBERS, DataType, Kind, units_per_second

Node = Any
"""A schema of Avro in JSON, with full names."""


class Mismatch(TypeError):
    """A schema that is none, or does not fit the columns."""


@dataclass(frozen=True, slots=True)
class AvroSchema:
    """A schema.

    Args:
        text: as registered.
        root: with full names and logical types.
        plain: without logical types, for reading and writing numbers as they are stored.
        named: records, enums and fixed by full name.
    """

    text: str
    root: Node
    plain: Node
    named: Mapping[str, Node]

    @classmethod
    def parse(cls, text: str) -> AvroSchema:
        """From its JSON; raises :class:`Mismatch` if it is not a schema."""
        try:
            return cls.of_type(json.loads(text), text)
        except ValueError as error:
            raise Mismatch(f"not a schema: {error}") from None

    @classmethod
    def of_type(cls, node: Node, text: str = "") -> AvroSchema:
        """From JSON that is parsed already; raises :class:`Mismatch`."""
        named: dict[str, Node] = {}
        try:
            root = fastavro.parse_schema(node, named_schemas=named)
            return cls(text or json.dumps(node), root, fastavro.parse_schema(_plain(node)), named)
        except Exception as error:
            # fastavro lets out whatever a broken schema makes it stumble over.
            raise Mismatch(f"not an Avro schema: {error}") from None

    def resolve(self, node: Node) -> Node:
        """What a name stands for."""
        return self.named.get(node, node) if isinstance(node, str) else node

    def fields(self) -> dict[str, Node]:
        """Fields of a record by name; raises :class:`Mismatch` if it is not a record."""
        return self.fields_of(self.root)

    def fields_of(self, node: Node) -> dict[str, Node]:
        """Fields of a record inside the schema."""
        node = self.resolve(node)
        if not isinstance(node, dict) or node.get("type") not in ("record", "error"):
            raise Mismatch(f"a record was expected, not {shown(node)}")
        return {field["name"]: field for field in node["fields"]}

    def may_be_null(self, node: Node) -> bool:
        """Whether null is allowed."""
        branches = node if isinstance(node, list) else [node]
        return any(kind_of(self.resolve(branch))[0] == "null" for branch in branches)


def _plain(node: Node) -> Node:
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items() if key != "logicalType"}
    return [_plain(part) for part in node] if isinstance(node, list) else node


def kind_of(node: Node) -> tuple[str, str]:
    """Type and logical type ("" without) of a schema that is not a union."""
    if isinstance(node, str):
        return node, ""
    inner = node["type"]
    return kind_of(inner) if isinstance(inner, (dict, list)) else (inner, str(node.get("logicalType", "")))


def shown(node: Node) -> str:
    """A schema in a message."""
    if isinstance(node, list):
        return " or ".join(shown(branch) for branch in node)
    kind, logical = kind_of(node)
    return f"{kind} ({logical})" if logical else kind


def mismatch(node: Node, type_: DataType, name: str) -> Mismatch:
    """The error that says that a field does not fit a column."""
    return Mismatch(f"field {name!r} is {shown(node)}, which is no {type_.with_nullable(True)}")


_PYTHON: dict[str, tuple[type, ...]] = {
    "boolean": (bool,), "int": (int,), "long": (int,), "float": (float,), "double": (float,), "string": (str,),
    "enum": (str,), "bytes": (bytes,), "fixed": (bytes,), "array": (list,), "map": (dict,), "record": (dict,),
}  # fmt: skip

PER_SECOND = {"millis": 1_000, "micros": 1_000_000, "nanos": 1_000_000_000}
"""Units of a logical time type by the end of its name."""


def reader(schema: AvroSchema, node: Node, type_: DataType, name: str) -> Convert | None:
    """A function from what fastavro reads (not None) to memory form; None if that is the same.

    Types are promoted as Avro's schema resolution does it.

    Args:
        schema: the writer's.
        node: of the field.
        type_: of the column.
        name: of the field, for errors.

    Raises:
        Mismatch: the field cannot be read as that type.
    """
    node = schema.resolve(node)
    if isinstance(node, list):
        branches = [branch for branch in map(schema.resolve, node) if kind_of(branch)[0] != "null"]
        if len(branches) != 1:
            return _union_reader(schema, branches, type_, name)
        node = branches[0]
    kind, logical = kind_of(node)
    wanted = type_.kind
    if logical == "decimal" and kind in ("bytes", "fixed") and wanted is Kind.DECIMAL:
        return _decimal_reader(node, type_)
    if kind in ("string", "enum", "bytes", "fixed"):
        return _bytes_reader(kind, node, type_, name)
    if kind == "boolean" and wanted is Kind.BOOLEAN:
        return None
    if kind in ("int", "long"):
        return _whole_reader(kind, logical, node, type_, name)
    if kind in ("float", "double") and wanted in APPROXIMATE:
        if kind == "double" and wanted is Kind.FLOAT:
            raise mismatch(node, type_, name)
        return printed_single if wanted is Kind.FLOAT else None
    return _nested_reader(schema, kind, node, type_, name)


def _union_reader(schema: AvroSchema, branches: Sequence[Node], type_: DataType, name: str) -> Convert:
    converts: dict[type, Convert | None] = {}
    problems: list[Mismatch] = []
    for branch in branches:
        try:
            found = reader(schema, branch, type_, name)
        except Mismatch as problem:
            # Only records that hold this branch cannot be read.
            problems.append(problem)
            found = _refuse_branch(branch, type_)
        for python in _PYTHON[kind_of(branch)[0]]:
            if converts.get(python, found) is not found:
                both = shown(list(branches))
                raise Mismatch(f"field {name!r} is {both}: values of two of these cannot be told apart")
            converts[python] = found
    if len(problems) == len(branches):
        raise mismatch(list(branches), type_, name)

    def convert(value: Any) -> Any:
        found = converts[type(value)]
        return value if found is None else found(value)

    return convert


def _refuse_branch(branch: Node, type_: DataType) -> Convert:
    what = shown(branch)
    return lambda value: misfit(repr(value), what, type_)


def _bytes_reader(kind: str, node: Node, type_: DataType, name: str) -> Convert | None:
    text = kind in ("string", "enum")
    if type_.kind in TEXTS and kind != "fixed":
        return None if text else bytes.decode
    if type_.kind is Kind.BYTES and kind != "enum":
        return str.encode if text else None
    raise mismatch(node, type_, name)


def _decimal_reader(node: Node, type_: DataType) -> Convert:
    exponent = -int(node.get("scale", 0))
    precision, scale = type_.precision or 10, type_.scale or 0

    def convert(value: bytes) -> Decimal:
        number = c.DECIMALS.scaleb(Decimal(int.from_bytes(value, "big", signed=True)), exponent)
        result = c.rescale(number, scale, precision)
        if result is None:
            refuse(number, type_)
        return result

    return convert


def _whole_reader(kind: str, logical: str, node: Node, type_: DataType, name: str) -> Convert | None:
    wanted = type_.kind
    if wanted in WHOLE_NUMBERS and not (kind == "long" and wanted is not Kind.BIGINT):
        low, high = c.RANGES[wanted]
        if wanted in (Kind.INT, Kind.BIGINT):
            return None
        return lambda value: value if low <= value <= high else refuse(value, type_)
    if wanted in APPROXIMATE:
        return float if wanted is Kind.DOUBLE else lambda value: to_single(float(value))
    if wanted is Kind.DATE and kind == "int":
        return None
    if wanted is Kind.TIME and logical != "time-micros" and kind == "int":
        return None
    if wanted is Kind.TIME and logical == "time-micros":
        return lambda value: value // 1000
    if wanted in TIMESTAMPS and kind == "long":
        here = units_per_second(type_)
        # A long without a logical type is read in the column's own unit, as Flink does, which has no nanoseconds there.
        return scaled(PER_SECOND.get(logical.rpartition("-")[2], min(here, 1_000_000)), here)
    raise mismatch(node, type_, name)


def scaled(given: int, wanted: int) -> Convert | None:
    """A function from one number of units a second to another, rounding down; None if they are the same."""
    if given == wanted:
        return None
    factor = given // wanted or 1
    return (lambda value: value // factor) if given > wanted else lambda value: c.storable(value * (wanted // given))


def _nested_reader(schema: AvroSchema, kind: str, node: Node, type_: DataType, name: str) -> Convert | None:
    if kind == "array" and type_.kind is Kind.ARRAY and type_.element is not None:
        return array_of(_part(schema, node["items"], type_.element, name))
    texts = type_.kind is Kind.MAP and type_.key is not None and type_.key.kind in TEXTS
    if kind == "map" and texts and type_.element is not None:
        return map_of(_same, _part(schema, node["values"], type_.element, name))
    if kind == "record" and type_.kind is Kind.ROW:
        given = schema.fields_of(node)
        fields: list[tuple[str, Convert]] = []
        for field, field_type in type_.fields:
            if field not in given and not field_type.nullable:
                raise Mismatch(f"the record {name!r} has no field {field!r}, and it is NOT NULL")
            convert = _part(schema, given[field]["type"], field_type, f"{name}.{field}") if field in given else _nothing
            fields.append((field, convert))
        row, names = row_of(fields), [field for field, _ in fields]
        return lambda value: row([value.get(field) for field in names])
    raise mismatch(node, type_, name)


def _nothing(value: Any) -> None:
    return None


def _same(value: Any) -> Any:
    return value


def _part(schema: AvroSchema, node: Node, type_: DataType, name: str) -> Convert:
    return part(type_, reader(schema, node, type_, name))
