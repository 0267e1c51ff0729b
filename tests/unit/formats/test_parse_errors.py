"""Values that do not fit their column: ``ignore-parse-errors`` and, without it, what the dead letter says.

The NULLs are those of Flink 2.3 (its schemas of json and csv were run on the same texts), but for what Flink reads as
something else in silence: a BOOLEAN ``maybe`` is FALSE there, and a CSV ROW with a part too many loses that part.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from anomaly_app.errors import DecodeError, IgnoredError
from anomaly_app.formats.csv import CsvDecoder
from anomaly_app.formats.json import JsonDecoder
from anomaly_app.formats.options import CsvOptions, JsonOptions, OptionError
from anomaly_app.formats.records import RecordDecoder
from anomaly_app.jobs.topic_tables import Format, Source
from anomaly_app.operators import Layout
from anomaly_app.schema import Column, Origin, Schema
from anomaly_app.sql import parse_type


class Message(NamedTuple):
    value: bytes | None
    key: bytes | None = None
    offset: int = 0
    timestamp: int = 5_000
    topic: str = "sales"
    partition: int = 0


JSON = [
    ("BIGINT", "9223372036854775808", "number", "", None),
    ("BIGINT", '"x"', "string", "", None),
    ("BIGINT", "true", "boolean", "", None),
    ("BIGINT", "[1]", "array", "", None),
    ("BIGINT", '{"z":1}', "object", "", None),
    ("TINYINT", "128", "number", "", None),
    ("INT", '"2.9"', "string", "", None),
    ("INT", "1e999999999", "number", "", None),
    ("DOUBLE", '""', "string", "", None),
    ("FLOAT", '"1_0"', "string", "", None),
    ("DECIMAL(10, 2)", "123456789.1", "number", "", None),
    ("DECIMAL(10, 2)", '"123456789.1"', "string", "", None),
    ("DECIMAL(3, 0)", '"NaN"', "string", "", None),
    ("BOOLEAN", '"maybe"', "string", "", None),
    ("TIMESTAMP(3)", '"yesterday"', "string", "", None),
    ("TIMESTAMP_LTZ(3)", "1767258000000", "number", "", None),
    ("DATE", '"2026-02-30"', "string", "", None),
    ("TIME", '"25:00:00"', "string", "", None),
    ("BYTES", '"***"', "string", "", None),
    ("ROW<x INT, y DECIMAL(4, 1)>", '{"x":"bad","y":2.5}', "string", ".x", (None, Decimal("2.5"))),
    ("ROW<x INT, y DECIMAL(4, 1)>", '{"x":1,"y":12345.6}', "number", ".y", (1, None)),
    ("ROW<x INT>", "[1]", "array", "", None),
    ("ROW<x INT>", "5", "number", "", None),
    ("ARRAY<INT>", '[1,"x",3]', "string", "[2]", [1, None, 3]),
    ("ARRAY<INT>", "7", "number", "", None),
    ("ARRAY<INT>", '{"a":1}', "object", "", None),
    ("ARRAY<INT NOT NULL>", '[1,"x",3]', "string", "[2]", None),
    ("ARRAY<DECIMAL(3, 1)>", "[1.5,1000]", "number", "[2]", [Decimal("1.5"), None]),
    ("MAP<STRING, INT>", '{"a":"x","b":2}', "string", "['a']", {"a": None, "b": 2}),
    ("MAP<STRING, INT>", "[1]", "array", "", None),
    ("ROW<p ROW<q ARRAY<ROW<t DATE>>>>", '{"p":{"q":[{"t":"no"}]}}', "string", ".p.q[1].t", (([(None,)],),)),
    ("ROW<x INT NOT NULL>", '{"x":"bad"}', "string", ".x", None),
]


@pytest.mark.parametrize(("type_", "value", "what", "path", "ignored"), JSON)
def test_json(type_: str, value: str, what: str, path: str, ignored: Any) -> None:
    columns = [Column("id", parse_type("INT")), Column("c", parse_type(type_))]
    payload = f'{{"id": 1, "c": {value}}}'.encode()
    with pytest.raises(DecodeError) as caught:
        JsonDecoder(columns, JsonOptions()).decode_one(payload)
    assert str(caught.value).startswith(f"field {'c' + path!r}: ")
    assert f" ({what}) is not a" in str(caught.value)
    assert JsonDecoder(columns, JsonOptions(ignore_parse_errors=True)).decode_one(payload) == (1, ignored)


CSV = [
    ("BIGINT", "9223372036854775808", "", None),
    ("BIGINT", "x", "", None),
    ("DOUBLE", "", "", None),
    ("DECIMAL(10, 2)", "123456789.1", "", None),
    ("BOOLEAN", "maybe", "", None),
    ("TIMESTAMP(3)", "yesterday", "", None),
    ("DATE", "yesterday", "", None),
    ("TIME", "noon", "", None),
    ("BYTES", "***", "", None),
    ("ARRAY<INT>", "1;x;3", "[2]", [1, None, 3]),
    ("ARRAY<INT NOT NULL>", "1;x;3", "[2]", None),
    ("ROW<x INT, y DECIMAL(3, 1)>", "1;1000", ".y", (1, None)),
    ("ROW<x INT, y INT>", "1", "", (1, None)),
]


@pytest.mark.parametrize(("type_", "value", "path", "ignored"), CSV)
def test_csv(type_: str, value: str, path: str, ignored: Any) -> None:
    columns = [Column("id", parse_type("INT")), Column("c", parse_type(type_))]
    payload = f"1,{value}".encode()
    with pytest.raises(DecodeError) as caught:
        CsvDecoder(columns, [0, 1], CsvOptions()).decode_one(payload)
    assert str(caught.value).startswith(f"column c{path}: ")
    assert "(str) is not a" in str(caught.value) or "parts where" in str(caught.value)
    assert CsvDecoder(columns, [0, 1], CsvOptions(ignore_parse_errors=True)).decode_one(payload) == (1, ignored)


@pytest.mark.parametrize("payload", [b"{", b"not json", b"", b"[1]", b"5", b"null", b'{"c": NaN}', b"\xff"])
def test_what_is_no_json_object_is_let_go(payload: bytes) -> None:
    decoder = JsonDecoder([Column("c", parse_type("INT"))], JsonOptions(ignore_parse_errors=True))
    with pytest.raises(IgnoredError):
        decoder.decode_one(payload)


@pytest.mark.parametrize("payload", [b'1,"a', b"", b"1,2,3", b"\xff,1"])
def test_what_is_no_line_of_the_columns_is_let_go(payload: bytes) -> None:
    columns = [Column("a", parse_type("INT")), Column("b", parse_type("STRING"))]
    with pytest.raises(IgnoredError):
        CsvDecoder(columns, [0, 1], CsvOptions(ignore_parse_errors=True)).decode_one(payload)


def test_a_nested_field_that_is_absent_fails_by_option() -> None:
    decoder = JsonDecoder([Column("c", parse_type("ROW<x INT, y INT>"))], JsonOptions(fail_on_missing_field=True))
    with pytest.raises(DecodeError, match=r"field 'c\.y': it is absent"):
        decoder.decode_one(b'{"c": {"x": 1}}')
    with pytest.raises(OptionError, match="excludes 'fail-on-missing-field'"):
        JsonOptions.parse({"fail-on-missing-field": "true", "ignore-parse-errors": "true"})


@pytest.mark.parametrize("name", ["json", "csv"])
def test_records_that_are_let_go_are_counted(name: str) -> None:
    key = Column("k", parse_type("INT"), Origin.KEY)
    columns = (Column("a", parse_type("INT")), Column("b", parse_type("INT NOT NULL")), key)
    format_ = Format(name, {"ignore-parse-errors": "true"})
    source = Source(
        "t", Schema(columns), "t", value_format=format_, key_format=format_, value_fields=("a", "b"), key_fields=("k",)
    )
    good, bad_field, unreadable, null = {
        "json": (b'{"a": 1, "b": 2, "k": 3}', b'{"a": "x", "b": 2, "k": 3}', b"{", b'{"a": 1, "b": "x", "k": 3}'),
        "csv": (b"1,2", b"x,2", b"1,2,3", b"1,x"),
    }[name]
    keys = {"json": b'{"k": 3}', "csv": b"3"}
    values = [(good, keys[name]), (bad_field, keys[name]), (unreadable, keys[name]), (null, keys[name]), (good, b"")]
    messages = [Message(value, key, offset) for offset, (value, key) in enumerate(values)]
    decoded = RecordDecoder(source, Layout(columns)).decode(messages, 7)
    assert decoded.rows == [(7, 0, 1, 2, 3), (7, 1, None, 2, 3)]
    assert decoded.ignored == 2
    assert [
        (record.offset, "NOT NULL" in str(error) or "is not an INT" in str(error)) for record, error in decoded.bad
    ] == [(3, True)]
