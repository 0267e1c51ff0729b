"""Queries with detectors over rows: what comes before, beside and around the detector, and what is flagged."""

from __future__ import annotations

from datetime import datetime

import pytest
from sample_detector import use_sample_functions

from anomaly_app import DecodeError, EvaluationError, Rows, query
from anomaly_app.jobs.binder import bind_text
from anomaly_app.operators import Layout
from anomaly_app.schema import DOUBLE, STRING, TIMESTAMP_3, Column, Schema

COLUMNS = [("k", "STRING"), ("v", "DOUBLE"), ("w", "DECIMAL(10, 2)"), ("n", "BIGINT"), ("ts", "TIMESTAMP(3)")]
OVER = "OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
ALL = OVER.replace("PARTITION BY k ", "")
CALL = f"ML_DETECT_ANOMALIES(v, ts, JSON_OBJECT('minTrainingSize' VALUE 2)) {OVER}"


@pytest.fixture(autouse=True)
def sample_functions(monkeypatch):
    use_sample_functions(monkeypatch)


def at(second):
    return f"2026-01-01 09:00:{second:06.3f}"


def run(sql, values, *, keys=None, order=None, **given):
    """Rows a second apart; ``order`` is the order in which they arrive."""
    rows = [
        (
            "x" if keys is None else keys[number],
            value,
            None if value is None or value != value else f"{value:.2f}",
            number,
            at(number),
        )
        for number, value in enumerate(values)
    ]
    table = Rows(COLUMNS, [rows[place] for place in order] if order else rows, rowtime="ts", **given)
    return query(sql, {"t": table}).rows


def test_every_row_gives_a_row_and_is_judged_by_those_before():
    rows = run(f"SELECT v, r[6] AS flag, r.forecast_value FROM (SELECT v, {CALL} AS r FROM t)", [4, 6, 5, 9, 5])
    assert rows == [(4, None, None), (6, None, None), (5, False, 5), (9, True, 5), (5, False, 6)]


def test_the_result_is_a_row_with_names():
    result = query(f"SELECT {CALL} AS r FROM t", {"t": Rows(COLUMNS, [("x", 4, None, 0, at(1))], rowtime="ts")})
    assert result.columns[0][1].startswith("ROW<`timestamp` TIMESTAMP(3), `actual_value` DOUBLE, ")
    assert result.rows == [((datetime(2026, 1, 1, 9, 0, 1), 4.0, None, None, None, None, 0, 0.0),)]


def test_keys_are_apart_and_rows_in_order_of_time():
    sql = f"SELECT k, n, r.seen FROM (SELECT k, n, {CALL} AS r FROM t)"
    rows = run(sql, range(6), keys="xyxyyx", order=[1, 0, 2, 5, 4, 3], watermark_delay_ms=10_000)
    assert rows == [("x", 0, 0), ("y", 1, 0), ("x", 2, 1), ("y", 3, 1), ("y", 4, 2), ("x", 5, 2)]


def test_null_is_a_missing_value():
    sql = f"SELECT v, r.actual_value, r.seen FROM (SELECT v, {CALL} AS r FROM t)"
    rows = run(sql, [4, None, float("nan"), 6])
    assert rows[0] == (4, 4, 0) and rows[1] == (None, None, 1) and rows[2][1:] == (None, 1) and rows[3] == (6, 6, 1)


def test_infinity_is_not_learnt_from():
    rows = run(f"SELECT r.seen, r.total FROM (SELECT {CALL} AS r FROM t)", [4, 6])
    table = Rows([("k", "STRING"), ("v", "DOUBLE"), ("ts", "TIMESTAMP(3)")],
                 [("x", 4, at(0)), ("x", float("inf"), at(1)), ("x", 6, at(2))], rowtime="ts")  # fmt: skip
    found = query(f"SELECT r.seen, r.total FROM (SELECT {CALL} AS r FROM t)", {"t": table}).rows
    assert found == [rows[0], (1, 4.0), (1, 4.0)]


def test_where_below_takes_rows_from_the_detector_and_where_around_from_the_result():
    below = f"SELECT n, r.seen FROM (SELECT n, {CALL} AS r FROM t WHERE v > 2)"
    assert run(below, [1, 3, 1, 4, 5]) == [(1, 0), (3, 1), (4, 2)]
    around = f"SELECT n, r.seen FROM (SELECT n, v, {CALL} AS r FROM t) WHERE v > 2"
    assert run(around, [1, 3, 1, 4, 5]) == [(1, 1), (3, 3), (4, 4)]


