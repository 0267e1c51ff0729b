"""Avro: wire format, logical types, schema resolution, and records that are broken."""

from __future__ import annotations

import io
import json
import struct
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from hypothesis import given, strategies as st

from anomaly_app.errors import DecodeError, RegistryError
from anomaly_app.floats import to_single
from anomaly_app.formats import avro_flat
from anomaly_app.formats.avro import AvroDecoder, AvroEncoder
from anomaly_app.formats.avro_flat import flat_reader
from anomaly_app.formats.avro_types import AvroSchema, Mismatch
from anomaly_app.formats.options import AvroOptions
from anomaly_app.formats.registry import Registry, RegistryRefusal
from anomaly_app.schema import Column
from anomaly_app.sql import parse_type


class Memory(Registry):
    """A registry without a network."""

    def __init__(self) -> None:
        super().__init__("http://memory")
        self.texts: list[str] = []
        self.subjects: list[str] = []
        self.asked = 0

    async def schema(self, id_: int) -> str:
        self.asked += 1
        if not 0 < id_ <= len(self.texts):
            raise RegistryRefusal("schema not found", 404, 40403)
        return self.texts[id_ - 1]

    async def register(self, subject: str, schema: str) -> int:
        self.subjects.append(subject)
        self.texts.append(schema)
        return len(self.texts)


def columns(**types: str) -> list[Column]:
    return [Column(name, parse_type(type_)) for name, type_ in types.items()]


def record(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": "Sales", "namespace": "a.b", "fields": list(fields)}


def field(name: str, type_: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type_, **more}


def written(schema: Any, value: Any, id_: int = 1) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), value)
    return b"\0" + id_.to_bytes(4, "big") + stream.getvalue()


async def read(schema: Any, value: Any, type_: str, options: AvroOptions | None = None) -> Any:
    """What a column ``c`` of a type reads from a field ``c`` of a schema."""
    registry = Memory()
    whole = record(field("c", schema))
    await registry.register("s", json.dumps(whole))
    decoder = AvroDecoder(columns(c=type_), options or AvroOptions(), registry)
    payload = written(whole, {"c": value})
    await decoder.prepare([payload, None])
    return decoder.decode_one(payload)[0]


DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 3}
FIXED = {"type": "fixed", "name": "F", "size": 4, "logicalType": "decimal", "precision": 8, "scale": 1}
ENUM = {"type": "enum", "name": "E", "symbols": ["RED", "BLUE"]}
POINT = {"type": "record", "name": "P", "fields": [field("x", "int"), field("y", ["null", "string"])]}


def long(logical: str) -> dict[str, str]:
    return {"type": "long", "logicalType": logical}


