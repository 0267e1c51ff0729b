"""Python values and texts to memory form and back."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, strategies as st

from anomaly_app.conversions import text_to_timestamp
from anomaly_app.errors import DecodeError
from anomaly_app.formats.values import to_internal, to_python
from anomaly_app.schema import BIGINT, BOOLEAN, DOUBLE, INT, STRING, TIMESTAMP_3, DataType, Kind
from anomaly_app.sql import parse_type

LTZ = DataType(Kind.TIMESTAMP_LTZ, 3)
MICROS = DataType(Kind.TIMESTAMP, 6)


def internal(type_: DataType | str, value: Any) -> Any:
    convert = to_internal(parse_type(type_) if isinstance(type_, str) else type_)
    return value if convert is None else convert(value)


class Scalar:
    """What numpy's scalars look like from outside."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def item(self) -> Any:
        return self._value


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        ("INT", 7, 7),
        ("INT", "7", 7),
        ("INT", 7.0, 7),
        ("INT", Scalar(7), 7),
        ("BIGINT", -(2**63), -(2**63)),
        ("DOUBLE", 7, 7.0),
        ("DOUBLE", "1.5", 1.5),
        ("DOUBLE", Scalar(2.5), 2.5),
        ("FLOAT", 0.1, 0.1),
        ("FLOAT", 16777217, 16777216.0),
        ("DECIMAL(10, 2)", "12.345", Decimal("12.35")),
        ("DECIMAL(10, 2)", 3, Decimal("3.00")),
        ("DECIMAL(10, 2)", 0.1, Decimal("0.10")),
        ("STRING", "x", "x"),
        ("BOOLEAN", "true", True),
        ("BOOLEAN", Scalar(False), False),
        ("DATE", dt.date(1970, 1, 2), 1),
        ("DATE", "1970-01-02", 1),
        ("TIME(3)", dt.time(0, 0, 1, 500_000), 1500),
        ("TIME(0)", "00:00:02", 2000),
        ("TIMESTAMP(3)", "1970-01-01 00:00:01.500", 1500),
        ("TIMESTAMP(3)", "1970-01-01T00:00:01.500", 1500),
        ("TIMESTAMP(3)", dt.datetime(1970, 1, 1, 0, 0, 1), 1000),
        ("TIMESTAMP(3)", dt.date(1970, 1, 2), 86_400_000),
        ("TIMESTAMP(6)", "1970-01-01 00:00:00.000001", 1),
        ("TIMESTAMP(3)", "9999-12-31 23:59:59.999", 253_402_300_799_999),
        ("TIMESTAMP(3)", "1969-12-31 23:59:59.999", -1),
        ("BYTES", b"\x00", b"\x00"),
        ("ARRAY<INT>", ["1", None], [1, None]),
        ("MAP<STRING, INT>", {"a": "1"}, {"a": 1}),
        ("ROW<a INT, b STRING>", {"b": "x"}, (None, "x")),
        ("ROW<a INT, b STRING>", ["1", "x"], (1, "x")),
    ],
)
def test_to_internal(type_: str, value: Any, expected: Any) -> None:
    result = internal(type_, value)
    assert result == expected
    assert type(result) is type(expected)


