"""The CSV format against Flink's (Jackson's) rules."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, strategies as st

from anomaly_app.errors import DecodeError
from anomaly_app.formats.csv import CsvDecoder, CsvEncoder
from anomaly_app.formats.options import CsvOptions
from anomaly_app.schema import Column
from anomaly_app.sql import parse_type

NULLS = CsvOptions(null_literal="n/a")


def columns(*types: str) -> list[Column]:
    return [Column(f"c{number}", parse_type(type_)) for number, type_ in enumerate(types)]


def decode(line: str | bytes, *types: str, options: CsvOptions | None = None) -> Any:
    decoder = CsvDecoder(columns(*types), range(len(types)), options or CsvOptions())
    return decoder.decode_one(line.encode() if isinstance(line, str) else line)


def encode(row: tuple[Any, ...], *types: str, options: CsvOptions | None = None) -> str:
    return CsvEncoder(columns(*types), options or CsvOptions()).encode(row).decode()


SALE = ("STRING", "STRING", "INT", "TIMESTAMP(3)", "INT", "TIMESTAMP(3)", "TIMESTAMP(3)")
SALE_ROW = ("user-67", "7850595442358871117", 30, 1752156422697, 1, 1752156415595, 1752156421670)
SALE_LINE = (
    'user-67,7850595442358871117,30,"2025-07-10 14:07:02.697",1,"2025-07-10 14:06:55.595","2025-07-10 14:07:01.67"'
)


def test_the_tutorials_line() -> None:
    assert encode(SALE_ROW, *SALE) == SALE_LINE
    assert decode(SALE_LINE, *SALE) == SALE_ROW


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0")).filter(lambda text: text != "n/a")


@pytest.mark.parametrize("options", [NULLS, CsvOptions(null_literal="n/a", delimiter="\t", quote="'", escape="\\")])
@given(
    row=st.tuples(
        st.none() | TEXT,
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.floats(),
        st.none() | st.booleans(),
        st.none() | st.decimals(-(10**8), 10**8, places=8),
        st.none() | st.integers(-62_135_596_800_000, 253_402_300_799_999),
        st.none() | st.integers(-719_162, 2_932_896),
        st.none() | st.integers(0, 86_399_999),
        st.none() | st.binary(),
        st.none() | st.lists(st.none() | st.integers(-5, 5)),
        st.none() | st.tuples(st.integers(-5, 5), st.booleans()),
    )
)
def test_round_trip(row: tuple[Any, ...], options: CsvOptions) -> None:
    made = columns(
        "STRING", "BIGINT", "DOUBLE", "BOOLEAN", "DECIMAL(20, 8)", "TIMESTAMP(3)", "DATE", "TIME(3)", "BYTES",
        "ARRAY<INT>", "ROW<a INT, b BOOLEAN>",
    )  # fmt: skip
    line = CsvEncoder(made, options).encode(row)
    decoder = CsvDecoder(made, range(len(made)), options)
    if row[9] == [None]:
        # One NULL in an array is written like a NULL array.
        row = (*row[:9], None, row[10])
    assert repr(decoder.decode_one(line)) == repr(row)
    assert repr(decoder.decode_all([line, line])) == repr([row, row])


@given(st.binary())
def test_no_bytes_do_more_than_raise_a_decode_error(payload: bytes) -> None:
    try:
        decode(payload, "INT", "STRING")
    except DecodeError:
        pass


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain", "plain"),
        ("", ""),
        ("a b", '"a b"'),
        ("a,b", '"a,b"'),
        ('say "x"', '"say ""x"""'),
        ("a\nb", '"a\nb"'),
        ("+5", '"+5"'),
        ("-5", "-5"),
        ("a/b;c", "a/b;c"),
        ("x" * 24, "x" * 24),
        ("x" * 25, '"' + "x" * 25 + '"'),
        ("\U0001f600" * 12, "\U0001f600" * 12),
        ("\U0001f600" * 13, '"' + "\U0001f600" * 13 + '"'),
    ],
)
def test_texts_are_quoted_as_jackson_does(text: str, written: str) -> None:
    assert encode((text,), "STRING") == written


def test_numbers_are_not_quoted_and_printed_as_java_prints_them() -> None:
    assert encode((True, 1e10, Decimal("0.00000001")), "BOOLEAN", "DOUBLE", "DECIMAL(10, 8)") == "true,1.0E10,1E-8"
    assert (
        encode((Decimal("0.00000001"),), "DECIMAL(10, 8)", options=CsvOptions(scientific_decimals=False))
        == "0.00000001"
    )


def test_nulls() -> None:
    assert encode((None, None), "STRING", "INT") == ","
    assert encode((None, 1), "STRING", "INT", options=NULLS) == "n/a,1"
    assert decode("n/a,n/a", "STRING", "INT", options=NULLS) == (None, None)
    assert decode(",", "STRING", "INT", options=CsvOptions(null_literal="")) == (None, None)
    assert decode(",1", "STRING", "INT") == ("", 1)
    with pytest.raises(DecodeError, match=r"column c1: .* set 'csv.null-literal' = ''"):
        decode(",", "STRING", "INT")
    with pytest.raises(DecodeError, match="NOT NULL"):
        decode("n/a", "INT NOT NULL", options=NULLS)


def test_options() -> None:
    assert decode("a|'b|c'", "STRING", "STRING", options=CsvOptions("|", "'")) == ("a", "b|c")
    assert decode('a,"b', "STRING", "STRING", options=CsvOptions(quote=None)) == ("a", '"b')
    assert encode(("a b",), "STRING", options=CsvOptions(quote=None)) == "a b"
    assert decode("# a,b", "STRING", "STRING", options=CsvOptions(allow_comments=True)) is None
    assert decode("1;2", "ARRAY<INT>") == ([1, 2],)
    assert decode("1|2", "ARRAY<INT>", options=CsvOptions(array_delimiter="|")) == ([1, 2],)
    assert decode("x,5", "INT", "INT", options=CsvOptions(ignore_parse_errors=True)) == (None, 5)
    assert decode("5", "INT", "INT", options=CsvOptions(ignore_parse_errors=True)) == (5, None)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("1", "1 fields where the table has 2 columns"),
        ("1,2,3", "3 fields"),
        ("", "0 fields"),
        ("x,2", "column c0: 'x'"),
        ("99999999999,2", "is not an INT"),
        ('1,"2', "not CSV"),
        ('"1"x,2', "not CSV"),
        ("1,2\n3,4", "not CSV"),
        (b"\xff,1", "not CSV"),
    ],
)
def test_bad_lines(line: str | bytes, problem: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(line, "INT", "INT")
    assert problem in str(caught.value)


def test_an_open_quote_does_not_swallow_the_next_record() -> None:
    decoder = CsvDecoder(columns("STRING", "STRING"), [0, 1], CsvOptions())
    with pytest.raises(DecodeError):
        decoder.decode_all([b'a,"b', b'c",d'])


def test_only_wanted_columns_are_converted() -> None:
    decoder = CsvDecoder(columns("INT", "INT"), [1], CsvOptions())
    assert decoder.decode_all([b"not a number,2"]) == [(2,)]


def test_csv_has_no_maps() -> None:
    with pytest.raises(TypeError, match="MAP"):
        CsvEncoder(columns("MAP<STRING, INT>"), CsvOptions())
    with pytest.raises(TypeError, match="MAP"):
        CsvDecoder(columns("MAP<STRING, INT>"), [0], CsvOptions())
