"""Fields of a ROW in MEASURES and DEFINE, named as in a SELECT list."""

from __future__ import annotations

import pytest

from anomaly_app import Rows, SqlError, query

COLUMNS = [
    ("device", "STRING"),
    ("at", "TIMESTAMP(3)"),
    ("meta", "ROW<site STRING, temp DOUBLE, place ROW<x INT>>"),
    ("ms", "ARRAY<ROW<sensor STRING, reading DOUBLE>>"),
]
ROWS = [
    ("d", "2026-01-01 09:00:00", ("north", 20.0, (1,)), [("a", 22.5)]),
    ("d", "2026-01-01 09:00:10", ("north", 50.0, (2,)), [("a", 99.5)]),
    ("d", "2026-01-01 09:00:20", ("north", None, None), []),
]


def match(measures: str, define: str, pattern: str = "A B", dialect: str = "flink") -> list[tuple[object, ...]]:
    sql = (
        f"SELECT * FROM n MATCH_RECOGNIZE (PARTITION BY device ORDER BY at MEASURES {measures} "
        f"AFTER MATCH SKIP TO NEXT ROW PATTERN ({pattern}) DEFINE {define})"
    )
    return query(sql, {"n": Rows(COLUMNS, ROWS, rowtime="at")}, dialect=dialect).rows


@pytest.mark.parametrize("row", ["{v}.meta", "({v}.meta)", "{v}.`META`"])
def test_fields_of_a_variable(row: str) -> None:
    a, b = row.format(v="A"), row.format(v="b")
    measures = f"{a}.temp AS before, {b}.temp AS now_, {b}.place.x AS x, {b}.site AS site"
    assert match(measures, f"B AS {b}.temp > {a}.temp * 2") == [("d", 20.0, 50.0, 2, "north")]


@pytest.mark.parametrize("dialect", ["flink", "standard"])
@pytest.mark.parametrize(
    ("measure", "define", "pattern", "expected"),
    [
        ("LAST(A.meta.temp)", "B AS B.meta.temp IS NULL", "A{2} B", 50.0),
        ("FIRST(A.meta.place.x)", "B AS B.meta.place.x IS NULL", "A{2} B", 1),
        ("LAST(A.meta.temp, 1)", "B AS B.meta.temp IS NULL", "A{2} B", 20.0),
        ("SUM(A.meta.temp)", "B AS SUM(A.meta.temp) > 60", "A{2} B", 70.0),
        ("MAX(meta.temp)", "B AS B.meta.site = 'north'", "A{2} B", 50.0),
        ("COUNT(A.meta.temp) + 0 * A.meta.place.x", "B AS TRUE", "A{2} B", 2),
        ("A.ms[1].reading", "B AS B.ms[1].reading > 90", "A B", 22.5),
        ("CASE WHEN A.meta.site = 'north' THEN A.meta.temp END", "B AS B.meta.temp = 50", "A B", 20.0),
    ],
)
def test_fields_in_navigation_and_aggregates(
    measure: str, define: str, pattern: str, expected: object, dialect: str
) -> None:
    assert match(f"{measure} AS m", define, pattern, dialect) == [("d", expected)]


def test_fields_of_the_current_row_and_the_one_before() -> None:
    sql = (
        "SELECT * FROM n MATCH_RECOGNIZE (ORDER BY at MEASURES B.meta.temp AS t "
        "PATTERN (B) DEFINE B AS B.meta.temp > PREV(B.meta.temp))"
    )
    rows = Rows(COLUMNS, ROWS, rowtime="at")
    assert query(sql, {"n": rows}, dialect="standard").rows == [(50.0,)]


@pytest.mark.parametrize(
    ("measures", "define", "problem"),
    [
        ("A.meta.tmp AS t", "B AS TRUE", r"has no field 'tmp'"),
        ("A.device.temp AS t", "B AS TRUE", r"device is STRING: it has no field 'temp'"),
        ("C.meta.temp AS t", "B AS TRUE", r"expected a column, or a pattern variable and a column"),
        ("FIRST(A.meta.temp + B.meta.temp) AS t", "B AS TRUE", r"one call is about one variable"),
    ],
)
def test_what_is_wrong_is_said(measures: str, define: str, problem: str) -> None:
    with pytest.raises(SqlError, match=problem):
        match(measures, define)


def test_a_field_in_partition_by_and_order_by() -> None:
    sql = "SELECT * FROM n MATCH_RECOGNIZE (PARTITION BY meta.site ORDER BY at, meta.temp MEASURES B.at AS b " \
          "PATTERN (A B) DEFINE B AS TRUE)"  # fmt: skip
    assert query(sql, {"n": Rows(COLUMNS, ROWS, rowtime="at")}).columns[0] == ("site", "STRING")
