"""What a detector call may be, and what is said of one that is not: the message, and the place that the caret marks."""

from __future__ import annotations

import pytest
from sample_detector import use_sample_functions

from anomaly_app import Rows, SqlSyntaxError, SqlValidationError, query
from anomaly_app.jobs.binder import bind_job, bind_text
from anomaly_app.jobs.model import Routing
from anomaly_app.plan.nodes import Detect, walk
from anomaly_app.schema import Column, Schema
from anomaly_app.sql import parse_type

TYPES = "k STRING, n INT, v DOUBLE, d DECIMAL(10;2), b BOOLEAN, ts TIMESTAMP(3), at TIMESTAMP(3)"
SCHEMA = Schema(
    tuple(Column(name, parse_type(type_.replace(";", ","))) for name, type_ in map(str.split, TYPES.split(", "))),
    rowtime="ts",
)
FRAME = "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
OVER = f"OVER (ORDER BY ts {FRAME})"
CALL = f"ML_DETECT_ANOMALIES(v, ts) {OVER}"
BY_KEY = f"ML_DETECT_ANOMALIES(v, ts) OVER (PARTITION BY k ORDER BY ts {FRAME})"


@pytest.fixture(autouse=True)
def sample_functions(monkeypatch):
    use_sample_functions(monkeypatch)


def bind(sql, schema=SCHEMA):
    return bind_text(sql, {"t": schema})


def detectors(bound):
    (detect,) = [node for node in walk(bound.factory.node) if isinstance(node, Detect)]
    return detect.calls


def options(text):
    return f"SELECT ML_DETECT_ANOMALIES(v, ts, JSON_OBJECT({text})) {OVER} AS r FROM t"


def over(window):
    return f"SELECT ML_DETECT_ANOMALIES(v, ts) OVER ({window}) AS r FROM t"


def field(what):
    return f"SELECT {what} FROM (SELECT {CALL} AS r FROM t)"