def test_queries_may_be_nested_on_both_sides():
    sql = """
        SELECT id * 10 AS id, seen FROM (
            SELECT x.id, x.r.seen AS seen FROM (
                SELECT id, ML_DETECT_ANOMALIES(double_v, time) OVER (PARTITION BY key ORDER BY time) AS r
                FROM (SELECT k AS key, n AS id, v * 2 AS double_v, $rowtime AS time FROM t WHERE n <> 1) AS inside
                WHERE inside.id <> 2
            ) AS x
            WHERE x.id > 0
        ) WHERE seen >= 0"""
    assert run(sql, [1, 1, 1, 1, 1]) == [(30, 1), (40, 2)]


def test_one_sided_filters():
    sql = f"SELECT v FROM (SELECT v, {CALL} AS r FROM t) WHERE r.is_anomaly AND r.actual_value > r.upper_bound"
    assert run(sql, [4, 6, 5, 90, -90, 5]) == [(90,)]
    assert run(sql.replace(">", "<").replace("upper", "lower"), [4, 6, 5, 90, -900, 5]) == [(-900,)]


def test_several_detectors_with_options_of_their_own():
    narrow = CALL.replace("VALUE 2", "VALUE 2, 'width' VALUE 0.5")
    sql = f"SELECT a[6], b[6], c.total FROM (SELECT {CALL} AS a, {narrow} AS b, " \
          f"ML_DETECT_ANOMALIES_ROBUST(ROW(v, n, w), ts) {OVER} AS c FROM t)"  # fmt: skip
    assert run(sql, [4, 6, 5, 6, 50]) == [
        (None, None, 0), (None, None, 8), (False, False, 8 + 13), (False, True, 8 + 13 + 12), (True, True, 48),
    ]  # fmt: skip


def test_detectors_stand_in_expressions():
    sql = f"SELECT CASE WHEN {CALL}[6] THEN 'no' ELSE 'yes' END AS ok, ({CALL}).seen + 1 AS number, v FROM t"
    assert run(sql, [4, 6, 5, 9]) == [("yes", 1, 4), ("yes", 2, 6), ("yes", 3, 5), ("no", 4, 9)]


def test_everything_and_the_result():
    rows = run(f"SELECT *, {CALL} AS r FROM t AS o", [4])
    assert rows[0][:2] == ("x", 4) and rows[0][-1][1] == 4


def test_numbers_of_all_types():
    for column in ("v", "w", "n", "CAST(n AS INT)", "v + w"):
        sql = f"SELECT r.total FROM (SELECT ML_DETECT_ANOMALIES({column}, ts) {ALL} AS r FROM t)"
        assert run(sql, [0, 1, 2])[2][0] == (2.0 if column == "v + w" else 1.0)


def test_a_row_that_fails_is_a_problem_and_not_learnt_from():
    schema = Schema((Column("k", STRING), Column("v", DOUBLE), Column("ts", TIMESTAMP_3)), rowtime="ts")
    factory = bind_text(f"SELECT r.seen FROM (SELECT ML_DETECT_ANOMALIES(CAST(k AS INT), ts) {ALL} AS r FROM t)",
                        {"t": schema}).factory  # fmt: skip
    operator = factory.create(Layout(schema.columns))
    found = operator.process([(1, 0, "1", 0.0, 1), (2, 1, "one", 0.0, 2), (3, 2, "3", 0.0, 3)], 3)
    assert [finding.values for finding in found] == [(0,), (1,)]
    (problem,) = operator.problems
    assert isinstance(problem.error, EvaluationError) and problem.rows[0][1] == 1


def test_a_row_that_fails_around_the_detector_is_learnt_from():
    sql = f"SELECT 6 / (v - 1) AS x, r.seen FROM (SELECT CAST(v AS INT) AS v, {CALL} AS r FROM t)"
    with pytest.raises(EvaluationError):
        run(sql, [0, 1, 2])


def test_subqueries_need_no_detector():
    schema = Schema((Column("v", DOUBLE), Column("ts", TIMESTAMP_3)), rowtime="ts")
    sql = "SELECT x + 1 AS y FROM (SELECT v * 2 AS x, ts FROM t WHERE v > 1) AS s WHERE s.x < 9"
    factory = bind_text(sql, {"t": schema}).factory
    assert factory.reads == ("v",) and factory.alert_type == "selection"
    assert factory.description == "filter v > 1 and s.x < 9"
    assert run(sql, [1, 2, 3, 5]) == [(5,), (7,)]
    pattern = """SELECT a + 1 AS b FROM (SELECT m.a, m.c FROM t
        MATCH_RECOGNIZE (ORDER BY ts MEASURES A.n AS a, B.n AS c PATTERN (A B) DEFINE A AS A.v > 2) AS m) WHERE c < 4"""
    assert run(pattern, [1, 3, 3, 9, 1]) == [(2,), (3,)]


def test_a_wrong_value_is_an_error_as_everywhere():
    with pytest.raises(DecodeError, match="no row of table t can be read; the first: row 1: column v"):
        query(f"SELECT {CALL} AS r FROM t", {"t": Rows(COLUMNS, [("x", "much", None, 0, at(0))], rowtime="ts")})
