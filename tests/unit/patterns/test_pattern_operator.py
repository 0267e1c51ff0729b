"""The pattern operator: time-outs, limits, problems, memory, numbers of findings."""

from __future__ import annotations

import pytest

from anomaly_app import EvaluationError, LimitError, SkipTargetError
from anomaly_app.jobs.binder import bind_text
from anomaly_app.limits import Limits
from anomaly_app.operators import MAX_WATERMARK
from anomaly_app.patterns.operator import PatternOperator
from anomaly_app.schema import INT, STRING, TIMESTAMP_3, Column, Schema

SCHEMA = Schema((Column("k", STRING), Column("v", INT), Column("s", STRING), Column("ts", TIMESTAMP_3)), rowtime="ts")


def operator(pattern: str, define: str, *, skip="PAST LAST ROW", rows="", dialect="flink", measures="", **limits):
    more = f", {measures}" if measures else ""
    sql = (
        f"SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES SUM(A.v) AS a, LAST(B.v) AS b{more} "
        f"{rows} AFTER MATCH SKIP {skip} PATTERN ({pattern} DEFINE {define})"
    )
    bound = bind_text(sql, {"t": SCHEMA}, dialect, limits=Limits(**limits))
    assert bound.factory.rule is not None
    made = bound.factory.rule.create(bound.layout)
    assert isinstance(made, PatternOperator)
    return made


def row(time: int, value: int | None, key: str = "x", text: str = "1", position: int | None = None):
    return (time, time if position is None else position, key, value, text, time)


def test_within_is_exclusive():
    found = operator("A B) WITHIN INTERVAL '1' SECOND", "A AS A.v = 1, B AS B.v = 2")
    rows = [row(0, 1), row(999, 2), row(2_000, 1), row(3_000, 2)]
    assert [finding.values for finding in found.process(rows, 3_000)] == [("x", 1, 2)]


def test_a_match_that_an_earlier_start_holds_back_comes_when_that_one_times_out():
    found = operator("A B C) WITHIN INTERVAL '1' SECOND", "A AS A.v > 0, B AS B.v > 1, C AS C.v = 3")
    held = [row(0, 1), row(10, 2), row(20, 2), row(30, 3)]
    assert found.process(held[:2], 10) == []
    # 1 2 2 fails at the second 2 as C; the next start takes 2 2 3.
    assert [finding.values for finding in found.process(held[2:], 30)] == [("x", 2, 2)]
    waits = operator("A B+? C) WITHIN INTERVAL '1' SECOND", "A AS A.v = 1, B AS B.v > 0, C AS C.v > SUM(B.v) * 9")
    assert waits.process([row(0, 1), row(100, 5), row(200, 1), row(300, 1), row(400, 10)], 400) == []
    assert waits.advance(999) == []
    (finding,) = waits.advance(1_000)
    assert (finding.values, finding.time) == (("x", 1, 1), 400)


def test_without_within_an_open_start_holds_back_for_good_in_flink():
    rows = [row(0, 1), row(10, 5), row(20, 1), row(30, 2)]
    define = "A AS A.v = 1, B AS B.v > LAST(A.v), C AS C.v > 100"
    assert operator("A B+? C)", define).process(rows, MAX_WATERMARK) == []


def test_nothing_is_held_of_keys_that_are_done():
    found = operator("A B) WITHIN INTERVAL '1' SECOND", "A AS A.v = 1, B AS B.v = 2")
    found.process([row(time, 1, key=f"k{time}") for time in range(500)], 499)
    assert len(found.keys) == 500
    found.advance(1_499)
    assert len(found.keys) == 0 and found.oldest_time() is None


def test_rows_before_the_start_are_dropped():
    found = operator("A+? B) WITHIN INTERVAL '1' SECOND", "B AS B.v > SUM(A.v) * 3")
    found.process([row(time, 1) for time in range(0, 100_000, 10)], 99_990)
    (state,) = found.keys.values()
    assert len(state.rows) < 100 + 70
    assert found.oldest_time() == 99_000


