"""The JSON format against Flink's rules."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, strategies as st

from anomaly_app.errors import DecodeError, EvaluationError
from anomaly_app.floats import to_single
from anomaly_app.formats.json import JsonDecoder, JsonEncoder
from anomaly_app.formats.options import JsonOptions
from anomaly_app.schema import Column
from anomaly_app.sql import parse_type


def columns(**types: str) -> list[Column]:
    return [Column(name, parse_type(type_.replace("_NOT_NULL", " NOT NULL"))) for name, type_ in types.items()]


def decode(payload: str | bytes, options: JsonOptions | None = None, **types: str) -> tuple[Any, ...]:
    decoder = JsonDecoder(columns(**types), options or JsonOptions())
    return decoder.decode_one(payload.encode() if isinstance(payload, str) else payload)


ROUND_TRIP = {
    "s": ("STRING", st.text(st.characters(codec="utf-8"))),
    "b": ("BOOLEAN", st.booleans()),
    "i": ("INT", st.integers(-(2**31), 2**31 - 1)),
    "l": ("BIGINT", st.integers(-(2**63), 2**63 - 1)),
    "d": ("DOUBLE", st.floats(allow_nan=False)),
    "f": ("FLOAT", st.floats(width=32, allow_nan=False, allow_infinity=False).map(to_single)),
    "n": ("DECIMAL(12, 3)", st.decimals(-(10**8), 10**8, places=3)),
    "day": ("DATE", st.integers(-719_162, 2_932_896)),
    "t": ("TIME(3)", st.integers(0, 86_399_999)),
    "ts": ("TIMESTAMP(3)", st.integers(-62_135_596_800_000, 253_402_300_799_999)),
    "us": ("TIMESTAMP_LTZ(6)", st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)),
    "raw": ("BYTES", st.binary()),
    "a": ("ARRAY<INT>", st.lists(st.none() | st.integers(-5, 5))),
    "m": ("MAP<STRING, DATE>", st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers(0, 9))),
    "r": ("ROW<x INT, y ARRAY<TIMESTAMP(3)>>", st.tuples(st.none() | st.integers(0, 9), st.lists(st.integers(0, 9)))),
}


@given(st.tuples(*(st.none() | values for _, values in ROUND_TRIP.values())))
def test_round_trip(row: tuple[Any, ...]) -> None:
    made = columns(**{name: type_ for name, (type_, _) in ROUND_TRIP.items()})
    payload = JsonEncoder(made, JsonOptions()).encode(row)
    decoder = JsonDecoder(made, JsonOptions())
    assert decoder.decode_one(payload) == row
    # Infinity is written as text, which only the second reading takes.
    if row[4] is None or abs(row[4]) != float("inf"):
        assert decoder.decode_all([payload, payload]) == [row, row]


@given(st.binary())
def test_no_bytes_do_more_than_raise_a_decode_error(payload: bytes) -> None:
    try:
        decode(payload, a="INT", b="ARRAY<STRING>")
    except DecodeError:
        pass


@pytest.mark.parametrize(
    ("payload", "type_", "expected"),
    [
        ('{"c": 12.50}', "STRING", "12.50"),
        ('{"c": true}', "STRING", "true"),
        ('{"c": {"a": [1, 2.5]}}', "STRING", '{"a":[1,2.5]}'),
        ('{"c": "12"}', "INT", 12),
        ('{"c": 3.9}', "INT", 3),
        ('{"c": " 1.5 "}', "DOUBLE", 1.5),
        ('{"c": 3}', "DOUBLE", 3.0),
        ('{"c": "NaN"}', "STRING", "NaN"),
        ('{"c": 0.1}', "FLOAT", 0.1),
        ('{"c": 1.005}', "DECIMAL(5, 2)", Decimal("1.01")),
        ('{"c": "7"}', "DECIMAL(5, 2)", Decimal("7.00")),
        ('{"c": "TRUE"}', "BOOLEAN", True),
        ('{"c": "2025-07-10 14:07:02.69"}', "TIMESTAMP(3)", 1752156422690),
        ('{"c": "2025-07-10T14:07:02"}', "TIMESTAMP(3)", 1752156422000),
        ('{"c": "2025-07-10 14:07:02.697Z"}', "TIMESTAMP_LTZ(3)", 1752156422697),
        ('{"c": null}', "INT", None),
        ("{}", "INT", None),
        ('{"c": {"x": "1"}}', "ROW<x INT, y INT>", (1, None)),
        ('{"c": ["1", 2]}', "ARRAY<INT>", [1, 2]),
        ('{"c": {"k": "1"}}', "MAP<STRING, INT>", {"k": 1}),
    ],
)
def test_conversions(payload: str, type_: str, expected: Any) -> None:
    (value,) = decode(payload, c=type_)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("payload", "type_", "problem"),
    [
        ('{"c": 3000000000}', "INT", "field 'c'"),
        ('{"c": "3.9"}', "INT", "is not an INT"),
        ('{"c": 1e999999999}', "INT", "is not an INT"),
        ('{"c": "yes"}', "BOOLEAN", "is not a BOOLEAN"),
        ('{"c": 1}', "BOOLEAN", "is not a BOOLEAN"),
        ('{"c": 1752156422690}', "TIMESTAMP(3)", "is not a TIMESTAMP(3)"),
        ('{"c": "soon"}', "TIMESTAMP(3)", "is not a TIMESTAMP"),
        ('{"c": 1234.5}', "DECIMAL(3, 1)", "is not a DECIMAL(3, 1)"),
        ('{"c": [1]}', "ROW<x INT>", "is not a ROW"),
        ('{"c": null}', "INT_NOT_NULL", "is NULL"),
        ("{}", "INT_NOT_NULL", "is absent"),
        ("[1]", "INT", "a JSON object was expected"),
        ("", "INT", "not JSON"),
        ("{", "INT", "not JSON"),
        ('{"c": "\ud800"}'.encode("utf-8", "surrogatepass"), "STRING", "not JSON"),
        ("[" * 100_000, "INT", "not JSON"),
    ],
)
def test_bad_records(payload: str | bytes, type_: str, problem: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(payload, c=type_)
    assert problem in str(caught.value)


def test_missing_fields_and_parse_errors_by_option() -> None:
    with pytest.raises(DecodeError, match="field 'c' is absent"):
        decode("{}", JsonOptions(fail_on_missing_field=True), c="INT")
    assert decode('{"c": null}', JsonOptions(fail_on_missing_field=True), c="INT") == (None,)
    assert decode('{"c": "x", "d": 1}', JsonOptions(ignore_parse_errors=True), c="INT", d="INT") == (None, 1)


def test_writing() -> None:
    made = columns(a="INT", t="TIMESTAMP(3)", z="TIMESTAMP_LTZ(3)", d="DECIMAL(10, 8)", x="DOUBLE")
    row = (None, 1752156422690, 0, Decimal("0.00000001"), float("inf"))
    assert JsonEncoder(made, JsonOptions()).encode(row) == (
        b'{"a":null,"t":"2025-07-10 14:07:02.69","z":"1970-01-01 00:00:00Z","d":1E-8,"x":"Infinity"}'
    )
    options = JsonOptions(iso_timestamps=True, plain_decimals=True, ignore_null_fields=True)
    assert JsonEncoder(made, options).encode((*row[:4], 1.5)) == (
        b'{"t":"2025-07-10T14:07:02.69","z":"1970-01-01T00:00:00Z","d":0.00000001,"x":1.5}'
    )


def test_null_keys_of_maps() -> None:
    made = columns(m="MAP<STRING, INT>")
    row = ({None: 1, "a": 2},)
    with pytest.raises(EvaluationError, match=r"map-null-key\.mode"):
        JsonEncoder(made, JsonOptions()).encode(row)
    assert JsonEncoder(made, JsonOptions(null_key_mode="DROP")).encode(row) == b'{"m":{"a":2}}'
    options = JsonOptions(null_key_mode="LITERAL", null_key_literal="none")
    assert JsonEncoder(made, options).encode(row) == b'{"m":{"none":1,"a":2}}'


def test_a_timestamp_beyond_the_year_9999_has_no_text() -> None:
    with pytest.raises(EvaluationError, match="beyond the years"):
        JsonEncoder(columns(t="TIMESTAMP(3)"), JsonOptions()).encode((10**18,))
