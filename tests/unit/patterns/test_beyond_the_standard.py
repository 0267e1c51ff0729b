"""Time-outs, rows that must not follow, and NO SKIP: when they come, what they hold, how they end."""

from __future__ import annotations

import pytest

from anomaly_app import EvaluationError, LimitError, Rows, query
from anomaly_app.alerts.builder import AlertBuilder
from anomaly_app.jobs.binder import bind_job, bind_text
from anomaly_app.limits import Limits
from anomaly_app.operators import MAX_WATERMARK
from anomaly_app.patterns.explain import explain_rule
from anomaly_app.schema import INT, STRING, TIMESTAMP_3, Column, Schema

SCHEMA = Schema((Column("k", STRING), Column("v", INT), Column("s", STRING), Column("ts", TIMESTAMP_3)), rowtime="ts")
SECOND = "WITHIN INTERVAL '1' SECOND"
TIMEOUTS = "ONE ROW PER MATCH SHOW TIMEOUT MATCHES"


def bound(pattern: str, define: str, *, skip="SKIP PAST LAST ROW", rows="", dialect="flink", measures="", **limits):
    late = ", MATCH_TIMED_OUT() AS late" if "TIMEOUT" in rows else ""
    sql = (
        f"SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES COUNT(*) AS n{late}{measures} "
        f"{rows} AFTER MATCH {skip} PATTERN ({pattern} DEFINE {define})"
    )
    return bind_text(sql, {"t": SCHEMA}, dialect, limits=Limits(**limits))


def operator(pattern: str, define: str, **options):
    made = bound(pattern, define, **options)
    return made.factory.rule.create(made.layout)


def row(time: int, value: int | None, key: str = "x", text: str = "1"):
    return (time, time, key, value, text, time)


def labels(findings):
    return ["".join(name for name, _ in finding.bindings) for finding in findings]


# --- time-outs ----------------------------------------------------------------------------------------


def test_an_attempt_times_out_when_the_watermark_is_there_and_not_before():
    found = operator(f"A C*? B) {SECOND}", "A AS A.v = 1, B AS B.v = 2", rows=TIMEOUTS)
    assert found.process([row(0, 1), row(400, 0)], 400) == []
    assert found.advance(999) == []
    (finding,) = found.advance(1_000)
    assert (finding.time, finding.values, finding.timed_out) == (1_000, ("x", 2, True), True)
    assert finding.last == row(400, 0) and labels([finding]) == ["AC"]
    assert found.keys == {}


def test_a_row_behind_the_end_ends_an_attempt_too_and_is_a_start_itself():
    found = operator(f"A B) {SECOND}", "A AS A.v = 1, B AS B.v = 2", rows=TIMEOUTS)
    findings = found.process([row(0, 1), row(1_000, 1), row(1_500, 2)], 1_500)
    assert [(finding.time, finding.timed_out) for finding in findings] == [(1_000, True), (1_500, False)]


def test_an_attempt_that_a_row_ends_does_not_time_out():
    found = operator(f"A B) {SECOND}", "A AS A.v = 1, B AS B.v = 2", rows=TIMEOUTS)
    assert found.process([row(0, 1), row(10, 3)], 10) + found.advance(MAX_WATERMARK) == []


def test_every_start_that_times_out_is_shown_and_the_end_of_the_input_ends_all():
    found = operator(f"A+? B) {SECOND}", "B AS B.v = 2", rows=TIMEOUTS)
    findings = found.process([row(0, 1), row(10, 1), row(20, 1)], 20) + found.advance(MAX_WATERMARK)
    assert labels(findings) == ["AAA", "AA", "A"]
    assert [finding.time for finding in findings] == [1_000, 1_010, 1_020]
    assert len({finding.number for finding in findings}) == 3 and all(finding.number < 0 for finding in findings)


def test_the_preferred_way_is_shown():
    rows = [row(0, 1), row(10, 1)]
    for pattern, wanted in (("(A | B)+ C", "AA"), ("A+? B+? C", "AB"), ("A+ B+? C", "AA")):
        found = operator(f"{pattern}) {SECOND}", "C AS C.v = 2", rows=TIMEOUTS, dialect="standard")
        assert labels((found.process(rows, 10) + found.advance(1_000))[:1]) == [wanted]


