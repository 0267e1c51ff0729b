"""Patterns as automata, and which of them have one way to go on."""

from __future__ import annotations

import pytest

from anomaly_app import SqlValidationError
from anomaly_app.expressions.typed import Dialect
from anomaly_app.operators import Layout
from anomaly_app.patterns.program import compile_pattern
from anomaly_app.patterns.rule import Rule
from anomaly_app.patterns.single_run import fits
from anomaly_app.patterns.single_run_source import merged_states
from anomaly_app.patterns.specialise import certain_labels
from anomaly_app.schema import INT, TIMESTAMP_3, Column, Schema
from anomaly_app.sql import parse_statements
from anomaly_app.sql.row_pattern_parser import parse_pattern

SCHEMA = Schema((Column("v", INT), Column("ts", TIMESTAMP_3)), rowtime="ts")


def edges(pattern: str, dialect: Dialect = Dialect.STANDARD):
    """(label, targets' labels in order of preference, accepts) of the start and every place."""
    program = compile_pattern(parse_pattern(pattern), pattern, dialect)
    return [
        (state.label, [program.labels[edge.label] for edge in state.edges], state.accepts) for state in program.states
    ]


def test_preference_is_the_order_of_edges():
    assert edges("A+ B")[-1][1] == ["A", "B"]
    assert edges("A+? B")[-1][1] == ["B", "A"]
    assert edges("A | B")[0][1] == ["A", "B"]
    assert edges("PERMUTE(A, B)")[0][1] == ["A", "B"]


def test_what_is_behind_an_acceptance_does_not_count():
    assert edges("A*?")[0] == (-1, [], True)
    assert edges("A*")[0] == (-1, ["A"], True)


def test_an_iteration_without_a_row_is_the_last_one():
    assert edges("(A*?)*")[0] == (-1, [], True)
    assert edges("(A??)+")[0] == (-1, [], True)


def test_flink_bars_the_successor_of_a_greedy_loop():
    program = compile_pattern(parse_pattern("A* B"), "", Dialect.FLINK)
    guards = {program.labels[edge.label]: edge.guards for edge in program.states[0].edges}
    assert guards == {"A": (), "B": (0,)}


def test_anchors():
    program = compile_pattern(parse_pattern("^ A $"))
    assert program.anchored and program.anchored_end
    assert program.states[0].edges == () and len(program.first.edges) == 1
    assert program.states[1].accepts_at_end == 0 and not program.states[1].accepts


def test_what_one_of_several_equal_states_has_seen_is_not_certain():
    """The first iteration of the loop has no B yet, the others have."""
    program = compile_pattern(parse_pattern("(A A B)+"))
    same = merged_states(program.states)
    known = certain_labels(program, same)
    after_a = same[program.states[0].edges[0].target]
    assert known[after_a] == {0}


def test_a_pattern_that_is_too_large_is_refused():
    with pytest.raises(SqlValidationError, match="the pattern is too large"):
        compile_pattern(parse_pattern("((A{100}){100}){100}"), "((A{100}){100}){100}")


@pytest.mark.parametrize("define", ["B AS B.v = 1", "B AS B.v > SUM(A.v)"])
@pytest.mark.parametrize(("pattern", "rows"), [("A{400} B", 401), ("A{3000} B", 3_001), ("(A{100}){100} B", 10_001)])
def test_long_loops_compile_and_match(pattern, rows, define):
    sql = f"SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts MEASURES COUNT(*) AS n PATTERN ({pattern}) DEFINE {define})"
    (select,) = parse_statements(sql)
    operator = Rule(select.match, SCHEMA, sql, Dialect.STANDARD).create(Layout(SCHEMA.columns))
    given = [(n, n, int(n == rows - 1), n) for n in range(rows)]
    assert [finding.values for finding in operator.process(given, rows)] == [(rows,)]


@pytest.mark.parametrize(
    ("pattern", "dialect", "expected"),
    [
        ("A+? B", Dialect.FLINK, True),
        ("A+ B", Dialect.FLINK, True),
        ("A B C", Dialect.FLINK, True),
        ("A+ B+ C", Dialect.FLINK, True),
        ("A+? B+? C", Dialect.FLINK, False),
        ("A+ B", Dialect.STANDARD, True),
        ("A+ B C", Dialect.STANDARD, False),
        ("^ A B", Dialect.STANDARD, True),
        ("A B $", Dialect.STANDARD, False),
        ("A*", Dialect.STANDARD, False),
        ("(A | B) C", Dialect.STANDARD, False),
    ],
)
def test_one_way_to_go_on(pattern, dialect, expected):
    sql = f"SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts MEASURES COUNT(*) AS n PATTERN ({pattern}))"
    (select,) = parse_statements(sql)
    rule = Rule(select.match, SCHEMA, sql, dialect)
    assert fits(rule.compile(Layout(SCHEMA.columns))) is expected
