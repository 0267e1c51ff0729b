"""Avro's resolution rules between two schemas."""

from __future__ import annotations

from typing import Any

import pytest

from anomaly_app.formats.avro_types import AvroSchema
from anomaly_app.testing.compatibility import problems
from anomaly_app.testing.registry import Schemas


def enum(*symbols: str, **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "E", "symbols": list(symbols), **more}


def record(*fields: Any, name: str = "R", **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields), **more}


def field(name: str, type_: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type_, **more}


LIST = record(field("v", "int"), field("next", ["null", "R"]))
LONG_LIST = record(field("v", "long"), field("next", ["null", "R"]))


@pytest.mark.parametrize(
    ("reader", "writer", "fits"),
    [
        ("double", "int", True),
        ("int", "double", False),
        ("string", "bytes", True),
        (["null", "int"], "int", True),
        ("int", ["null", "int"], False),
        (["null", "long"], ["null", "int"], True),
        (["null", "string"], ["null", "int"], False),
        (enum("A", "B"), enum("A"), True),
        (enum("A"), enum("A", "B"), False),
        (enum("A", default="A"), enum("A", "B"), True),
        ({"type": "fixed", "name": "F", "size": 2}, {"type": "fixed", "name": "F", "size": 3}, False),
        ({"type": "array", "items": "long"}, {"type": "array", "items": "int"}, True),
        ({"type": "array", "items": "int"}, {"type": "array", "items": "long"}, False),
        ({"type": "map", "values": "int"}, {"type": "map", "values": "string"}, False),
        ({"type": "map", "values": "int"}, {"type": "array", "items": "int"}, False),
        (record(field("a", "int")), record(field("a", "int"), field("b", "int")), True),
        (record(field("a", "int"), field("b", "int")), record(field("a", "int")), False),
        (record(field("a", "int"), field("b", "int", default=0)), record(field("a", "int")), True),
        (record(field("b", "int", aliases=["a"])), record(field("a", "int")), True),
        (record(name="S"), record(), False),
        (record(name="S", aliases=["R"]), record(), True),
        (record(namespace="x"), record(namespace="y"), True),
        (LONG_LIST, LIST, True),
        (LIST, LONG_LIST, False),
        ([record(field("a", "int"), name="S"), record(name="R")], record(), True),
    ],
)
def test_problems(reader: Any, writer: Any, fits: bool) -> None:
    found = problems(AvroSchema.of_type(reader), AvroSchema.of_type(writer))
    assert (not found) is fits


@pytest.mark.parametrize(
    ("level", "taken"),
    [
        ("NONE", ["int", "long", "string", "int"]),
        ("BACKWARD", ["int", "long"]),
        ("FORWARD", ["long", "int"]),
        ("FULL", ["string", "bytes"]),
    ],
)
def test_levels(level: str, taken: list[str]) -> None:
    schemas = Schemas(level)
    ids = [schemas.register("s", f'"{type_}"') for type_ in taken]
    assert len(set(ids)) == len(set(taken))


def test_transitive_levels_look_at_all_versions() -> None:
    plain, both = '["null", "int"]', '["null", "int", "string"]'
    schemas = Schemas("FORWARD")
    schemas.register("s", both)
    schemas.register("s", plain)
    refused = AvroSchema.parse('["null", "string"]')
    assert schemas.incompatible("s", refused)
    schemas.level = "NONE"
    schemas.register("s", '"null"')
    schemas.level = "BACKWARD"
    assert not schemas.incompatible("s", refused)
    schemas.level = "BACKWARD_TRANSITIVE"
    assert schemas.incompatible("s", refused)