@pytest.mark.parametrize(
    ("schema", "value", "type_", "expected"),
    [
        ("string", "x", "STRING", "x"),
        (["null", "string"], None, "STRING", None),
        (["string", "null"], "x", "STRING", "x"),
        (ENUM, "BLUE", "STRING", "BLUE"),
        ("bytes", b"x", "STRING", "x"),
        ("string", "x", "BYTES", b"x"),
        ("int", 5, "INT", 5),
        ("int", 5, "BIGINT", 5),
        ("int", 5, "TINYINT", 5),
        ("int", 5, "DOUBLE", 5.0),
        ("long", 5, "DOUBLE", 5.0),
        ("float", 0.1, "FLOAT", 0.1),
        ("float", 0.5, "DOUBLE", 0.5),
        ("double", 0.1, "DOUBLE", 0.1),
        ("boolean", True, "BOOLEAN", True),
        (DECIMAL, Decimal("-12.345"), "DECIMAL(12, 3)", Decimal("-12.345")),
        (DECIMAL, Decimal("12.345"), "DECIMAL(12, 1)", Decimal("12.3")),
        (FIXED, Decimal("-1.5"), "DECIMAL(8, 1)", Decimal("-1.5")),
        ({"type": "int", "logicalType": "date"}, 1, "DATE", 1),
        ({"type": "int", "logicalType": "time-millis"}, 1500, "TIME(3)", 1500),
        (long("time-micros"), 1_500_000, "TIME(3)", 1500),
        (long("timestamp-millis"), -1, "TIMESTAMP(3)", -1),
        (long("timestamp-millis"), 1500, "TIMESTAMP(6)", 1_500_000),
        (long("timestamp-micros"), 1_500_999, "TIMESTAMP(3)", 1500),
        (long("timestamp-micros"), 253_402_300_799_999_999, "TIMESTAMP_LTZ(6)", 253_402_300_799_999_999),
        (long("local-timestamp-millis"), 1500, "TIMESTAMP(3)", 1500),
        (long("local-timestamp-micros"), 1_500_000, "TIMESTAMP(3)", 1500),
        ("long", 1500, "TIMESTAMP(3)", 1500),
        (long("timestamp-millis"), 1500, "BIGINT", 1500),
        ({"type": "array", "items": ["null", "int"]}, [1, None], "ARRAY<BIGINT>", [1, None]),
        ({"type": "map", "values": long("timestamp-micros")}, {"a": 1000}, "MAP<STRING, TIMESTAMP(3)>", {"a": 1}),
        (["null", POINT], {"x": 1, "y": None}, "ROW<y STRING, x INT, z INT>", (None, 1, None)),
        (["null", "int", "string"], 7, "INT", 7),
        (["null", "string", ENUM], "RED", "STRING", "RED"),
    ],
)
async def test_reading(schema: Any, value: Any, type_: str, expected: Any) -> None:
    result = await read(schema, value, type_)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("schema", "value", "type_", "problem"),
    [
        ("long", 5, "INT", "field 'c' is long, which is no INT"),
        ("double", 0.1, "FLOAT", "which is no FLOAT"),
        ("string", "5", "INT", "which is no INT"),
        ("int", 5, "STRING", "which is no STRING"),
        ("int", 300, "TINYINT", "is not a TINYINT"),
        (DECIMAL, Decimal("99999.5"), "DECIMAL(3, 0)", "is not a DECIMAL"),
        (POINT, {"x": 1, "y": None}, "ROW<z INT NOT NULL>", "NOT NULL"),
        (POINT, {"x": 1, "y": None}, "ROW<y STRING NOT NULL>", "NOT NULL"),
        (["null", "int"], None, "INT NOT NULL", "is NULL, and its column is NOT NULL"),
        (["null", "int", "string"], "x", "INT", "field 'c': 'x' (string) is not an INT"),
        (["null", "int", "long"], 5, "BIGINT", None),
        (["null", "double", {"type": "array", "items": "int"}], [1], "STRING", "which is no STRING"),
        ({"type": "array", "items": "int"}, [1, 300], "ARRAY<TINYINT>", "field 'c[2]': 300 (int) is not a TINYINT"),
        ({"type": "map", "values": "int"}, {"a": 300}, "MAP<STRING, TINYINT>", "field \"c['a']\": 300 (int)"),
        (POINT, {"x": 300, "y": None}, "ROW<x TINYINT>", "field 'c.x': 300 (int) is not a TINYINT"),
    ],
)
async def test_what_does_not_resolve_is_a_bad_record(schema: Any, value: Any, type_: str, problem: str | None) -> None:
    if problem is None:
        assert await read(schema, value, type_) == value
        return
    with pytest.raises(DecodeError) as caught:
        await read(schema, value, type_)
    assert problem in str(caught.value)