def test_a_match_that_greed_would_make_longer_is_a_match():
    found = operator(f"A B*) {SECOND}", "B AS B.v = 2", rows=TIMEOUTS, dialect="standard")
    (finding,) = found.process([row(0, 1), row(10, 2)], 10) + found.advance(1_000)
    assert (finding.time, finding.timed_out) == (10, False)


def test_all_rows_of_a_time_out_are_shown_but_excluded_ones():
    rows = "ALL ROWS PER MATCH SHOW TIMEOUT MATCHES"
    found = operator(
        f"A {{- B+ -}} C) {SECOND}", "B AS B.v = 2, C AS C.v = 3", rows=rows, measures=", CLASSIFIER() AS c"
    )
    findings = found.process([row(0, 1), row(10, 2), row(20, 2)], 20) + found.advance(1_000)
    assert [finding.values[2:5] for finding in findings] == [(1, True, "A")]


def test_the_alert_of_a_time_out_says_so():
    sql = (
        "CREATE TABLE t (k STRING, v INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH ('connector' = 'kafka', "
        "'topic' = 't', 'value.format' = 'json'); SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts "
        f"MEASURES A.v AS v {TIMEOUTS} AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) {SECOND} DEFINE B AS B.v = 2);"
    )
    job = bind_job(sql, name="job")
    (plan,) = job.plans
    task = plan.create_task()
    task.process([(0, 0, *({"k": "x", "v": 1, "ts": 0}[column.name] for column in plan.layout.columns))], end=1)
    task.finish()
    ((_, finding),) = task.take().findings
    alert = AlertBuilder(job, plan, plan.queries[0]).build(finding, partition=0, offset=0, detected_ms=0)
    assert alert.event_time == "1970-01-01T00:00:01.000Z"
    assert alert.explanation.endswith(f"began (A B) {SECOND}, but what had to follow did not come in time.")


# --- rows that must not follow ------------------------------------------------------------------------


def test_absence_is_known_when_time_is_over():
    found = operator(f"A NOT B) {SECOND}", "A AS A.v = 1, B AS B.v = 2")
    assert found.process([row(0, 1), row(500, 7)], 500) + found.advance(999) == []
    (finding,) = found.advance(1_000)
    assert (finding.time, finding.last, labels([finding])) == (1_000, row(0, 1), ["A"])


@pytest.mark.parametrize(("time", "matches"), [(999, 0), (1_000, 1)])
def test_a_row_at_the_end_of_the_time_does_not_count(time, matches):
    found = operator(f"A NOT B) {SECOND}", "A AS A.v = 1, B AS B.v = 2")
    assert len(found.process([row(0, 1), row(time, 2)], time)) == matches


def test_the_condition_sees_the_rows_before():
    found = operator(f"A+ NOT B) {SECOND}", "A AS A.v < 5, B AS B.v > SUM(A.v)")
    stays = found.process([row(0, 3), row(10, 4), row(20, 7)], 20) + found.advance(1_000)
    assert labels(stays) == ["AA"]
    assert found.process([row(2_000, 3), row(2_010, 4), row(2_020, 8)], 2_020) + found.advance(9_000) == []


def test_a_variable_may_be_absent_behind_itself_and_any_row_may_be():
    rows = [row(0, 1), row(400, 1), row(800, 2)]
    found = operator(f"A NOT A) {SECOND}", "A AS A.v = 1")
    assert [finding.last for finding in found.process(rows, 800) + found.advance(9_000)] == [row(400, 1)]
    found = operator(f"A NOT B) {SECOND}", "A AS A.v > 0")
    assert [finding.last for finding in found.process(rows, 800) + found.advance(9_000)] == [row(800, 2)]


def test_which_of_several_waiting_ways_is_the_match():
    rows = [row(0, 1), row(10, 1), row(20, 5)]
    for dialect, pattern, wanted in (("standard", "A+", "AA"), ("standard", "A+?", "A"), ("flink", "A+?", "A")):
        found = operator(f"{pattern} NOT B) {SECOND}", "A AS A.v = 1, B AS B.v = 2", dialect=dialect)
        assert labels((found.process(rows, 20) + found.advance(9_000))[:1]) == [wanted]


