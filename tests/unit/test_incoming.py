"""Tables in memory: rows that cannot be read cost only themselves, and frames are read by columns."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, strategies as st

from anomaly_app import DataError, DecodeError, Rows, SqlError, query
from anomaly_app.formats.columns import column_to_internal
from anomaly_app.formats.values import to_internal
from anomaly_app.incoming import UNREADABLE
from anomaly_app.sql import parse_type

COLUMNS = [("id", "INT"), ("v", "DOUBLE"), ("ts", "TIMESTAMP(3)")]
LAST = (
    "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts MEASURES A.id AS a, B.id AS b, B.ts AS at "
    "AFTER MATCH SKIP TO NEXT ROW PATTERN (A B) DEFINE B AS B.v > A.v)"
)


def time(second: int) -> datetime.datetime:
    return datetime.datetime(2026, 1, 1, 9, 0, second)


def rejected(result: Any) -> list[tuple[int, str]]:
    return [(row.number, row.reason) for row in result.rejected]


def test_rows_that_cannot_be_read_are_rejected_and_the_others_go_on() -> None:
    rows = [
        (1, 1.0, "2026-01-01 09:00:00"),
        (2, 5.0, None),
        (3, "high", "2026-01-01 09:00:01"),
        (4, 6.0, "yesterday"),
        (5, 7.0),
        (6, 2.0, "2026-01-01 09:00:02"),
        (1 << 40, 3.0, "2026-01-01 09:00:03"),
    ]
    result = query(LAST, {"t": Rows(COLUMNS, rows, rowtime="ts")})
    assert result.rows == [(1, 6, time(2))]
    assert rejected(result) == [
        (2, "the event time ts is NULL"),
        (3, "column v: 'high' (str) is not a DOUBLE"),
        (4, "column ts: 'yesterday' (str) is not a TIMESTAMP(3)"),
        (5, "2 values for 3 columns"),
        (7, "column id: 1099511627776 (int) is not an INT"),
    ]
    assert [row.values for row in result.rejected][:2] == [(2, 5.0, None), (3, "high", "2026-01-01 09:00:01")]
    assert result.read == 2


def test_null_in_a_column_that_is_not_null_is_rejected() -> None:
    result = query("SELECT a FROM t", {"t": Rows([("a", "INT NOT NULL")], [(1,), (None,), (2,)])})
    assert result.rows == [(1,), (2,)]
    assert rejected(result) == [(2, "column a is NULL, and it is NOT NULL")]


def test_the_path_to_a_nested_value_is_told() -> None:
    columns = [("r", "ROW<x INT, y ARRAY<INT>>"), ("m", "MAP<STRING, INT>")]
    rows = [((1, [1]), {}), ({"x": 1, "y": [1, "z"]}, {}), ((1, []), {"k": "z"})]
    result = query("SELECT r, m FROM t", {"t": Rows(columns, rows)})
    assert rejected(result) == [
        (2, "column r.y[2]: 'z' (str) is not an INT"),
        (3, "column m['k']: 'z' (str) is not an INT"),
    ]


def test_if_no_row_can_be_read_that_is_an_error() -> None:
    with pytest.raises(DecodeError, match="no row of table t can be read; the first: row 1: the event time ts is NULL"):
        query(LAST, {"t": Rows(COLUMNS, [(1, 1.0, None), (2, 1.0, None)], rowtime="ts")})
    assert query(LAST, {"t": Rows(COLUMNS, [], rowtime="ts")}).rows == []


@pytest.mark.parametrize("type_", ["STRING", "DATE", "INT", "BOOLEAN"])
def test_what_is_no_time_cannot_be_event_time(type_: str) -> None:
    with pytest.raises(SqlError, match="it must be a TIMESTAMP"):
        query("SELECT c FROM t", {"t": Rows([("c", type_)], [("x",)], rowtime="c")})


def test_a_whole_number_of_milliseconds_may_be_event_time() -> None:
    rows = [(1, 1.0, 2_000), (2, 2.0, 1_000), (3, 3.0, 3_000)]
    columns = [*COLUMNS[:2], ("ts", "BIGINT")]
    result = query(LAST, {"t": Rows(columns, rows, rowtime="ts", watermark_delay_ms=5_000)})
    assert result.rows == [(1, 3, 3_000)]


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "INT": st.integers(-(1 << 33), 1 << 33) | st.booleans() | st.floats() | st.text("0123456789-+._ e") | st.decimals(),
    "BIGINT": st.integers(-(1 << 65), 1 << 65) | st.text("0123456789- "),
    "DOUBLE": st.floats() | st.integers(-5, 5) | st.text("0123456789-+._ eEnaif") | st.decimals(),
    "STRING": st.text() | st.integers(),
    "BOOLEAN": st.booleans() | st.sampled_from(["true", "F", "x", "1"]),
    "BYTES": st.binary() | st.text(),
    "TIMESTAMP(3)": st.datetimes() | st.datetimes().map(str) | st.dates() | st.just("soon"),
    "TIMESTAMP(6)": st.datetimes() | st.datetimes().map(str),
    "TIMESTAMP_LTZ(3)": st.datetimes(timezones=st.just(datetime.UTC)) | st.datetimes(),
    "DECIMAL(5, 2)": st.decimals(-9, 9, places=3) | st.text("0123456789."),
}


@given(st.sampled_from(sorted(VALUES)), st.data())
def test_a_column_is_converted_as_its_values_are_one_by_one(name: str, data: st.DataObject) -> None:
    type_ = parse_type(name)
    one_kind = st.sampled_from(range(4)).flatmap(lambda n: st.lists(VALUES[name], max_size=n + 1))
    values = data.draw(one_kind | st.lists(VALUES[name] | st.none(), max_size=6))
    each: Any = to_internal(type_)
    try:
        expected = [None if value is None else each(value) for value in values]
    except DataError:
        with pytest.raises(UNREADABLE):
            column_to_internal(type_)(values)
        return
    found = list(column_to_internal(type_)(values))
    assert list(map(repr, found)) == list(map(repr, expected))


SECONDS = [time(3), None, time(1)]
EARLY = datetime.datetime(1969, 12, 31, 23, 59, 59, 999_500)


def arrow() -> Any:
    import pyarrow

    return pyarrow.table(
        {
            "s": pyarrow.array(["a", None, "b"]).dictionary_encode(),
            "n": pyarrow.array([1, None, 3], pyarrow.int32()),
            "f": pyarrow.array([0.5, None, 1.5]),
            "at": pyarrow.array(SECONDS, pyarrow.timestamp("ns", "UTC")),
            "early": pyarrow.array([EARLY, None, EARLY], pyarrow.timestamp("us")),
            "d": pyarrow.array([Decimal("1.50"), None, Decimal("2.25")]),
        }
    )


def polars() -> Any:
    import polars

    return polars.DataFrame(
        {
            "s": polars.Series(["a", None, "b"], dtype=polars.Categorical),
            "n": polars.Series([1, None, 3], dtype=polars.Int32),
            "f": [0.5, None, 1.5],
            "at": polars.Series(SECONDS).dt.replace_time_zone("UTC"),
            "early": polars.Series([EARLY, None, EARLY], dtype=polars.Datetime("us")),
            "d": polars.Series([Decimal("1.50"), None, Decimal("2.25")], dtype=polars.Decimal(38, 2)),
        }
    )


def pandas() -> Any:
    import pandas

    return pandas.DataFrame(
        {
            "s": pandas.Series(["a", None, "b"], dtype="category"),
            "n": pandas.Series([1, None, 3], dtype="Int32"),
            "f": [0.5, None, 1.5],
            "at": pandas.Series(SECONDS).dt.tz_localize("UTC").dt.tz_convert("Europe/Paris"),
            "early": pandas.Series([EARLY, None, EARLY], dtype="datetime64[us]"),
            "d": [Decimal("1.50"), None, Decimal("2.25")],
        }
    )


@pytest.mark.parametrize("make", [arrow, polars, pandas])
@pytest.mark.parametrize("as_rows", [False, True])
def test_frames_have_their_types_and_times(make: Any, as_rows: bool) -> None:
    frame = make()
    result = query("SELECT s, n, f, at, early, d FROM t", {"t": Rows(rows=frame) if as_rows else frame})
    types = [type_ for _, type_ in result.columns]
    assert types[:2] + types[3:5] == ["STRING", "INT", "TIMESTAMP_LTZ(3)", "TIMESTAMP(3)"]
    utc = [None if t is None else t.replace(tzinfo=datetime.UTC) for t in SECONDS]
    early = datetime.datetime(1969, 12, 31, 23, 59, 59, 999_000)
    assert result.rows == [
        ("a", 1, 0.5, utc[0], early, Decimal("1.50")),
        (None,) * 6,
        ("b", 3, 1.5, utc[2], early, Decimal("2.25")),
    ]


@pytest.mark.parametrize("make", [arrow, polars, pandas])
def test_event_time_of_a_frame(make: Any) -> None:
    sql = "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY at MEASURES A.n AS a, B.n AS b PATTERN (A B) DEFINE B AS TRUE)"
    result = query(sql, {"t": Rows(rows=make(), rowtime="at", watermark_delay_ms=10_000)})
    assert result.rows == [(3, 1)]
    assert rejected(result) == [(2, "the event time at is NULL")]


@pytest.mark.parametrize("make", [arrow, polars, pandas])
def test_declared_types_of_a_frame_come_first(make: Any) -> None:
    sql = """CREATE TABLE t (n BIGINT, early TIMESTAMP(6))
        WITH ('connector' = 'kafka', 'topic' = 't', 'format' = 'json');
        SELECT n, early FROM t"""
    result = query(sql, {"t": make()})
    assert result.columns == [("n", "BIGINT"), ("early", "TIMESTAMP(6)")]
    assert result.rows == [(1, EARLY), (None, None), (3, EARLY)]
    result = query("SELECT n FROM t", {"t": Rows([("n", "DECIMAL(3, 1)")], make())})
    assert result.rows == [(Decimal("1.0"),), (None,), (Decimal("3.0"),)]


def test_nested_columns_of_frames() -> None:
    import polars
    import pyarrow

    rows = [{"r": {"x": 1, "y": [1, 2]}, "l": [{"z": "a"}]}, {"r": None, "l": []}]
    for frame in (pyarrow.Table.from_pylist(rows), polars.DataFrame(rows)):
        result = query("SELECT r.x, r.y[2] AS second, l[1].z AS z FROM t", {"t": frame})
        assert result.rows == [(1, 2, "a"), (None, None, None)]
    table = pyarrow.table({"m": pyarrow.array([[("k", 1)]], pyarrow.map_(pyarrow.string(), pyarrow.int64()))})
    assert query("SELECT m['k'] AS v FROM t", {"t": table}).rows == [(1,)]


def test_what_is_no_table_is_said() -> None:
    with pytest.raises(DataError, match="a table is given as list: it must be Rows"):
        query("SELECT a FROM t", {"t": [(1,)]})