async def test_fields_are_found_by_name_and_absent_ones_are_null() -> None:
    registry = Memory()
    schema = record(field("b", "string"), field("a", "string"), field("more", {"type": "array", "items": "int"}))
    await registry.register("s", json.dumps(schema))
    payload = written(schema, {"a": "1", "b": "2", "more": [3]})
    decoder = AvroDecoder(columns(a="STRING", z="INT", b="STRING"), AvroOptions(), registry)
    await decoder.prepare([payload])
    assert decoder.decode_all([payload, payload]) == [("1", None, "2")] * 2
    strict = AvroDecoder(columns(z="INT NOT NULL"), AvroOptions(), registry)
    await strict.prepare([payload])
    with pytest.raises(DecodeError, match="no field 'z'"):
        strict.decode_one(payload)


async def test_the_schema_of_the_options_gives_defaults_and_aliases() -> None:
    own = record(field("c", "int", aliases=["old"]), field("d", "string", default="none"))
    registry = Memory()
    schema = record(field("old", "int"))
    await registry.register("s", json.dumps(schema))
    payload = written(schema, {"old": 5})
    decoder = AvroDecoder(columns(c="INT", d="STRING NOT NULL"), AvroOptions(schema=json.dumps(own)), registry)
    await decoder.prepare([payload])
    assert decoder.decode_one(payload) == (5, "none")


async def test_named_types_are_used_twice_and_may_hold_themselves() -> None:
    tree = record(field("c", POINT), field("d", "P"), field("next", ["null", "Sales"], default=None))
    registry = Memory()
    await registry.register("s", json.dumps(tree))
    value = {"c": {"x": 1, "y": "a"}, "d": {"x": 2, "y": None}, "next": None}
    payload = written(tree, {**value, "next": value})
    decoder = AvroDecoder(columns(c="ROW<x INT>", d="ROW<x INT>", next="ROW<d ROW<x INT>>"), AvroOptions(), registry)
    await decoder.prepare([payload])
    assert decoder.decode_one(payload) == ((1,), (2,), ((2,),))


async def test_each_schema_is_fetched_once() -> None:
    registry = Memory()
    schema = record(field("c", "string"))
    await registry.register("s", json.dumps(schema))
    decoder = AvroDecoder(columns(c="STRING"), AvroOptions(), registry)
    for _ in range(3):
        await decoder.prepare([written(schema, {"c": "x"})] * 5)
    assert registry.asked == 1


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b"", "begins with nothing"),
        (b"\0\0\0\0", "begins with 00000000"),
        (b"\1\0\0\0\1\0", "not Avro in the Confluent wire format"),
        (b"\0\0\0\0\2\0", "no schema with the id 2"),
        (b"\0\0\0\0\1", "not a record of schema 1"),
        (b"\0\0\0\0\1\x08ab", "not a record of schema 1"),
        (b"\0\0\0\0\1\x02\xff", "not a record of schema 1"),
        (b"\0\0\0\0\1\x02aX", "1 bytes are left behind the record"),
    ],
)
async def test_broken_records(payload: bytes, problem: str) -> None:
    registry = Memory()
    await registry.register("s", json.dumps(record(field("c", "string"))))
    decoder = AvroDecoder(columns(c="STRING"), AvroOptions(), registry)
    await decoder.prepare([payload, written(record(field("c", "string")), {"c": "x"})])
    with pytest.raises(DecodeError) as caught:
        decoder.decode_one(payload)
    assert problem in str(caught.value)


@given(st.binary(max_size=40))
def test_no_bytes_do_more_than_raise_a_decode_error(payload: bytes) -> None:
    decoder = AvroDecoder(columns(c="STRING", d="ARRAY<INT>"), AvroOptions(), Memory())
    schema = record(field("c", ["null", "string"]), field("d", {"type": "array", "items": "int"}), field("e", "double"))
    read_one = decoder.reader(json.dumps(schema), 1)
    decoder._readers[b"\0\0\0\0\1"] = read_one
    try:
        decoder.decode_one(b"\0\0\0\0\1" + payload)
    except DecodeError:
        pass


