"""What there is not is refused by its name, and the nearest way that the error names runs."""

from __future__ import annotations

import pytest

from anomaly_app import Rows, SqlValidationError, query
from anomaly_app.jobs.binder import bind_job

COLUMNS = [("k", "STRING"), ("kind", "STRING"), ("v", "INT"), ("items", "ARRAY<INT>"), ("ts", "TIMESTAMP(3)")]
TABLES = {
    name: Rows(COLUMNS, [("x", "a", n, [n], f"2026-01-01 09:00:0{n}") for n in (1, 2, 3)], rowtime="ts")
    for name in ("t", "u")
}
WINDOW = "FROM TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' HOUR)"
BY_WINDOW = "window_start, window_end"
LISTED = "SELECT v FROM t WHERE k IN ('x', 'y')"
MAPPED = "SELECT v, MAP['x', 1, 'y', 2][k] AS n FROM t"
OVER = "OVER (PARTITION BY k ORDER BY ts)"
NUMBERED = f"SELECT ROW_NUMBER() {OVER} AS r FROM t"

REFUSED = [
    ("SELECT v FROM t, LATERAL TABLE(f(v))", "LATERAL", "LATERAL", "SELECT ABS(v) AS v FROM t"),
    ("SELECT v FROM t ORDER BY v", "v", "ORDER BY of values", "SELECT v, ts FROM t ORDER BY v LIMIT 3"),
    ("SELECT * FROM t PIVOT (SUM(v) FOR kind IN ('a'))", "PIVOT", "PIVOT",
     f"SELECT k, SUM(v) FILTER (WHERE kind = 'a') AS a {WINDOW} GROUP BY k, {BY_WINDOW}"),
    ("WITH RECURSIVE w AS (SELECT v FROM t) SELECT v FROM w", "RECURSIVE", "WITH RECURSIVE",
     "WITH w AS (SELECT v FROM t) SELECT v FROM w"),
    (f"SELECT v - LEAD(v, 1) {OVER} AS p FROM t", f"LEAD(v, 1) {OVER}", "LEAD … OVER",
     f"SELECT v - LAG(v, 1) {OVER} AS p FROM t"),
    (f"SELECT RANK() {OVER} AS r FROM t", f"RANK() {OVER}", "RANK … OVER", NUMBERED),
    (f"SELECT DENSE_RANK() {OVER} AS r FROM t", f"DENSE_RANK() {OVER}", "DENSE_RANK … OVER", NUMBERED),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "marked", "clause", "way"), REFUSED, ids=[case[0][:60] for case in REFUSED])
def test_refused_by_name_with_a_way_that_runs(sql: str, marked: str, clause: str, way: str) -> None:
    with pytest.raises(SqlValidationError) as caught:
        query(sql, TABLES)
    error = caught.value
    assert error.problem.startswith(f"{clause} is not supported: "), error.problem
    assert sql[error.start : error.end].upper().startswith(marked.upper())
    assert query(way, {"t": TABLES["t"]}).rows


@pytest.mark.parametrize(
    ("sql", "marked", "problem"),
    [
        ("SELECT v FROM t HAVING v > 1", "v > 1", "HAVING is about groups, and there is no GROUP BY"),
        ("SELECT v FROM t WHERE SUM(v) > 1", "SUM(v)", "SUM cannot stand inside WHERE: HAVING is about groups"),
        (f"SELECT v FROM t WHERE LAG(v) {OVER} > 1", f"LAG(v) {OVER}", "LAG … OVER cannot stand inside WHERE"),
        ("SELECT v WHERE 1 > 0", "v", "unknown column 'v': there is no FROM"),
        ("SELECT COUNT(*) OVER (PARTITION BY k) FROM t", "(PARTITION", "OVER needs ORDER BY the time attribute"),
        ("SELECT SUM(v) OVER (ORDER BY ts DESC) FROM t", "ts DESC", "must be ascending"),
        ("SELECT SUM(v) OVER (ORDER BY v) FROM t", "v", "ORDER BY must be a time attribute (ts)"),
        ("SELECT LAG(v) FROM t", "LAG(v)", "LAG is about rows in their order: it needs OVER"),
        ("SELECT UPPER(k) OVER (ORDER BY ts) FROM t", "UPPER(k)", "OVER is for aggregates, LAG, ROW_NUMBER"),
    ],
)  # fmt: skip
def test_what_would_never_be_complete_says_what_would(sql: str, marked: str, problem: str) -> None:
    with pytest.raises(SqlValidationError) as caught:
        query(sql, {"t": TABLES["t"]})
    error = caught.value
    assert problem in error.problem
    assert sql[error.start : error.end].startswith(marked)


def test_branches_of_a_union_are_inserts_into_one_table() -> None:
    kafka = "WITH ('connector' = 'kafka', 'topic' = '{}', 'format' = 'json')"
    job = bind_job(
        f"CREATE TABLE t (v INT) {kafka.format('t')}; CREATE TABLE u (v INT) {kafka.format('u')};"
        f"CREATE TABLE both (v INT) {kafka.format('both')};"
        "INSERT INTO both SELECT v FROM t; INSERT INTO both SELECT v FROM u;",
        name="job",
    )
    assert [query.sink.topic for plan in job.plans for query in plan.queries if query.sink] == ["both", "both"]


@pytest.mark.parametrize(
    ("hint", "name"), [("EARLY_FIRE('delay'='5s')", "EARLY_FIRE"), ("options('a'='b')", "options")]
)
def test_hints_that_would_change_rows_are_refused(hint: str, name: str) -> None:
    sql = f"SELECT /*+ {hint} */ v FROM t"
    with pytest.raises(SqlValidationError, match=f"the hint {name.upper()} is not supported: ") as caught:
        query(sql, {"t": TABLES["t"]})
    assert sql[caught.value.start : caught.value.end] == name


def test_hints_for_a_planner_change_nothing() -> None:
    assert query("SELECT /*+ BROADCAST(t) */ v FROM t", {"t": TABLES["t"]}).rows
