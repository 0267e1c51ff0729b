"""SQL types against Avro schemas: what is written as what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

from anomaly_app import conversions as c
from anomaly_app.formats.avro_types import PER_SECOND, AvroSchema, Mismatch, Node, kind_of, mismatch, scaled, shown
from anomaly_app.formats.misfit import Convert
from anomaly_app.schema import TEXTS, TIMESTAMPS, DataType, Kind, units_per_second

NAMESPACE = "org.apache.flink.avro.generated"
"""Of the schemas that Flink derives from tables."""


def derive(fields: Sequence[tuple[str, DataType]], name: str = "record") -> Node:
    """The schema of a table as Flink derives it.

    Raises:
        Mismatch: Avro cannot hold a type.

    Example:
        >>> from anomaly_app.schema import INT
        >>> derive([("qty", INT)])["fields"]
        [{'name': 'qty', 'type': ['null', 'int'], 'default': None}]
    """
    node: Node = {"type": "record", "name": name, "fields": [_field(f, type_, f"{name}_{f}") for f, type_ in fields]}
    return {**node, "namespace": NAMESPACE} if name == "record" else node


def _field(field: str, type_: DataType, name: str) -> Node:
    node = _derive_nullable(type_, name)
    return {"name": field, "type": node, "default": None} if type_.nullable else {"name": field, "type": node}


def _derive_nullable(type_: DataType, name: str) -> Node:
    node = _derive(type_, name)
    return ["null", node] if type_.nullable else node


def _derive(type_: DataType, name: str) -> Node:
    kind = type_.kind
    if kind in TEXTS:
        return "string"
    if kind in TIMESTAMPS:
        unit = "millis" if (type_.precision or 0) <= 3 else "micros"
        return {"type": "long", "logicalType": f"timestamp-{unit}"}
    if kind is Kind.DECIMAL:
        return {"type": "bytes", "logicalType": "decimal", "precision": type_.precision, "scale": type_.scale or 0}
    if kind is Kind.ARRAY and type_.element is not None:
        return {"type": "array", "items": _derive_nullable(type_.element, name)}
    if kind is Kind.MAP and type_.element is not None and type_.key is not None and type_.key.kind in TEXTS:
        return {"type": "map", "values": _derive_nullable(type_.element, name)}
    if kind is Kind.ROW:
        return derive(type_.fields, name)
    plain: dict[Kind, Node] = {
        Kind.BOOLEAN: "boolean",
        Kind.TINYINT: "int",
        Kind.SMALLINT: "int",
        Kind.INT: "int",
        Kind.BIGINT: "long",
        Kind.FLOAT: "float",
        Kind.DOUBLE: "double",
        Kind.BYTES: "bytes",
        Kind.DATE: {"type": "int", "logicalType": "date"},
        Kind.TIME: {"type": "int", "logicalType": "time-millis"},
    }
    if kind not in plain:
        raise Mismatch(f"Avro cannot hold {type_}")
    return plain[kind]


def writer(schema: AvroSchema, node: Node, type_: DataType, name: str) -> Convert | None:
    """A function from memory form (not None) to what fastavro writes; None if that is the same; raises Mismatch."""
    node = schema.resolve(node)
    if isinstance(node, list):
        branches = [branch for branch in map(schema.resolve, node) if kind_of(branch)[0] != "null"]
        if len(branches) != 1:
            raise Mismatch(f"field {name!r} is {shown(node)}: only null and one other type can be written")
        node = branches[0]
    kind, logical = kind_of(node)
    if type_.kind is Kind.DECIMAL:
        if logical != "decimal":
            raise mismatch(node, type_, name)
        return _decimal_writer(node)
    if type_.kind in TIMESTAMPS and kind == "long":
        here = units_per_second(type_)
        return scaled(here, PER_SECOND.get(logical.rpartition("-")[2], min(here, 1_000_000)))
    if type_.kind is Kind.TIME and logical == "time-micros":
        return lambda value: value * 1000
    if type_.kind is Kind.ARRAY and kind == "array" and type_.element is not None:
        element = _maybe(writer(schema, node["items"], type_.element, name))
        return lambda value: [element(item) for item in value]
    if type_.kind is Kind.MAP and kind == "map" and type_.element is not None:
        element = _maybe(writer(schema, node["values"], type_.element, name))
        return lambda value: {key: element(item) for key, item in value.items()}
    if type_.kind is Kind.ROW and kind == "record":
        given = schema.fields_of(node)
        fields = [
            (field, _maybe(writer(schema, given[field]["type"], field_type, f"{name}.{field}")))
            for field, field_type in type_.fields
            if field in given
        ]
        if len(fields) != len(type_.fields):
            raise Mismatch(f"the record {name!r} of the schema lacks fields of {type_}")
        return lambda value: {field: part(item) for (field, part), item in zip(fields, value, strict=True)}
    _check_scalar(kind, node, type_, name)
    return None


_WRITABLE: dict[Kind, tuple[str, ...]] = {
    **dict.fromkeys(TEXTS, ("string", "enum")),
    **dict.fromkeys((Kind.TINYINT, Kind.SMALLINT, Kind.INT), ("int", "long", "float", "double")),
    Kind.BIGINT: ("long", "float", "double"),
    Kind.FLOAT: ("float", "double"),
    Kind.DOUBLE: ("double",),
    Kind.BOOLEAN: ("boolean",),
    Kind.BYTES: ("bytes", "fixed"),
    Kind.DATE: ("int",),
    Kind.TIME: ("int",),
}


def _check_scalar(kind: str, node: Node, type_: DataType, name: str) -> None:
    if kind not in _WRITABLE.get(type_.kind, ()):
        raise mismatch(node, type_, name)


def _maybe(convert: Convert | None) -> Convert:
    if convert is None:
        return lambda value: value
    return lambda value: None if value is None else convert(value)


def _decimal_writer(node: Node) -> Callable[[Decimal], bytes]:
    scale, size = int(node.get("scale", 0)), node.get("size")

    def convert(value: Decimal) -> bytes:
        number = int(c.DECIMALS.scaleb(value, scale))
        length = (number.bit_length() + 8) // 8 if size is None else int(size)
        return number.to_bytes(length, "big", signed=True)

    return convert