FLAT = {
    "s": ("string", st.text(st.characters(codec="utf-8"))),
    "raw": ("bytes", st.binary()),
    "i": ("int", st.integers(-(2**31), 2**31 - 1)),
    "l": ("long", st.integers(-(2**63), 2**63 - 1)),
    "f": ("float", st.floats(width=32, allow_nan=False)),
    "d": ("double", st.floats(allow_nan=False)),
    "b": ("boolean", st.booleans()),
    "e": (ENUM, st.sampled_from(ENUM["symbols"])),
    "x": ({"type": "fixed", "name": "X", "size": 3}, st.binary(min_size=3, max_size=3)),
    "ns": (["null", "string"], st.none() | st.text(st.characters(codec="utf-8"))),
    "nl": (["long", "null"], st.none() | st.integers(-(2**63), 2**63 - 1)),
    "ne": (["null", "E"], st.none() | st.sampled_from(ENUM["symbols"])),
    "nf": (["null", "float"], st.none() | st.floats(width=32, allow_nan=False)),
    "nd": (["double", "null"], st.none() | st.floats(allow_nan=False)),
}
FLAT_SCHEMA = AvroSchema.of_type(record(*(field(name, type_) for name, (type_, _) in FLAT.items())))


@given(st.fixed_dictionaries({name: values for name, (_, values) in FLAT.items()}), st.data())
def test_the_generated_reader_of_flat_records_reads_what_fastavro_reads(value: Any, data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.sampled_from(list(FLAT)), unique=True))
    read_flat = flat_reader(FLAT_SCHEMA, wanted, 5)
    assert read_flat is not None
    payload = written(FLAT_SCHEMA.plain, value)
    assert read_flat(payload) == tuple(value[name] for name in wanted)
    cut = data.draw(st.integers(5, len(payload) - 1))
    with pytest.raises((LookupError, ValueError, struct.error)):
        read_flat(payload[:cut])
    with pytest.raises(DecodeError, match="1 bytes are left"):
        read_flat(payload + b"x")


@given(st.none() | st.floats(width=32))
def test_floats_are_read_in_the_memory_form_of_the_column(value: float | None) -> None:
    schema = AvroSchema.of_type(record(field("f", ["null", "float"]), field("g", ["float", "null"])))
    payload = written(schema.plain, {"f": value, "g": value})
    exact = None if value is None else to_single(value)
    read_flat = flat_reader(schema, ["f", "g"], 5, {"f"})
    assert read_flat is not None
    for _ in range(2):  # what was met before too
        assert repr(read_flat(payload)) == repr((exact, value))
    decoder = AvroDecoder(columns(f="FLOAT", g="DOUBLE"), AvroOptions(), Memory())
    assert repr(decoder.reader(schema.text, 1)(payload)) == repr((exact, value))


def test_floats_that_are_remembered_do_not_grow_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(avro_flat, "MOST_SINGLES", 10)
    monkeypatch.setattr(avro_flat, "_SINGLES", avro_flat._Singles())
    schema = AvroSchema.of_type(record(field("f", "float")))
    read_flat = flat_reader(schema, ["f"], 5, {"f"})
    assert read_flat is not None
    found = [read_flat(written(schema.plain, {"f": n / 8})) for n in range(100)]
    assert found == [(n / 8,) for n in range(100)]
    assert len(avro_flat._SINGLES) <= 10


@pytest.mark.parametrize("wanted", [["c"], []])
def test_an_impossible_branch_is_told_as_such(wanted: list[str]) -> None:
    decoder = AvroDecoder(columns(**dict.fromkeys(wanted, "FLOAT")), AvroOptions(), Memory())
    text = json.dumps(record(field("c", ["null", "float"])))
    decoder._readers[b"\0\0\0\0\1"] = decoder.reader(text, 1)
    with pytest.raises(DecodeError, match="schema 1: a length, number or branch is impossible"):
        decoder.decode_one(b"\0\0\0\0\1\4\0\0\0\0")