def test_an_aware_datetime_is_moved_to_utc_and_a_naive_one_is_utc() -> None:
    cet = dt.timezone(dt.timedelta(hours=1))
    assert internal(LTZ, dt.datetime(1970, 1, 1, 1, tzinfo=cet)) == 0
    assert internal(TIMESTAMP_3, dt.datetime(1970, 1, 1, 1, tzinfo=cet)) == 0
    assert internal(LTZ, dt.datetime(1970, 1, 1)) == 0
    assert internal(LTZ, "1970-01-01 01:00:00+01:00") == 0


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("INT", True),
        ("INT", 2**31),
        ("INT", "1_000"),
        ("INT", 1.5),
        ("INT", float("nan")),
        ("INT", Decimal("1e999999")),
        ("TINYINT", 128),
        ("SMALLINT", "-32769"),
        ("BIGINT", 2**63),
        ("INT", "seven"),
        ("INT", "7" * 5000),
        ("DOUBLE", True),
        ("DOUBLE", "x"),
        ("DECIMAL(3, 1)", "123.4"),
        ("DECIMAL(3, 1)", Decimal("NaN")),
        ("STRING", 5),
        ("BOOLEAN", 1),
        ("DATE", "soon"),
        ("TIME(0)", "25:00:00"),
        ("TIMESTAMP(3)", "2025-02-30 00:00:00.000"),
        ("TIMESTAMP(3)", 5),
        ("BYTES", 5),
        ("ARRAY<INT>", "12"),
        ("ARRAY<INT NOT NULL>", [None]),
        ("MAP<STRING, INT>", [1]),
        ("ROW<a INT>", [1, 2]),
    ],
)
def test_what_does_not_fit_is_refused_with_value_and_type(type_: str, value: Any) -> None:
    with pytest.raises(DecodeError) as caught:
        internal(type_, value)
    assert "NULL" in str(caught.value) or str(parse_type(type_)) in str(caught.value)


def test_numpys_own_scalars() -> None:
    numpy = pytest.importorskip("numpy")
    assert internal(INT, numpy.int64(5)) == 5
    assert internal(BOOLEAN, numpy.bool_(True)) is True
    assert internal(DOUBLE, numpy.float32(0.5)) == 0.5
    assert internal(TIMESTAMP_3, numpy.datetime64("1970-01-01T00:00:01.500000000")) == 1500
    with pytest.raises(DecodeError):
        internal(INT, numpy.bool_(True))


def test_to_python() -> None:
    def python(type_: DataType | str, value: Any) -> Any:
        convert = to_python(parse_type(type_) if isinstance(type_, str) else type_)
        return value if convert is None else convert(value)

    assert python(TIMESTAMP_3, -1) == dt.datetime(1969, 12, 31, 23, 59, 59, 999_000)
    assert python(LTZ, 0) == dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    assert python("DATE", 1) == dt.date(1970, 1, 2)
    assert python("TIME(3)", 1500) == dt.time(0, 0, 1, 500_000)
    assert python("ARRAY<DATE>", [0, None]) == [dt.date(1970, 1, 1), None]
    assert python("MAP<STRING, DATE>", {"a": 0}) == {"a": dt.date(1970, 1, 1)}
    assert python("ROW<a DATE, b INT>", (0, 1)) == (dt.date(1970, 1, 1), 1)
    assert python(TIMESTAMP_3, 10**18) == "+31690708-07-05 01:46:40.000"
    assert python("TIMESTAMP(0)", -62_135_596_801_000) == "0000-12-31 23:59:59.000"
    assert python("TIMESTAMP(9)", 1_000) == dt.datetime(1970, 1, 1, 0, 0, 0, 1)
    assert python("TIMESTAMP(9)", 1) == "1970-01-01 00:00:00.000000001"
    assert python("DATE", -719_163) == "0000-12-31"
    assert to_python(STRING) is None
    assert to_python(BIGINT) is None


@given(st.datetimes(min_value=dt.datetime(1, 1, 1), max_value=dt.datetime(9999, 12, 31, 23, 59, 59, 999_999)))
def test_microsecond_timestamps_come_back(moment: dt.datetime) -> None:
    there, back = to_internal(MICROS), to_python(MICROS)
    assert there is not None and back is not None
    assert back(there(moment)) == moment
    assert there(f"{moment.isoformat(' ', 'microseconds').rjust(26, '0')}") == there(moment)


@given(st.datetimes(min_value=dt.datetime(1, 1, 1)), st.sampled_from(" T"), st.sampled_from(["", "Z", "+01:30"]))
def test_the_quick_way_for_timestamps_gives_what_the_long_one_gives(
    moment: dt.datetime, separator: str, zone: str
) -> None:
    text = f"{moment.isoformat(separator, 'milliseconds').rjust(23, '0')}{zone}"
    assert text_to_timestamp(text, 3) == text_to_timestamp(text, 6) // 1000
