"""Functions, casts and operators of dates and times in SQL. The values of Flink 2.3 are in tests/golden."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from anomaly_app import AnomalyError, Rows, SqlError, query

COLUMNS = [
    ("d", "DATE"), ("t", "TIME(0)"), ("t0", "TIMESTAMP(0)"), ("t3", "TIMESTAMP(3)"), ("t9", "TIMESTAMP(9)"),
    ("z", "TIMESTAMP_LTZ(3)"), ("n", "INT"), ("s", "STRING"), ("f", "STRING"),
]  # fmt: skip
ROW = ("2024-02-29", "12:34:56", "2024-02-29 12:34:56.789", "2024-02-29 12:34:56.789", "2024-02-29 12:34:56.123456789",
       "2024-02-29 12:34:56.789", 3, "2024-02-29 12:34:56", "yyyy-MM-dd HH:mm:ss")  # fmt: skip
NOTHING = (None,) * len(COLUMNS)


def value(expression: str, row: tuple[Any, ...] = ROW) -> Any:
    return query(f"SELECT {expression} AS x FROM t", {"t": Rows(columns=COLUMNS, rows=[row])}).rows[0][0]


def type_of(expression: str) -> str:
    found = query(f"SELECT {expression} AS x FROM t", {"t": Rows(columns=COLUMNS, rows=[])})
    return found.columns[0][1]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("TIMESTAMPADD(HOUR, 1, d)", dt.datetime(2024, 2, 29, 1)),
        ("TIMESTAMPADD(SQL_TSI_DAY, n, d)", dt.date(2024, 3, 3)),
        ("TIMESTAMPADD(HOUR, 13, t)", dt.time(1, 34, 56)),
        ("TIMESTAMPADD(CENTURY, 1, d)", dt.date(2124, 2, 29)),
        ("TIMESTAMPDIFF(SECOND, t, TIME '12:00:00')", -2096),
        ("TIMESTAMPDIFF(NANOSECOND, d, TIMESTAMP '2024-03-29 00:00:00')", 29 * 86_400_000_000_000),
        ("t0", dt.datetime(2024, 2, 29, 12, 34, 56)),
        ("CAST(t3 AS TIMESTAMP(0))", dt.datetime(2024, 2, 29, 12, 34, 56)),
        ("CAST(TIMESTAMP '1969-12-31 23:59:59.999' AS TIMESTAMP(0))", dt.datetime(1970, 1, 1)),
        ("CAST(t3 AS TIMESTAMP(1))", dt.datetime(2024, 2, 29, 12, 34, 56, 700_000)),
        ("t9", "2024-02-29 12:34:56.123456789"),
        ("CAST(t9 AS TIMESTAMP(6))", dt.datetime(2024, 2, 29, 12, 34, 56, 123_456)),
        ("CAST(t9 AS STRING)", "2024-02-29 12:34:56.123456789"),
        ("EXTRACT(NANOSECOND FROM t9)", 123_456_789),
        ("t9 + INTERVAL '0.001' SECOND > t9", True),
        ("t9 > t3", False),
        ("CAST(t AS TIMESTAMP(3))", dt.datetime(1970, 1, 1, 12, 34, 56)),
        ("CAST(z AS TIME)", dt.time(12, 34, 56)),
        ("CAST(INTERVAL '-1 02:03:04.5' DAY TO SECOND AS STRING)", "-1 02:03:04.500"),
        ("CAST(INTERVAL '1-2' YEAR TO MONTH AS STRING)", "+1-02"),
        ("EXTRACT(HOUR FROM INTERVAL '-36:30' HOUR TO MINUTE)", -12),
        ("EXTRACT(DAY FROM (d - DATE '2024-01-30') DAY)", 30),
        ("EXTRACT(MONTH FROM INTERVAL '2-5' YEAR TO MONTH)", 5),
        ("(d - DATE '2022-12-31') MONTH", 14),
        ("d + INTERVAL n DAY", dt.date(2024, 3, 3)),
        ("d + INTERVAL (n - 1) MONTH", dt.date(2024, 4, 29)),
        ("d - INTERVAL '1' HOUR", dt.date(2024, 2, 29)),
        ("d - INTERVAL '25' HOUR", dt.date(2024, 2, 28)),
        ("(d, INTERVAL '2' DAY) OVERLAPS (DATE '2024-03-02', DATE '2024-03-05')", True),
        ("(d, INTERVAL '1' DAY) OVERLAPS (DATE '2024-03-02', DATE '2024-03-05')", False),
        ("{ts '2024-02-29 12:34:56'} = t0", True),
        ("DATE_FORMAT(t3, 'EEE, d MMM yyyy h:mm a')", "Thu, 29 Feb 2024 12:34 PM"),
        ("DATE_FORMAT(t9, '[SSSSSSSSS][ z]')", "123456789"),
        ("DATE_FORMAT(s, '''{\"}'' HH')", '{"} 12'),
        ("DATE_FORMAT(s, f)", "2024-02-29 12:34:56"),
        ("TO_TIMESTAMP('2/9/2024 1:05 PM', 'M/d/yyyy h:mm a')", dt.datetime(2024, 2, 9, 13, 5)),
        ("TO_TIMESTAMP(s, f)", dt.datetime(2024, 2, 29, 12, 34, 56)),
        ("TO_TIMESTAMP('2024-02-29T12:34:56')", None),
        ("TO_TIMESTAMP('02-29', 'MM-dd')", None),
        ("TO_DATE('24-2-9', 'yy-M-d')", dt.date(2024, 2, 9)),
        ("TO_TIMESTAMP_LTZ(1.5, 0) = TO_TIMESTAMP_LTZ(1000, 3)", True),
        ("TO_TIMESTAMP_LTZ('2024-07-01', 'yyyy-MM-dd', 'America/New_York')", dt.datetime(2024, 7, 1, 4, tzinfo=dt.UTC)),
        ("TO_TIMESTAMP_LTZ(253402300800, 0)", None),
        ("UNIX_TIMESTAMP('2024-02-30', 'yyyy-MM-dd')", 1709251200),
        ("UNIX_TIMESTAMP('soon')", -(1 << 63)),
        ("FROM_UNIXTIME(n, 'yyyy-MM-dd''T''HH:mm:ssX')", "1970-01-01T00:00:03Z"),
        ("CONVERT_TZ('2024-03-31 02:30:00', 'Europe/Berlin', 'UTC')", "2024-03-31 01:30:00"),
        ("CONVERT_TZ('2024-10-27 02:30:00', 'Europe/Berlin', 'UTC')", "2024-10-27 01:30:00"),
        ("DATE '0001-01-01' - INTERVAL '1' DAY", "0000-12-31"),
        ("TIMESTAMP '9999-12-31 23:59:59' + INTERVAL '1' SECOND", "+10000-01-01 00:00:00.000"),
        ("EXTRACT(CENTURY FROM DATE '0001-01-01' - INTERVAL '1' YEAR)", 0),
        ("FLOOR(t TO MINUTE)", dt.time(12, 34)),
        ("CEIL(t3 TO MILLENNIUM)", dt.datetime(3001, 1, 1)),
    ],
)
def test_value(expression: str, expected: object) -> None:
    assert value(expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("INTERVAL '1' DAY", "INTERVAL SECOND(3) NOT NULL"),
        ("CAST(n AS INTERVAL YEAR)", "INTERVAL MONTH"),
        ("CAST(t AS TIME(9))", "TIME(3)"),
        ("{fn YEAR(d)}", "BIGINT"),
        ("TIMESTAMPADD(MINUTE, 1, d)", "TIMESTAMP(6)"),
        ("TIMESTAMPADD(MILLISECOND, 1, t0)", "TIMESTAMP(3)"),
        ("TIMESTAMP '2024-01-01 00:00:00.1234567'", "TIMESTAMP(7) NOT NULL"),
        ("TO_TIMESTAMP_LTZ(n, 6)", "TIMESTAMP_LTZ(6)"),
        ("TIMESTAMPDIFF(NANOSECOND, t3, t3)", "BIGINT"),
    ],
)
def test_type(expression: str, expected: str) -> None:
    assert type_of(expression) == expected


@pytest.mark.parametrize(
    "expression",
    ["d + INTERVAL n DAY", "(d - d) DAY", "CAST(t9 AS TIMESTAMP(0))", "DATE_FORMAT(t3, f)", "CONVERT_TZ(s, f, s)",
     "TO_TIMESTAMP(s, 'yyyy')", "(d, d) OVERLAPS (d, d)", "FLOOR(t TO HOUR)", "EXTRACT(YEAR FROM t3)",
     "t - INTERVAL '1' MONTH"],
)  # fmt: skip
def test_null_gives_null(expression: str) -> None:
    assert value(expression, NOTHING) is None


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("CURRENT_TIMESTAMP", "AS PROCTIME"),
        ("LOCALTIME", "reads the clock"),
        ("CURRENT_WATERMARK(t3)", "t3 is not the event time of a table"),
        ("DATE_FORMAT(t3, 'yyyy z')", "'z' in the date pattern 'yyyy z' is a time zone"),
        ("DATE_FORMAT(t3, 'MMMMMM')", "'MMMMMM' in the date pattern"),
        ("DATE_FORMAT(t3, 'b')", "'b' in the date pattern 'b' is no field"),
        ("DATE_FORMAT(t3, '''at')", "a quote that is not closed"),
        ("TO_TIMESTAMP(s, 'yyyy]')", r"a \] without a \["),
        ("TO_TIMESTAMP(s, 'yyyy z')", "can be written but not read"),
        ("TO_DATE(s, 'EEE')", "only with a day of the month"),
        ("TO_TIMESTAMP_LTZ(s, f, 'Nowhere')", "'Nowhere' is not a time zone such as UTC"),
        ("TO_TIMESTAMP_LTZ(n, n)", "must be written out"),
        ("TIMESTAMPDIFF(HOUR, z, t3)", r"TIMESTAMP_LTZ\(3\) and TIMESTAMP\(3\): CAST one"),
        ("TIMESTAMPADD(FORTNIGHT, 1, d)", "FORTNIGHT is no unit of TIMESTAMPADD; units are MILLISECOND"),
        ("EXTRACT(YEAR FROM t)", "YEAR is no unit of TIME"),
        ("EXTRACT(YEAR FROM INTERVAL '1' DAY)", "YEAR is no unit of INTERVAL SECOND"),
        ("DATE '2024-02-30'", "'2024-02-30' is not a DATE such as '2024-02-29'"),
        ("TIMESTAMP '2024-02-29T12:34:56'", "is not a TIMESTAMP such as"),
        (
            "INTERVAL '1:60' HOUR TO MINUTE",
            "is not an interval of HOUR TO MINUTE such as INTERVAL '1:02' HOUR TO MINUTE",
        ),
        ("(d, d) OVERLAPS d", r"expected \("),
        ("{x '2024-02-29'}", "expected d '2024-02-29'"),
    ],
)
def test_what_is_refused_says_why(expression: str, message: str) -> None:
    with pytest.raises(SqlError, match=message):
        type_of(expression)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("CAST('2024-02-29T12:34:56' AS TIMESTAMP(3))", "'2024-02-29T12:34:56' is not a TIMESTAMP such as"),
        ("CAST('12x' AS DATE)", "is not a DATE such as"),
        ("CAST('25:00:00' AS TIME)", "is not a TIME such as"),
        ("TIMESTAMPDIFF(SECOND, DATE '1900-01-01', d)", "do not fit INT; count in a larger unit"),
        ("TO_TIMESTAMP_LTZ('soon')", "'soon' is not a timestamp"),
        ("TO_TIMESTAMP(s, CONCAT(f, '{'))", "must stand in quotes"),
        ("DATE_FORMAT(t3, CONCAT(f, 'X'))", "is a time zone"),
        ("CEIL(TIME '23:30:00' TO HOUR)", "begins on the next day"),
    ],
)
def test_what_fails_on_a_row_says_why(expression: str, message: str) -> None:
    with pytest.raises(AnomalyError, match=message):
        value(expression)


def test_a_name_is_not_taken_for_an_interval() -> None:
    rows = Rows(columns=[("interval", "INT"), ("day", "INT")], rows=[(5, 3)])
    assert query("SELECT interval - day AS x FROM t", {"t": rows}).rows == [(2,)]


def test_nanoseconds_that_state_cannot_hold_do_not_come_in() -> None:
    for given in ("2262-04-12 00:00:00", dt.datetime(2262, 4, 12)):
        with pytest.raises(AnomalyError, match=r"is not a TIMESTAMP\(9\)"):
            query("SELECT t FROM t", {"t": Rows(columns=[("t", "TIMESTAMP(9)")], rows=[(given,)])})