@given(st.binary(max_size=60))
def test_what_the_generated_reader_takes_is_what_fastavro_takes(payload: bytes) -> None:
    read_flat = flat_reader(FLAT_SCHEMA, list(FLAT), 0)
    assert read_flat is not None
    try:
        values = read_flat(payload)
    except (LookupError, ValueError, struct.error, DecodeError):
        return
    found = fastavro.schemaless_reader(io.BytesIO(payload), FLAT_SCHEMA.plain, None)
    assert repr(values) == repr(tuple(found.values()))


@pytest.mark.parametrize(
    "payload",
    [
        b"\x01",  # a length of -1
        b"\x81\x01",  # a length of -65
        b"\xff" * 10 + b"\x01",  # a number of 77 bits
        b"\xfe\xff\xff\xff\x7f",  # a length that goes far behind the end
    ],
)
async def test_impossible_lengths(payload: bytes) -> None:
    decoder = AvroDecoder(columns(c="STRING"), AvroOptions(), Memory())
    decoder._readers[b"\0\0\0\0\1"] = decoder.reader(json.dumps(record(field("c", "string"))), 1)
    with pytest.raises(DecodeError, match="not a record of schema 1"):
        decoder.decode_one(b"\0\0\0\0\1" + payload)


@pytest.mark.parametrize(
    ("type_", "payload"),
    [("int", b"\x80\x80\x80\x80\x10"), ("boolean", b"\2"), (ENUM, b"\4"), (ENUM, b"\1"), (["null", "int"], b"\4")],
)
def test_impossible_numbers_and_branches(type_: Any, payload: bytes) -> None:
    read_flat = flat_reader(AvroSchema.of_type(record(field("c", type_))), ["c"], 0)
    assert read_flat is not None
    with pytest.raises((LookupError, ValueError)):
        read_flat(payload)


async def test_a_schema_that_cannot_be_read_makes_bad_records_and_no_more() -> None:
    registry = Memory()
    await registry.register("s", '{"type": "no such"}')
    await registry.register("s", '"string"')
    decoder = AvroDecoder(columns(c="STRING"), AvroOptions(), registry)
    await decoder.prepare([b"\0\0\0\0\1x", b"\0\0\0\0\2x"])
    with pytest.raises(DecodeError, match="schema 1: not an Avro schema"):
        decoder.decode_one(b"\0\0\0\0\1x")
    with pytest.raises(DecodeError, match="schema 2: a record was expected, not string"):
        decoder.decode_one(b"\0\0\0\0\2x")


ROUND_TRIP = {
    "s": ("STRING", st.text(st.characters(codec="utf-8"))),
    "b": ("BOOLEAN", st.booleans()),
    "t1": ("TINYINT", st.integers(-128, 127)),
    "i": ("INT", st.integers(-(2**31), 2**31 - 1)),
    "l": ("BIGINT", st.integers(-(2**63), 2**63 - 1)),
    "d": ("DOUBLE", st.floats(allow_nan=False)),
    "f": ("FLOAT", st.floats(width=32, allow_nan=False).map(to_single)),
    "n": ("DECIMAL(12, 3)", st.decimals(-(10**8), 10**8, places=3)),
    "day": ("DATE", st.integers(-719_162, 2_932_896)),
    "t": ("TIME(3)", st.integers(0, 86_399_999)),
    "ts": ("TIMESTAMP(3)", st.integers(-(2**62), 2**62)),
    "us": ("TIMESTAMP_LTZ(6)", st.integers(-(2**62), 2**62)),
    "raw": ("BYTES", st.binary()),
    "a": ("ARRAY<INT>", st.lists(st.none() | st.integers(-5, 5))),
    "m": ("MAP<STRING, DATE>", st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers(0, 9))),
    "r": (
        "ROW<x INT, y ARRAY<DECIMAL(5, 2)>>",
        st.tuples(st.none() | st.integers(0, 9), st.lists(st.decimals(-99, 99, places=2))),
    ),
}