WRONG = {
    # The call.
    "without OVER": ("SELECT ML_DETECT_ANOMALIES(v, ts) FROM t", "ML_DETECT_ANOMALIES(v, ts)", "it needs OVER ([PARTI"),
    "an aggregate in another order": (
        f"SELECT AVG(v) {OVER.replace('ts', 'at')} FROM t", "at", "AVG … OVER goes by time: ORDER BY must be a time",
    ),
    "a function": (f"SELECT ABS(v) {OVER} FROM t", f"ABS(v) {OVER}", "ABS … OVER is not supported"),
    "a misspelled one": (f"SELECT ML_DETECT(v, ts) {OVER} FROM t", f"ML_DETECT(v, ts) {OVER}", "ML_DETECT_ANOMALIES, "),
    "in WHERE": (f"SELECT v FROM t WHERE {CALL}[6]", CALL, "OVER cannot stand inside WHERE: QUALIFY"),
    "inside another": (
        f"SELECT ML_DETECT_ANOMALIES({CALL}[7], ts) {OVER} FROM t", CALL,
        "cannot stand inside ML_DETECT_ANOMALIES: name it in a subquery",
    ),
    "over a pattern without time": (
        f"SELECT {CALL} FROM t MATCH_RECOGNIZE (ORDER BY ts MEASURES A.v AS v PATTERN (A) DEFINE A AS TRUE)",
        "ts", "MATCH_RECOGNIZE has MATCH_ROWTIME()",
    ),
    "DISTINCT": (
        f"SELECT ML_DETECT_ANOMALIES(DISTINCT v, ts) {OVER} FROM t", f"ML_DETECT_ANOMALIES(DISTINCT v, ts) {OVER}",
        "DISTINCT, FILTER",
    ),
    # Its arguments.
    "one argument": (f"SELECT ML_DETECT_ANOMALIES(v) {OVER} FROM t", f"ML_DETECT_ANOMALIES(v) {OVER}", "not 1 arg"),
    "a text": (f"SELECT ML_DETECT_ANOMALIES(k, ts) {OVER} FROM t", "k", "takes a number, not STRING"),
    "a truth": (f"SELECT ML_DETECT_ANOMALIES(b, ts) {OVER} FROM t", "b", "takes a number, not BOOLEAN"),
    "a ROW": (f"SELECT ML_DETECT_ANOMALIES(ROW(v, n), ts) {OVER} FROM t", "ROW(v, n)", "takes one number, not a ROW"),
    "a text in a ROW": (
        f"SELECT ML_DETECT_ANOMALIES_ROBUST(ROW(v, k), ts) {OVER} FROM t", "k", "a ROW of numbers, not STRING",
    ),
    "another time": (f"SELECT ML_DETECT_ANOMALIES(v, at) {OVER} FROM t", "at", "the second argument of ML_DETECT_ANO"),
    "no column": (f"SELECT ML_DETECT_ANOMALIES(w, ts) {OVER} FROM t", "w", "unknown column 'w'"),
    # Its window.
    "no order": (over("PARTITION BY k"), "(PARTITION BY k)", "OVER needs ORDER BY the time attribute"),
    "another order": (over("ORDER BY v"), "v", "ORDER BY of OVER must be the time attribute, ts"),
    "another time in ORDER BY": (over("ORDER BY at"), "at", "must be the time attribute, ts"),
    "descending": (over(f"ORDER BY ts DESC {FRAME}"), "ts DESC", "must be ascending"),
    "two orders": (over(f"ORDER BY ts, v {FRAME}"), "v", "takes the time attribute only"),
    "a shorter frame": (
        over("ORDER BY ts ROWS BETWEEN 9 PRECEDING AND CURRENT ROW"), "ROWS BETWEEN 9 PRECEDING AND CURRENT ROW",
        "the frame must be RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
    ),
    "a longer frame": (
        over("ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING"),
        "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING", "the frame must be",
    ),
    "PARTITION BY an expression": (over("PARTITION BY n + 1 ORDER BY ts"), "n + 1", "takes columns, and no ex"),
    "two windows": (
        f"SELECT {BY_KEY} AS r, ML_DETECT_ANOMALIES(n, ts) {OVER} AS s FROM t", f"(ORDER BY ts {FRAME})",
        "need the same PARTITION BY, and the first has k",
    ),
    # Its options.
    "unknown option": (
        options("'horizont' VALUE 1"), "'horizont' VALUE 1",
        "has no option 'horizont'; its options are confidencePercentage, horizon, low, minTrainingSize, width",
    ),
    "impossible option": (
        options("'horizon' VALUE 1, 'confidencePercentage' VALUE 100"), "'confidencePercentage' VALUE 100",
        "is 100.0, expected a number between 0 and 100",
    ),
    "option of another type": (options("'horizon' : 'two'"), "'horizon' : 'two'", "expected a whole number from 1 on"),
    "a fraction": (options("'horizon' VALUE 1.5"), "'horizon' VALUE 1.5", "is 1.5, expected a whole number"),
    "options that do not go together": (
        options("'low' VALUE 9, 'width' VALUE 1"), "'low' VALUE 9", "low 9 is above minTrainingSize 3",
    ),
    "not constant": (options("'horizon' VALUE n"), "n", "option 'horizon' must be a constant"),
    "name not constant": (options("n VALUE 1"), "n", "the name of an option must be a text in quotes"),
    "twice": (options("'width' VALUE 1, 'width' VALUE 2"), "'width'", "option 'width' is there twice"),
    "no object": (f"SELECT ML_DETECT_ANOMALIES(v, ts, 'a') {OVER} FROM t", "'a'", "must be JSON_OBJECT('name' VALUE"),
    # What it gives.
    "index beyond the end": (field("r[9]"), "9", "a ROW is indexed by a constant from 1 to 8"),
    "index 0": (field("r[0]"), "0", "a ROW is indexed by a constant from 1 to 8"),
    "index not constant": (
        f"SELECT r[n] FROM (SELECT n, {CALL} AS r FROM t)", "n", "a ROW is indexed by a constant from 1 to 8",
    ),
    "no such field": (field("r.is_anormal"), "r.is_anormal", "no field 'is_anormal'; did you mean is_anomaly?"),
    "no such field of an expression": (
        f"SELECT ({CALL}).nothing FROM t", f"{CALL}).nothing", "has no field 'nothing': timestamp, actual_value, "),
    "no truth": (
        f"SELECT v FROM (SELECT v, {CALL} AS r FROM t) WHERE r[2]", "r[2]", "WHERE must be BOOLEAN, not DOUBLE",
    ),
    # Subqueries.
    "not in the subquery": (f"SELECT v FROM (SELECT {CALL} AS r FROM t)", "v", "unknown column 'v'; known: r"),
    "alias": (f"SELECT y.r FROM (SELECT {CALL} AS r FROM t) AS x", "y.r", "unknown column 'y'"),
    "time lost in the subquery": (
        "SELECT $rowtime FROM (SELECT v FROM t)", "$rowtime", "a subquery has to give it, as in SELECT $rowtime AS ts",
    ),
    "order by what a subquery computes": (
        f"SELECT ML_DETECT_ANOMALIES(v, x) OVER (ORDER BY x {FRAME}) FROM "
        "(SELECT v, ts + INTERVAL '1' SECOND AS x FROM t)", "x", "a query keeps it if it gives the column as it is",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_and_marked(name):
    sql, marked, message = WRONG[name]
    with pytest.raises(SqlValidationError) as caught:
        bind(sql)
    error = caught.value
    assert message in error.problem
    assert sql[error.start : error.end] == marked
    assert str(error).endswith("^" * min(len(marked), len(str(error).splitlines()[-1].strip())))


def test_a_table_without_event_time_has_no_rowtime():
    schema = Schema(SCHEMA.columns)
    with pytest.raises(
        SqlValidationError, match=r"no event time here: \$rowtime needs a table with a WATERMARK FOR a column"
    ):
        bind("SELECT $rowtime FROM t", schema)
    with pytest.raises(SqlValidationError, match=r"second argument .* none here: a table has one by WATERMARK"):
        bind(f"SELECT {CALL} FROM t", schema)


def test_a_detector_judges_what_another_gives():
    inner = f"SELECT ts, {CALL} AS r FROM t"
    sql = f"SELECT ML_DETECT_ANOMALIES(r.seen, ts) {OVER}.actual_value AS seen FROM ({inner})"
    rows = Rows([("v", "DOUBLE"), ("ts", "TIMESTAMP(3)")], [(1, f"2026-01-01 09:00:0{n}") for n in range(4)],
                rowtime="ts")  # fmt: skip
    assert query(sql, {"t": rows}).rows == [(0,), (1,), (2,), (3,)]


def test_a_detector_judges_what_a_pattern_gives():
    pattern = (
        """t MATCH_RECOGNIZE (ORDER BY ts MEASURES A.v AS v, MATCH_ROWTIME() AS ts PATTERN (A) DEFINE A AS v > 1)"""
    )
    sql = f"SELECT ML_DETECT_ANOMALIES(v, ts) {OVER}.actual_value AS v FROM {pattern}"
    rows = Rows([("v", "DOUBLE"), ("ts", "TIMESTAMP(3)")], [(n, f"2026-01-01 09:00:0{n}") for n in range(4)],
                rowtime="ts")  # fmt: skip
    assert query(sql, {"t": rows}).rows == [(2,), (3,)]


def test_the_time_of_a_subquery_may_have_another_name():
    rows = Rows([("v", "INT"), ("ts", "TIMESTAMP(3)")], [(7, "2026-01-01 09:00:00")], rowtime="ts")
    (row,) = query("SELECT $rowtime AS a, x FROM (SELECT v, $rowtime AS x FROM t)", {"t": rows}).rows
    assert row[0] == row[1]


def test_of_equal_names_in_a_subquery_the_second_gets_a_number():
    rows = Rows([("v", "INT"), ("n", "INT")], [(7, 8)])
    assert query("SELECT v0, v FROM (SELECT v, n AS v FROM t)", {"t": rows}).rows == [(8, 7)]


def test_processing_time_orders_too():
    rows = Rows([("v", "INT")], [(1,), (1,), (1,), (1,), (9,)], proctime="p")
    sql = f"SELECT ML_DETECT_ANOMALIES(v, p) OVER (ORDER BY p {FRAME})[6] AS flag FROM t"
    assert [flag for (flag,) in query(sql, {"t": rows}).rows] == [None, None, None, False, True]


@pytest.mark.parametrize(
    "window",
    [
        "ORDER BY ts",
        "ORDER BY ts ASC RANGE UNBOUNDED PRECEDING",
        f"ORDER BY t.ts {FRAME}",
        "ORDER BY $rowtime ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
        "order by TS range between unbounded preceding and current row",
    ],
)
def test_ways_to_write_the_window(window):
    bind(over(window))


@pytest.mark.parametrize(
    "form",
    [
        "'horizon' VALUE 2, 'width' VALUE 1.5",
        "KEY 'horizon' VALUE 2, KEY 'width' VALUE 1.5",
        "'horizon' : 2, 'width' : 1.5",
        "'horizon' VALUE 2, 'width' VALUE 15e-1 ABSENT ON NULL",
    ],
)
def test_ways_to_write_options(form):
    (call,) = detectors(bind(options(form)))
    assert call.given == ("horizon", "width")
    assert (call.options["horizon"], call.options["width"]) == (2, 1.5)
    assert call.options["minTrainingSize"] == 3


def test_equal_calls_are_one_detector():
    sql = f"SELECT {CALL}[2] AS a, {CALL.replace('v, ts', 'v,ts')}.seen AS b, {options('')[7:-12]} AS c FROM t"
    bound = bind(sql)
    assert len(detectors(bound)) == 2
    assert [column.name for column in bound.factory.output] == ["a", "b", "c"]


def test_names_of_the_values_are_what_people_know():
    sql = f"SELECT ML_DETECT_ANOMALIES_ROBUST(ROW(t.v, n * 2), ts) {OVER} FROM t"
    (call,) = detectors(bind(sql))
    assert call.names == ("v", "n * 2")


def test_only_columns_that_matter_are_read():
    factory = bind(f"SELECT r.seen FROM (SELECT d, {BY_KEY} AS r FROM t WHERE n > 2)").factory
    assert factory.reads == ("k", "n", "v")
    factory = bind(
        f"SELECT x.r.seen FROM (SELECT {BY_KEY} AS r FROM (SELECT k, v, ts FROM t WHERE b) AS y) AS x"
    ).factory
    assert factory.reads == ("k", "v", "b")


JOB = """
CREATE TABLE t (k STRING, n INT, v DOUBLE, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'in', 'format' = 'json');
{set}
SELECT {call} AS r FROM t;
"""


@pytest.mark.parametrize(("call", "routing"), [(CALL, Routing.SINGLE), (BY_KEY, Routing.REPARTITION)])
def test_rows_meet_by_partition_by(call, routing):
    (plan,) = bind_job(JOB.format(call=call, set=""), name="job").plans
    assert plan.routing is routing


@pytest.mark.parametrize(("text", "ttl"), [("30 s", 30_000), ("1 d", 86_400_000), ("0", None)])
def test_state_may_expire(text, ttl):
    job = bind_job(JOB.format(call=BY_KEY, set=f"SET 'table.exec.state.ttl' = '{text}';"), name="job")
    assert job.plans[0].queries[0].factory.ttl_ms == ttl
    assert job.warnings == ()


def test_a_wrong_time_to_live_is_an_error():
    with pytest.raises(SqlValidationError, match="it must be a duration such as '30 d'"):
        bind_job(JOB.format(call=BY_KEY, set="SET 'table.exec.state.ttl' = 'soon';"), name="job")


def test_a_frame_begins_with_its_unit():
    with pytest.raises(SqlSyntaxError, match=r"expected RANGE, ROWS or \), found 'GROUPS'"):
        bind(over("ORDER BY ts GROUPS UNBOUNDED PRECEDING"))


def test_plans_of_tables_with_the_same_last_name_are_apart():
    """Names of plans name state: a path has more than its end."""
    table = """CREATE TABLE {0}.t (k STRING, v DOUBLE, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
        WITH ('connector' = 'kafka', 'topic' = '{0}', 'format' = 'json'); SELECT {1} FROM {0}.t;"""
    job = bind_job(table.format("a", BY_KEY) + table.format("b", BY_KEY), name="job")
    assert [plan.name for plan in job.plans] == ["t-k", "t-k-2"]
