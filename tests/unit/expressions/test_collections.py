"""ARRAY, MAP and ROW: values that a real Flink 2.3 gave, and what is refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from anomaly_app import AnomalyError, Rows, query

COLUMNS = [("ai", "ARRAY<INT>"), ("ss", "ARRAY<STRING>"), ("ad", "ARRAY<DOUBLE>"), ("aa", "ARRAY<ARRAY<INT>>"),
           ("m", "MAP<STRING, INT>"), ("r", "ROW<a INT, b STRING>"), ("e", "INT"), ("k", "STRING")]  # fmt: skip
ROW = ([3, 1, None, 3], ["b", "a", None], [1.5, -1e-7], [[1, None], [2]], {"a": 1, "z": None}, (7, "x"), 3, "a")


def one(expression: str) -> Any:
    ((value,),) = query(f"SELECT {expression} FROM t", {"t": Rows(COLUMNS, [ROW])}).rows
    return value


@pytest.mark.parametrize(
    ("call", "value"),
    [
        ("ARRAY[e, 1.5]", [Decimal("3.0"), Decimal("1.5")]),
        ("ARRAY['a', 'bcd'][1] || '|'", "a|"),
        ("MAP[k, e, 'b', NULL]", {"a": 3, "b": None}),
        ("CAST(ROW(e, k) AS ROW<x BIGINT, y STRING>).y", "a"),
        ("r['b']", "x"),
        ("(e, k) IN ((2, 'a'), (3, 'a'))", True),
        ("(e, k) NOT IN ((2, 'a'), (3, 'b'))", True),
        ("(e, CAST(NULL AS INT)) IN ((3, 1), (4, 1))", None),
        ("(e, CAST(NULL AS INT)) IN ((2, 1), (4, 1))", False),
        ("ai[9]", None),
        ("CARDINALITY(MAP_KEYS(m))", 2),
        ("ELEMENT(ARRAY[e])", 3),
        ("ARRAY_APPEND(ai, NULL)", [3, 1, None, 3, None]),
        ("ARRAY_PREPEND(ss, k)", ["a", "b", "a", None]),
        ("ARRAY_CONCAT(ai, ARRAY[9])", [3, 1, None, 3, 9]),
        ("ARRAY_CONTAINS(ai, NULL)", True),
        ("ARRAY_CONTAINS(ad, 1.5)", True),
        ("ARRAY_POSITION(ai, e)", 1),
        ("ARRAY_POSITION(ai, NULL)", None),
        ("ARRAY_REMOVE(ai, NULL)", [3, 1, 3]),
        ("ARRAY_DISTINCT(ai)", [3, 1, None]),
        ("ARRAY_DISTINCT(aa)", [[1, None], [2]]),
        ("ARRAY_UNION(ai, ARRAY[5, 1])", [3, 1, None, 5]),
        ("ARRAY_EXCEPT(ai, ARRAY[3])", [1, None]),
        ("ARRAY_INTERSECT(ai, ARRAY[3, 3])", [3]),
        ("ARRAY_JOIN(ss, '-')", "b-a"),
        ("ARRAY_JOIN(ss, '-', '?')", "b-a-?"),
        ("ARRAY_JOIN(ss, NULL)", None),
        ("ARRAY_MAX(ai)", 3),
        ("ARRAY_MIN(ss)", "a"),
        ("ARRAY_SORT(ai)", [None, 1, 3, 3]),
        ("ARRAY_SORT(ai, FALSE)", [3, 3, 1, None]),
        ("ARRAY_SORT(ai, FALSE, TRUE)", [None, 3, 3, 1]),
        ("ARRAY_REVERSE(ai)", [3, None, 1, 3]),
        ("ARRAY_SLICE(ai, -2)", [None, 3]),
        ("ARRAY_SLICE(ai, 0, 2)", [3, 1]),
        ("ARRAY_SLICE(ai, -2, 0)", []),
        ("ARRAY_SLICE(ai, 1, -5)", [3]),
        ("ARRAY_SLICE(ai, 1, -6)", []),
        ("ARRAY_SLICE(ai, e, NULL)", None),
        ("MAP_VALUES(m)", [1, None]),
        ("MAP_ENTRIES(m)[1].key", "a"),
        ("MAP_UNION(m, MAP['a', 9])", {"a": 9, "z": None}),
        ("MAP_FROM_ARRAYS(ARRAY['a', 'b'], ARRAY[1, 2])", {"a": 1, "b": 2}),
        ("COALESCE(ai, ARRAY[0])", [3, 1, None, 3]),
        ("TYPEOF(ai)", "ARRAY<INT>"),
        ("CAST(ai AS STRING)", "[3, 1, NULL, 3]"),
        ("CAST(aa AS VARCHAR(8))", "[[1, NUL"),
        ("CAST(ad AS STRING)", "[1.5, -1.0E-7]"),
        ("CAST(m AS STRING)", "{a=1, z=NULL}"),
        ("CAST(r AS STRING)", "(7, x)"),
        ("CAST(ARRAY[TRUE, FALSE] AS STRING)", "[TRUE, FALSE]"),
        ("CAST(aa AS ARRAY<STRING>)", ["[1, NULL]", "[2]"]),
        ("CAST(ai AS ARRAY<STRING>)", ["3", "1", None, "3"]),
        ("CAST(m AS MAP<STRING, STRING>)", {"a": "1", "z": None}),
        ("CAST(r AS ROW<x STRING, y STRING>)", ("7", "x")),
        ("TRY_CAST(ss AS ARRAY<INT>)", None),
    ],
)
def test_values(call: str, value: Any) -> None:
    assert one(call) == value


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("ARRAY[]", "at least one element"),
        ("ARRAY[NULL]", "have no type"),
        ("ARRAY[1, 'a']", "no common type"),
        ("MAP['a']", "in turn"),
        ("MAP[]", "in turn"),
        ("ROW()", "at least 1"),
        ("ai[0]", "counted from 1"),
        ("ai['1']", "indexed by a whole number"),
        ("m[1]", "the keys of this MAP are STRING"),
        ("m[NULL]", "a bare NULL"),
        ("r['zzz']", "no field"),
        ("ELEMENT(ai)", "has more"),
        ("ARRAY_APPEND(ai, 2.5)", "must be like the elements"),
        ("ARRAY_CONTAINS(ai, '1')", "must be like the elements"),
        ("ARRAY_JOIN(ai, ',')", r"CAST it to ARRAY<STRING>"),
        ("ARRAY_SORT(aa)", "have no order"),
        ("ARRAY_MAX(aa)", "have no order"),
        ("ARRAY_SORT(ARRAY[TRUE])", "have no order"),
        ("MAP_UNION(m, NULL)", "a bare NULL"),
        ("MAP_FROM_ARRAYS(ss, ai)", "3 keys and 4 values"),
        ("CAST(ss AS ARRAY<INT>)", "'b'"),
        ("CAST(r AS ROW<a INT>)", "cannot be cast"),
        ("CAST(aa AS MAP<STRING, STRING>)", "cannot be cast"),
        ("TYPEOF(UPPER(k))", "TYPEOF"),
    ],
)
def test_refusals_say_why(call: str, words: str) -> None:
    with pytest.raises(AnomalyError, match=words):
        one(call)