@given(st.tuples(*(st.none() | values for _, values in ROUND_TRIP.values())))
async def test_round_trip(row: tuple[Any, ...]) -> None:
    registry = Memory()
    made = columns(**{name: type_ for name, (type_, _) in ROUND_TRIP.items()})
    encoder = AvroEncoder(made, "t-value", AvroOptions(), registry)
    await encoder.prepare()
    payload = encoder.encode(row)
    decoder = AvroDecoder(made, AvroOptions(), registry)
    await decoder.prepare([payload])
    assert decoder.decode_all([payload]) == [row]


async def test_the_tutorials_sales() -> None:
    schema = {
        "type": "record", "name": "Sales", "namespace": "com.github.streamshub.kafka.data.generator.schema",
        "fields": [field(n, "string") for n in ("user_id", "product_id", "invoice_id", "quantity", "unit_cost")],
    }  # fmt: skip
    registry = Memory()
    await registry.register("flink.sales.records-value", json.dumps(schema))
    sale = {"user_id": "user-67", "product_id": "5", "invoice_id": "785", "quantity": "30", "unit_cost": "£7"}
    payload = written(schema, sale)
    table = columns(invoice_id="STRING", user_id="STRING", product_id="STRING", quantity="STRING", unit_cost="STRING")
    decoder = AvroDecoder(table, AvroOptions(), registry)
    await decoder.prepare([payload])
    assert decoder.decode_all([payload]) == [("785", "user-67", "5", "30", "£7")]


async def test_what_is_registered_is_what_flink_derives() -> None:
    registry = Memory()
    encoder = AvroEncoder(columns(a="STRING NOT NULL", t="TIMESTAMP(3)"), "x-value", AvroOptions(), registry)
    with pytest.raises(RegistryError, match="call prepare"):
        encoder.encode(("a", 1))
    await encoder.prepare()
    assert registry.subjects == ["x-value"]
    timestamp = {"type": "long", "logicalType": "timestamp-millis"}
    assert json.loads(registry.texts[0]) == {
        "type": "record", "name": "record", "namespace": "org.apache.flink.avro.generated",
        "fields": [field("a", "string"), field("t", ["null", timestamp], default=None)],
    }  # fmt: skip


async def test_writing_with_a_schema_and_subject_of_the_options() -> None:
    registry = Memory()
    own = record(field("t", {"type": "long", "logicalType": "timestamp-micros"}), field("n", FIXED), field("c", ENUM))
    options = AvroOptions(subject="mine", schema=json.dumps(own))
    encoder = AvroEncoder(columns(t="TIMESTAMP(3)", n="DECIMAL(8, 1)", c="STRING"), "x-value", options, registry)
    await encoder.prepare()
    payload = encoder.encode((5, Decimal("-1.5"), "RED"))
    assert registry.subjects == ["mine"]
    assert payload == written(own, {"t": 5000, "n": Decimal("-1.5"), "c": "RED"})


@pytest.mark.parametrize(
    ("schema", "type_", "problem"),
    [
        (record(field("d", "int")), "INT", "has no field 'c'"),
        (record(field("c", "int")), "STRING", "which is no STRING"),
        (record(field("c", "int")), "DECIMAL(5, 2)", "which is no DECIMAL"),
        (record(field("c", ["int", "string"])), "INT", "only null and one other type"),
        (record(field("c", POINT)), "ROW<x INT, z INT>", "lacks fields"),
        ("nonsense", "INT", "not an Avro schema"),
    ],
)
def test_a_schema_of_the_options_that_does_not_fit(schema: Any, type_: str, problem: str) -> None:
    with pytest.raises(Mismatch) as caught:
        AvroEncoder(columns(c=type_), "s", AvroOptions(schema=json.dumps(schema)), Memory())
    assert problem in str(caught.value)


def test_avro_has_only_text_keys() -> None:
    with pytest.raises(Mismatch, match="cannot hold MAP"):
        AvroEncoder(columns(c="MAP<INT, INT>"), "s", AvroOptions(), Memory())
