"""``B.v > AVG(A.v) * n``: a floor of the average decides most rows; the others count as Java has them."""

from __future__ import annotations

import ctypes
import datetime

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
    rows = [(k, at, values[at]) for at in range(3) for k, values in enumerate(triples)]  # in order of time
    sql = f"""SELECT k FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES LAST(B.v) AS v
    AFTER MATCH SKIP PAST LAST ROW PATTERN (A A B)
    DEFINE A AS TRUE, B AS B.v {op} AVG(A.v) * {factor}) AS m"""
    columns = [("k", "INT"), ("ts", "TIMESTAMP(3)"), ("v", "INT")]
    start = datetime.datetime(2024, 1, 1)
    times = [start + datetime.timedelta(milliseconds=number) for number in range(len(rows))]
    table = Rows(columns, [(k, at, v) for at, (k, _, v) in zip(times, rows, strict=True)], rowtime="ts")
    compare = {">": int.__gt__, "<=": int.__le__, "<": int.__lt__, ">=": int.__ge__}[op]
    expected = {k for k, (a, b, x) in enumerate(triples) if compare(x, ctypes.c_int32(average((a, b)) * factor).value)}
    found = {row[0] for row in query(sql, {"t": table}).rows}
    assert found == expected
