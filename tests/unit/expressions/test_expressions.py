"""Typed expressions: values, NULL, types, and what is refused before any row."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest

from anomaly_app import EvaluationError, SqlValidationError
from anomaly_app.jobs.binder import bind_text
from anomaly_app.schema import Column, Schema
from anomaly_app.sql import parse_type

TABLE = {
    "i": ("INT", 7),
    "j": ("INT", -2),
    "z": ("INT", 0),
    "b": ("BIGINT", 1 << 40),
    "d": ("DOUBLE", 2.5),
    "m": ("DECIMAL(5, 2)", Decimal("9.90")),
    "s": ("STRING", "Abc"),
    "digits": ("STRING", " 12.9 "),
    "t": ("BOOLEAN", True),
    "f": ("BOOLEAN", False),
    "u": ("BOOLEAN", None),
    "n": ("INT", None),
    "ts": ("TIMESTAMP(3)", 1_700_000_000_123),
    "day": ("DATE", 19_675),
    "a": ("ARRAY<INT>", [1, 2]),
    "r": ("ROW<x INT, y STRING>", (5, "y")),
}
SCHEMA = Schema(tuple(Column(name, parse_type(type_)) for name, (type_, _) in TABLE.items()))
ROW = (0, 0, *(value for _, value in TABLE.values()))


def evaluate(expression: str, dialect: str = "flink") -> tuple[Any, str]:
    """Value and type of an expression over the one row."""
    bound = bind_text(f"SELECT {expression} AS x FROM t", {"t": SCHEMA}, dialect)
    operator = bound.factory.create(bound.layout)
    found = operator.process([ROW], 1)
    if operator.problems:
        raise operator.problems[0].error
    return found[0].values[0], str(bound.factory.output[0].type.with_nullable(True))


def passes(condition: str) -> bool:
    bound = bind_text(f"SELECT i FROM t WHERE {condition}", {"t": SCHEMA})
    return bool(bound.factory.create(bound.layout).process([ROW], 1))


@pytest.mark.parametrize(
    ("expression", "value", "type_"),
    [
        ("i + j * 3", 1, "INT"),
        ("i / j", -3, "INT"),
        ("i % j", 1, "INT"),
        ("-i", -7, "INT"),
        ("i + b", (1 << 40) + 7, "BIGINT"),
        ("i / d", 2.8, "DOUBLE"),
        ("d / 0", math.inf, "DOUBLE"),
        ("m + 1", Decimal("10.90"), "DECIMAL(13, 2)"),
        ("m * m", Decimal("98.0100"), "DECIMAL(10, 4)"),
        ("n + 1", None, "INT"),
        ("s || '!'", "Abc!", "STRING"),
        ("CAST(digits AS INT)", 12, "INT"),
        ("TRY_CAST(s AS INT)", None, "INT"),
        ("CAST(i AS STRING)", "7", "STRING"),
        ("CAST(d AS INT)", 2, "INT"),
        ("CAST(m AS DOUBLE)", 9.9, "DOUBLE"),
        ("CAST('2023-11-14' AS DATE)", 19_675, "DATE"),
        ("CAST(day AS TIMESTAMP(3))", 19_675 * 86_400_000, "TIMESTAMP(3)"),
        ("CAST(ts AS STRING)", "2023-11-14 22:13:20.123", "STRING"),
        ("ts + INTERVAL '1' HOUR", 1_700_003_600_123, "TIMESTAMP(3)"),
        ("day + INTERVAL '1' MONTH", 19_705, "DATE"),
        ("CASE WHEN n > 1 THEN 'a' WHEN i > 1 THEN 'b' END", "b", None),
        ("CASE i WHEN 7 THEN 1.5 ELSE 2 END", Decimal("1.5"), None),
        ("COALESCE(n, i)", 7, "INT"),
        ("NULLIF(i, 7)", None, "INT"),
        ("UPPER(s)", "ABC", "STRING"),
        ("CHAR_LENGTH(s)", 3, "INT"),
        ("ABS(j)", 2, "INT"),
        ("a[2]", 2, "INT"),
        ("a[3]", None, "INT"),
        ("r.x + 1", 6, "INT"),
    ],
)
def test_values_and_types(expression, value, type_):
    found, shown = evaluate(expression)
    assert found == (pytest.approx(value) if isinstance(value, float) else value)
    assert type(found) is type(value)
    assert type_ is None or shown == type_


@pytest.mark.parametrize("left", ["t", "f", "u"])
@pytest.mark.parametrize("right", ["t", "f", "u"])
def test_three_valued_logic(left, right):
    a, b = TABLE[left][1], TABLE[right][1]
    both = False if a is False or b is False else None if a is None or b is None else True
    either = True if a or b else None if a is None or b is None else False
    assert evaluate(f"{left} AND {right}")[0] is both
    assert evaluate(f"{left} OR {right}")[0] is either
    assert evaluate(f"NOT ({left} AND {right})")[0] is (None if both is None else not both)
    assert passes(f"{left} OR {right}") is (either is True)
    assert passes(f"NOT ({left} OR {right})") is (either is False)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("n > 1", False),
        ("NOT n > 1", False),
        ("n IS NULL", True),
        ("(n > 1) IS UNKNOWN", True),
        ("(n > 1) IS NOT TRUE", True),
        ("n IS NOT DISTINCT FROM NULL", True),
        ("i BETWEEN 1 AND n", False),
        ("NOT i BETWEEN 8 AND n", True),
        ("i IN (1, 7)", True),
        ("i NOT IN (1, n)", False),
        ("i IN (7, n)", True),
        ("s LIKE 'A_c'", True),
        ("s NOT LIKE '%b%'", False),
        ("digits > 12", False),
        ("i = '7'", True),
        ("i = 7.0 AND d < m", True),
        ("ts > '2023-11-14 00:00:00'", True),
    ],
)
def test_conditions(condition, expected):
    assert passes(condition) is expected


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("i / z", "division by zero"),
        ("i % z", "division by zero"),
        ("CAST(s AS INT)", "'Abc' is not a whole number"),
        ("CAST(b AS INT)", "does not fit INT"),
        ("CAST(day + INTERVAL '900000' MONTH(6) AS STRING)", "year"),
    ],
)
def test_errors_on_the_data(expression, message):
    with pytest.raises(EvaluationError, match=message):
        evaluate(expression)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("i AND t", "the operand of AND must be BOOLEAN, not INT"),
        ("NOT i", "the operand of NOT must be BOOLEAN, not INT"),
        ("-s", "- needs a number, not STRING"),
        ("s || i", r"\|\| needs text, not INT"),
        ("t > 1", "BOOLEAN cannot be compared with INT"),
        ("CASE WHEN t THEN 1 ELSE 'x' END", "the results of CASE have no common type"),
        ("UPPER(i)", "argument 1 of UPPER must be text, not INT"),
        ("UPPER(s, s)", "UPPER takes"),
        ("CAST(t AS DATE)", "BOOLEAN cannot be cast to DATE"),
        ("r.q", "has no field 'q'"),
        ("FIRST(i)", "FIRST may stand inside MATCH_RECOGNIZE only"),
        ("x.i", "unknown column 'x'"),
    ],
)
def test_type_errors_come_before_any_row(expression, message):
    with pytest.raises(SqlValidationError, match=message):
        evaluate(expression)


def test_dialects_differ_in_averages_only_where_the_standard_does():
    sql = "SELECT x FROM t MATCH_RECOGNIZE (ORDER BY ts MEASURES AVG(A.i) AS x PATTERN (A))"
    schema = Schema(SCHEMA.columns, rowtime="ts")
    assert str(bind_text(sql, {"t": schema}, "flink").factory.output[0].type) == "INT"
    assert str(bind_text(sql, {"t": schema}, "standard").factory.output[0].type) == "DOUBLE"
