"""The detectors of this package in SQL: each can be called, restored and explained."""

from __future__ import annotations

import random

import pytest

from anomaly_app import Rows, SqlValidationError, query

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