def test_matching_goes_on_behind_the_rows_that_are_bound():
    found = operator(f"A NOT B) {SECOND}", "A AS A.v = 1, B AS B.v = 2")
    findings = found.process([row(0, 1), row(10, 7), row(20, 1)], 20) + found.advance(9_000)
    assert [finding.time for finding in findings] == [1_000, 1_020]


# --- NO SKIP ------------------------------------------------------------------------------------------


def test_no_start_holds_another_one_back():
    define = "A AS A.v > 0, B AS B.v > FIRST(A.v)"
    rows = [row(0, 5), row(10, 1), row(20, 2)]
    assert operator("A+? B)", define).process(rows, 20) == []  # the first start waits for more than 5
    assert labels(operator("A+? B)", define, skip="NO SKIP").process(rows, 20)) == ["AB"]


def test_equal_ways_are_one_match_and_ids_differ():
    found = operator("(A | A | B)+? C)", "C AS C.v = 3", skip="NO SKIP", dialect="standard")
    findings = found.process([row(0, 1), row(10, 1), row(20, 3)], 20)
    assert labels(findings) == ["AAC", "ABC", "BAC", "BBC", "AC", "BC"]
    assert len({(finding.last, finding.number) for finding in findings}) == 6


def test_ways_of_a_key_are_limited_counted_and_the_stream_goes_on():
    found = operator(
        f"(A | B)+? C) {SECOND}", "C AS C.v = 3", skip="NO SKIP", dialect="standard", threads=20, rows=TIMEOUTS
    )
    found.process([row(time, 1) for time in range(30)], 29)
    assert found.counters.counts["pattern_thread_limit"] == len(found.problems) > 0
    assert all(isinstance(problem.error, LimitError) for problem in found.problems)
    (state,) = found.keys.values()
    assert sum(len(start.threads) for start in state.attempt.open) <= 20
    assert "BC" in labels(found.process([row(40, 3)], 40))


def test_rows_of_a_start_are_limited_and_rows_are_dropped():
    found = operator("A+? B)", "B AS B.v = 100", skip="NO SKIP", rows_per_key=10)
    found.process([row(time, 1) for time in range(300)], 299)
    assert found.counters.counts == {"pattern_row_limit": 290}
    (state,) = found.keys.values()
    assert len(state.rows) <= 10 + 64


def test_a_condition_that_fails_ends_the_starts_that_ask_for_it():
    found = operator("A B)", "A AS A.v = 1, B AS CAST(B.s AS INT) = 7", skip="NO SKIP")
    findings = found.process([row(0, 1), row(10, 1, text="oops"), row(20, 2, text="7")], 20)
    assert labels(findings) == ["AB"]
    (problem,) = found.problems
    assert isinstance(problem.error, EvaluationError) and problem.rows == [row(10, 1, text="oops")]


def test_nothing_is_held_of_keys_that_are_done():
    found = operator(f"A B) {SECOND}", "A AS A.v = 1, B AS B.v = 2", skip="NO SKIP")
    found.process([row(time, 1, key=f"k{time}") for time in range(100)], 99)
    found.advance(2_000)
    list(found.changes())
    assert found.keys == {}


# --- for people ---------------------------------------------------------------------------------------


def test_strategies_and_the_state_that_waits_are_explained():
    made = bound(f"A NOT B) {SECOND}", "B AS B.v = 2")
    explanation = explain_rule(made.factory.rule, made.layout)
    assert explanation.strategy == "threads" and explanation.why == "rows that are not B pass by, unbound"
    assert [place.accepts for place in explanation.program] == ["no", "in time", "in time"]
    assert explanation.program[1].next == ("1 (not B)",)
    made = bound("A B)", "B AS B.v = 2", skip="NO SKIP")
    explanation = explain_rule(made.factory.rule, made.layout)
    assert explanation.strategy == "all ways" and "which came out already" in explanation.state


def test_rows_of_a_time_out_are_told():
    table = Rows([("v", "INT"), ("ts", "TIMESTAMP(3)")], [(1, "2026-01-01 09:00:00")], rowtime="ts")
    sql = f"SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts MEASURES A.v AS v {TIMEOUTS} PATTERN (A B) {SECOND})"
    ((match,),) = query(sql, {"t": table}).matches
    assert match[0] == "A" and match[1][0] == 1