def test_a_condition_that_fails_is_a_problem_and_the_stream_goes_on():
    found = operator("A B) WITHIN INTERVAL '1' SECOND", "A AS CAST(A.s AS INT) = 1, B AS B.v = 2")
    rows = [row(0, 1, text="oops"), row(10, 1), row(20, 2)]
    assert [finding.values for finding in found.process(rows, 20)] == [("x", 1, 2)]
    (problem,) = found.problems
    assert isinstance(problem.error, EvaluationError) and problem.rows == [rows[0]] and problem.key == ("x",)


def test_a_measure_that_fails_is_a_problem_with_its_match():
    found = operator("A B)", "A AS A.v = 1, B AS B.v = 2", measures="CAST(A.s AS INT) AS n")
    rows = [row(0, 1, text="oops"), row(10, 2), row(20, 1), row(30, 2)]
    assert [finding.values for finding in found.process(rows, 30)] == [("x", 1, 2, 1)]
    assert found.problems[0].rows == rows[:2]


@pytest.mark.parametrize(
    ("pattern", "skip", "message"),
    [
        ("A B)", "TO FIRST A", "the target is the first row of the match"),
        ("A B? C)", "TO LAST B", "the target has no row in the match"),
    ],
)
def test_a_skip_that_cannot_be_is_a_problem_and_matching_goes_on(pattern, skip, message):
    define = "A AS A.v = 1, B AS B.v = 2" + (", C AS C.v = 3" if "C" in pattern else "")
    found = operator(pattern, define, skip=skip)
    rows = [row(0, 1), row(10, 3 if "C" in pattern else 2), row(20, 1), row(30, 3 if "C" in pattern else 2)]
    assert len(found.process(rows, 30)) == 2
    assert found.counters.counts == {"skip_target": 2}
    assert isinstance(found.problems[0].error, SkipTargetError) and message in str(found.problems[0].error)


@pytest.mark.parametrize("dialect", ["flink", "standard"])
def test_rows_of_one_attempt_are_limited_and_counted(dialect):
    found = operator("A+? B)", "B AS B.v > 100", rows_per_key=10, dialect=dialect)
    found.process([row(time, 1) for time in range(100)], 99)
    assert found.counters.counts["pattern_row_limit"] > 1
    assert all(isinstance(problem.error, LimitError) for problem in found.problems)
    (state,) = found.keys.values()
    assert len(state.rows) <= 10 + 64


def test_threads_of_one_attempt_are_limited_and_counted():
    found = operator(
        "(A | B)* C)", "A AS SUM(A.v) >= 0, B AS SUM(B.v) >= 0, C AS C.v < 0", dialect="standard", threads=50
    )
    found.process([row(time, time) for time in range(40)], 39)
    assert found.counters.counts["pattern_thread_limit"] > 0


def test_findings_with_one_last_row_have_different_numbers():
    found = operator("A+? B)", "A AS A.v = 1, B AS B.v = 2", skip="TO NEXT ROW")
    findings = found.process([row(0, 1), row(10, 1), row(20, 2)], 20)
    assert {finding.last[0] for finding in findings} == {20}
    assert len({finding.number for finding in findings}) == len(findings) == 2


def test_findings_come_in_the_order_of_their_decision_whatever_the_keys():
    rows = [row(0, 1, "x"), row(1, 1, "y"), row(2, 2, "y"), row(3, 2, "x")]
    found = operator("A B)", "A AS A.v = 1, B AS B.v = 2")
    assert [finding.key for finding in found.process(rows, 3)] == [("y",), ("x",)]


def test_bindings_name_every_row():
    found = operator("A+? B)", "B AS B.v = 2")
    (finding,) = found.process([row(0, 1), row(10, 1), row(20, 2)], 20)
    assert [(name, bound[0]) for name, bound in finding.bindings] == [("A", 0), ("A", 10), ("B", 20)]
