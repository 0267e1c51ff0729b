"""Rows of many keys in small batches: the single run, which takes them one by one, finds what the threads find."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import given, settings, strategies as st

from anomaly_app.expressions.typed import Dialect
from anomaly_app.operators import MAX_WATERMARK, Layout
from anomaly_app.patterns.rule import Rule
from anomaly_app.patterns.single_run import SingleRunMatcher
from anomaly_app.schema import INT, STRING, TIMESTAMP_3, Column, Schema
from anomaly_app.sql import parse_statements

SCHEMA = Schema((Column("k", INT), Column("v", INT), Column("s", STRING), Column("ts", TIMESTAMP_3)), rowtime="ts")
WITHIN = " WITHIN INTERVAL '0.040' SECOND"
RULES = [
    ("flink", "A+? B", "B AS B.v > AVG(A.v) * 2", WITHIN),
    ("flink", "A+? B", "B AS CAST(B.s AS INT) > SUM(CAST(A.s AS INT))", WITHIN),
    ("flink", "A+? B", "B AS CAST(B.s AS INT) > SUM(CAST(A.s AS INT))", ""),
    ("flink", "A B C", "A AS A.v > 5, B AS B.v > A.v - 3, C AS C.v = COUNT(A.v) + 4", WITHIN),
    ("flink", "A B+? C", "A AS A.v = 7, B AS B.v > FIRST(B.v) - 4, C AS C.v > LAST(B.v)", WITHIN),
    ("flink", "A B* C", "A AS A.v < 4, B AS B.v > LAST(A.v), C AS C.v < LAST(B.v)", ""),
    ("standard", "A B+ C", "B AS B.v < PREV(B.v), C AS C.v > PREV(C.v)", WITHIN),
    ("standard", "A B", "A AS A.v > 6 AND A.s <> 'x', B AS B.v > MATCH_NUMBER()", WITHIN),
    ("standard", "A+? B", "A AS A.v > NEXT(A.v), B AS B.v > MAX(A.v)", WITHIN),
]


def rule_of(number: int, **options) -> Rule:
    dialect, pattern, define, within = RULES[number]
    sql = (
        "SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES COUNT(*) AS n "
        f"AFTER MATCH SKIP TO NEXT ROW PATTERN ({pattern}){within} DEFINE {define})"
    )
    (select,) = parse_statements(sql)
    return Rule(select.match, SCHEMA, sql, Dialect(dialect), **options)


def found(rule: Rule, rows, sizes) -> tuple[list, list]:
    """Matches and failures, in an order that does not depend on the strategy."""
    operator, findings, place = rule.create(Layout(SCHEMA.columns)), [], 0
    for size in sizes:
        batch = rows[place : place + size]
        place += size
        if batch:
            findings += operator.process(batch, batch[-1][0])
    findings += operator.process(rows[place:], rows[-1][0]) + operator.advance(MAX_WATERMARK)
    matches = [(f.key, f.time, f.values, [(name, row[1]) for name, row in f.bindings]) for f in findings]
    return matches, sorted((p.key, p.rows[0][1], str(p.error)) for p in operator.problems)


@pytest.mark.parametrize("number", range(len(RULES)))
def test_the_rules_are_run_as_single_runs(number):
    operator = rule_of(number).create(Layout(SCHEMA.columns))
    assert isinstance(operator.matcher, SingleRunMatcher) or "PREV" in RULES[number][2]


@settings(max_examples=int(os.environ.get("ANOMALY_EXAMPLES", 250)), deadline=None)
@given(number=st.integers(0, len(RULES) - 1), seed=st.integers(0, 1 << 32), keys=st.sampled_from([1, 3, 12]))
def test_one_by_one_finds_what_threads_find(number, seed, keys):
    choose = random.Random(seed)
    rows, time = [], 1_000
    for position in range(choose.choice([10, 60])):
        time += choose.choice([0, 1, 2, 9])
        value = choose.choice([None, *range(10)])
        text = choose.choice(["x", *"0123456789", *"0123456789"])
        rows.append((time, position, choose.randrange(keys), value, text, time))
    sizes = [choose.choice([0, 1, 1, 2, 20]) for _ in range(choose.choice([0, 80]))]
    threads = found(rule_of(number, single_run=False, automaton=False), rows, sizes)
    assert found(rule_of(number, automaton=False), rows, sizes) == threads


@pytest.mark.parametrize("seed", [12250, 49474])
def test_a_failing_condition_does_not_hide_when_the_attempts_before_it_were_resolved(seed):
    test_one_by_one_finds_what_threads_find.hypothesis.inner_test(number=1, seed=seed, keys=3)
