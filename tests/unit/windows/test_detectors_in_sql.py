"""The detectors of this package in SQL: each can be called, restored and explained."""

from __future__ import annotations

import random

import pytest

from anomaly_app import Rows, SqlValidationError, query
from anomaly_app.jobs.binder import bind_text
from anomaly_app.operators import Layout
from anomaly_app.plan.detector_functions import functions
from anomaly_app.schema import Column, Schema
from anomaly_app.sql import parse_type
from anomaly_app.testing.contract import check_batches, check_restore, merged, steps_of

OVER = "OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
COLUMNS = [("k", "STRING"), ("v", "DOUBLE"), ("shop", "STRING"), ("sent", "BOOLEAN"), ("ts", "TIMESTAMP(3)")]


def payments(count=300):
    draw = random.Random(1)

    def at(number):
        return f"2026-01-01 09:{number // 60:02d}:{number % 60:02d}"

    rows = [
        (draw.choice("ab"), draw.gauss(10, 1), draw.choice("xyz"), draw.random() < 0.5, at(n)) for n in range(count)
    ]
    rows[-1] = ("a", 10.0, "nowhere", True, rows[-1][-1])
    return Rows(COLUMNS, rows, rowtime="ts")


def outliers(values, options):
    return f"""SELECT shop, r.contributions FROM (
        SELECT shop, DETECT_OUTLIERS({values}, ts, JSON_OBJECT({options})) {OVER} AS r FROM t) WHERE r.is_anomaly"""


def test_texts_are_categories_and_truths_are_numbers():
    sql = outliers("ROW(v, shop, sent)", "'categories' VALUE 'shop', 'minTrainingSize' VALUE 40")
    rows = query(sql, {"t": payments()}).rows
    shop, contributions = rows[-1]
    assert shop == "nowhere" and max(contributions, key=contributions.get) == "shop"
    assert set(contributions) == {"v", "shop", "sent"}


@pytest.mark.parametrize(
    ("values", "options", "marked", "message"),
    [
        ("ROW(v, shop)", "'minTrainingSize' VALUE 40", "shop", "shop is STRING, and not named in the option 'categ"),
        ("ROW(v, shop)", "'categories' VALUE 'shop, x'", "'categories' VALUE 'shop, x'", "'x' is no field"),
        ("ROW(v, ts)", "'categories' VALUE 'ts'", "ts", "a ROW of numbers, not TIMESTAMP(3)"),
        ("ROW()", "", "ROW()", "this ROW is empty"),
    ],
)
def test_what_cannot_be_judged_is_refused(values, options, marked, message):
    sql = outliers(values, options)
    with pytest.raises(SqlValidationError) as caught:
        query(sql, {"t": payments(1)})
    assert message in caught.value.problem and sql[caught.value.start : caught.value.end] == marked


def judged(call, select="r"):
    return f"SELECT {select} FROM (SELECT v, {call} {OVER} AS r FROM t)"


def test_bounds_and_flags_of_ml_detect_anomalies():
    sql = judged("ML_DETECT_ANOMALIES(v, $rowtime, JSON_OBJECT('minTrainingSize' VALUE 32))", "v, r")
    rows = query(sql, {"t": payments()}).rows
    assert [row[1][5] for row in rows[:20]] == [None] * 20
    known = [row for _, row in rows if row[5] is not None]
    assert len(known) > 200 and all(row[1] is not None and row[6] is not None for row in known)
    assert all(row[5] == (not row[3] <= row[1] <= row[4]) for row in known)
    assert 9 < sum(row[2] for row in known) / len(known) < 11


def test_a_forecast_is_an_array_of_rows():
    sql = judged("ML_FORECAST(v, ts, JSON_OBJECT('horizon' VALUE 3, 'minTrainingSize' VALUE 32))",
                 "r[1].forecast_value AS a, r[3].upper_bound AS b, r[4] IS NULL AS c")  # fmt: skip
    rows = query(sql, {"t": payments()}).rows
    first, upper, beyond = rows[-1]
    assert 8 < first < 12 < upper < 15 and beyond is True


def test_the_robust_detector_takes_one_value_or_several():
    one = query(judged("ML_DETECT_ANOMALIES_ROBUST(v, ts, JSON_OBJECT('window' VALUE 16))", "r.is_anomaly"),
                {"t": payments()}).rows  # fmt: skip
    two = query(judged("ML_DETECT_ANOMALIES_ROBUST(ROW(v, v * 2), ts, JSON_OBJECT('window' VALUE 16))", "r.is_anomaly"),
                {"t": payments()}).rows  # fmt: skip
    assert {flag for (flag,) in one} == {None, False, True}
    assert [flag for (flag,) in one] == [flag for (flag,) in two]


FUNCTIONS = ("ML_DETECT_ANOMALIES", "ML_FORECAST", "ML_DETECT_ANOMALIES_ROBUST", "DETECT_OUTLIERS", "ANOMALY_SCORE")


def test_sql_knows_them_all():
    assert set(functions()) == set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_unknown_option_lists_the_valid_ones(name):
    sql = judged(f"{name}(v, ts, JSON_OBJECT('trainingSize' VALUE 1))")
    with pytest.raises(SqlValidationError) as caught:
        query(sql, {"t": payments(1)})
    assert f"{name} has no option 'trainingSize'; its options are " in caught.value.problem
    assert sql[caught.value.start : caught.value.end] == "'trainingSize' VALUE 1"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_keeps_the_operator_contract(name):
    """Behind their first verdicts; each has a suite of its own for the rest."""
    arima = "'minTrainingSize' VALUE 16, 'p' VALUE 1, 'd' VALUE 0, 'q' VALUE 0"
    given = {"ML_DETECT_ANOMALIES": arima, "ML_FORECAST": arima, "ML_DETECT_ANOMALIES_ROBUST": "'window' VALUE 8",
             "DETECT_OUTLIERS": "'minTrainingSize' VALUE 16"}  # fmt: skip
    schema = Schema(tuple(Column(column, parse_type(type_)) for column, type_ in COLUMNS), rowtime="ts")
    factory = bind_text(judged(f"{name}(v, ts, JSON_OBJECT({given.get(name, '')}))"), {"t": schema}).factory
    layout = Layout(schema.columns)
    draw = random.Random(2)
    rows = [
        (second, second, draw.choice("ab"), draw.gauss(10, 1) + 9 * (second % 17 == 0), "x", True, second)
        for second in range(60)
    ]
    steps = list(merged(steps_of(rows), range(7, 60, 7)))
    expected = check_batches(lambda: factory.create(layout), steps, seed=1, splits=3)
    verdict = expected[-1][2][0]
    if name == "ML_FORECAST":
        assert verdict[-1][1] is not None
    elif name == "ANOMALY_SCORE":
        assert 0 <= verdict <= 1
    else:
        assert any(isinstance(part, bool) for part in verdict)
    check_restore(lambda: factory.create(layout), steps, expected, seed=1)
