"""What is computed once per row, and what must not be seen of it."""

from __future__ import annotations

import time

import pytest

from anomaly_app.expressions.typed import Dialect
from anomaly_app.limits import Limits
from anomaly_app.operators import MAX_WATERMARK, Layout
from anomaly_app.patterns.automaton import AutomatonMatcher
from anomaly_app.patterns.matcher import Matcher
from anomaly_app.patterns.rule import Rule
from anomaly_app.patterns.single_run import SingleRunMatcher
from anomaly_app.schema import INT, STRING, TIMESTAMP_3, Column, Schema
from anomaly_app.sql import parse_statements

SCHEMA = Schema((Column("v", INT), Column("s", STRING), Column("ts", TIMESTAMP_3)), rowtime="ts")


def operator_of(pattern: str, define: str, dialect: Dialect = Dialect.STANDARD, **options):
    sql = f"SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts MEASURES COUNT(*) AS n PATTERN ({pattern}) DEFINE {define})"
    (select,) = parse_statements(sql)
    return Rule(select.match, SCHEMA, sql, dialect, **options).create(Layout(SCHEMA.columns))


def matches(operator, rows):
    """Labels of the matches, one letter for each row."""
    given = [(n, n, v, s, n) for n, (v, s) in enumerate(rows)]
    found = operator.process(given, len(given)) + operator.advance(MAX_WATERMARK)
    return ["".join(name for name, _ in finding.bindings) for finding in found]


@pytest.mark.parametrize(
    ("pattern", "define", "strategy"),
    [
        ("A+? B", "B AS B.v > AVG(A.v)", SingleRunMatcher),
        ("A B", "B AS B.v > 3", SingleRunMatcher),
        ("A+? B", "B AS B.v > 3", AutomatonMatcher),
        ("A+ B+", "B AS B.v > PREV(B.v)", AutomatonMatcher),
        ("A+ B+", "B AS B.v > FIRST(A.v)", Matcher),
        ("A+ B+", "B AS B.v > MATCH_NUMBER()", Matcher),
    ],
)
def test_the_strategy_that_fits(pattern, define, strategy):
    assert type(operator_of(pattern, define).matcher) is strategy


def test_a_value_is_computed_once_and_needs_no_test_for_null():
    source = operator_of("A+? B", "B AS CAST(B.s AS INT) > 3 * AVG(CAST(A.s AS INT))").matcher.sources["advance"]
    assert "s0" in source and "s1" not in source and "is None" not in source.replace("best is not None", "")


def test_rows_with_a_null_among_others():
    define = "B AS B.v > 3 * MAX(A.v)"
    rows = [(1, ""), (None, ""), (2, ""), (None, ""), (7, ""), (1, ""), (9, "")]
    assert matches(operator_of("A+? B", define), rows) == ["AAAAB", "AB"]


@pytest.mark.parametrize(
    "define", ["B AS B.v > 5 AND CAST(B.s AS INT) > SUM(A.v)", "B AS B.v > 5 AND CAST(B.s AS INT) > 3"]
)
def test_a_cast_that_is_not_asked_for_does_not_fail(define):
    """The strategies compute values and conditions before a match asks for them, but only what it asks for counts."""
    operator = operator_of("A+? B", define)
    assert matches(operator, [(1, "x"), (2, "y"), (6, "9"), (1, "z"), (7, "8")]) == ["AAB", "AB"]
    assert not operator.problems


@pytest.mark.parametrize("define", ["B AS CAST(B.s AS INT) > SUM(A.v)", "B AS CAST(B.s AS INT) > 3"])
def test_a_cast_that_fails_is_reported_by_each_attempt(define):
    for strategies in ({}, {"single_run": False, "automaton": False}):
        operator = operator_of("A+? B", define, **strategies)
        assert matches(operator, [(1, "1"), (1, "1"), (1, "bad"), (1, "9"), (1, "9")]) == ["AB"]
        assert [problem.rows[0][0] for problem in operator.problems] == [2, 2]


@pytest.mark.parametrize("pattern", ["A+ B", "A+ B+ C", "(A | C)+ B", "(A? ){25} A{25} B"])
def test_starts_that_fail_late_cost_one_step_each(pattern):
    """As attempts they would take 50 million rows."""
    define = "A AS A.v > 0, B AS B.v < 0" + (", C AS C.v > 0" if "C" in pattern else "")
    begin = time.perf_counter()
    assert matches(operator_of(pattern, define), [(1, "")] * 10_000) == []
    assert time.perf_counter() - begin < 5


def test_too_many_threads_are_reported():
    for strategies in ({}, {"automaton": False}):
        operator = operator_of("(A | B | C)+ D", "C AS C.v = 4, D AS D.v > 5", limits=Limits(threads=2), **strategies)
        assert matches(operator, [(4, ""), (1, ""), (6, "")]) == ["AD"]
        assert operator.counters.counts == {"pattern_thread_limit": 1}
