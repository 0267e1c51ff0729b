"""``B.v > AVG(A.v) * n``: a floor of the average decides most rows; the others count as Java has them."""

from __future__ import annotations

import ctypes

import pytest

from anomaly_app import Rows, query

GREAT = (1 << 31) - 1
VALUES = (-GREAT - 1, -GREAT // 3 - 1, -7, -1, 0, 2, 5, GREAT // 3, GREAT // 3 + 1, (1 << 30) + 1, GREAT)


def average(values: tuple[int, ...]) -> int:
    total = sum(values)
    return abs(total) // len(values) * (1 if total >= 0 else -1)


@pytest.mark.parametrize("factor", [1, 3, 1 << 20, (1 << 20) + 1])
@pytest.mark.parametrize("op", [">", "<=", "<", ">="])
def test_as_in_java(factor: int, op: str) -> None:
    triples = [(a, b, x) for a in VALUES for b in (a, 0, -8, 5) for x in VALUES]
    rows = [(k, at, v) for k, values in enumerate(triples) for at, v in enumerate(values)]
    sql = f"""SELECT k FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES LAST(B.v) AS v
    AFTER MATCH SKIP PAST LAST ROW PATTERN (A A B)
    DEFINE A AS TRUE, B AS B.v {op} AVG(A.v) * {factor}) AS m"""
    columns = [("k", "INT"), ("ts", "TIMESTAMP(3)"), ("v", "INT")]
    table = Rows(columns, [(k, f"2024-01-01 00:00:00.{at:03d}", v) for k, at, v in rows], rowtime="ts")
    compare = {">": int.__gt__, "<=": int.__le__, "<": int.__lt__, ">=": int.__ge__}[op]
    expected = {k for k, (a, b, x) in enumerate(triples) if compare(x, ctypes.c_int32(average((a, b)) * factor).value)}
    found = {row[0] for row in query(sql, {"t": table}).rows}
    assert found == expected
