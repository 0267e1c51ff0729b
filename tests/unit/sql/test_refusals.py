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
NEIGHBOURS = """SELECT v1, v2 FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES A.v AS v1, B.v AS v2
    AFTER MATCH SKIP TO NEXT ROW PATTERN (A B) DEFINE B AS TRUE)"""
LISTED = "SELECT v FROM t WHERE k IN ('x', 'y')"
MAPPED = "SELECT v, MAP['x', 1, 'y', 2][k] AS n FROM t"
DISTINCT = f"SELECT k, v {WINDOW} GROUP BY k, v, {BY_WINDOW}"
BEST = f"SELECT k, FIRST_VALUE(v) AS f, MAX(v) AS m {WINDOW} GROUP BY k, {BY_WINDOW}"
ROLLING = f"""SELECT k, COUNT(*) AS n FROM HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '1' SECOND, INTERVAL '30' SECOND)
    GROUP BY k, {BY_WINDOW}"""
AROUND = "SELECT v FROM (SELECT v FROM t) WHERE v > 1"
OVER = "OVER (PARTITION BY k ORDER BY ts)"

REFUSED = [
    ("SELECT t.v FROM t JOIN u ON t.k = u.k", "JOIN", "JOIN", LISTED),
    ("SELECT t.v FROM t INNER JOIN u ON t.k = u.k", "INNER", "INNER JOIN", MAPPED),
    ("SELECT t.v FROM t AS x LEFT OUTER JOIN u ON t.k = u.k", "LEFT", "LEFT OUTER JOIN", LISTED),
    ("SELECT t.v FROM t NATURAL JOIN u", "NATURAL", "NATURAL JOIN", LISTED),
    ("SELECT t.v FROM t FULL JOIN u ON t.k = u.k", "FULL", "FULL JOIN", LISTED),
    ("SELECT t.v FROM t, u WHERE t.k = u.k", ",", "a comma JOIN", MAPPED),
    ("SELECT t.v FROM (SELECT * FROM t) AS t RIGHT JOIN u ON t.k = u.k", "RIGHT", "RIGHT JOIN", LISTED),
    ("SELECT i FROM t CROSS JOIN UNNEST(items) AS x (i)", "CROSS", "CROSS JOIN UNNEST", "SELECT items[1] AS i FROM t"),
    ("SELECT v FROM t, LATERAL TABLE(f(v))", ",", "a comma JOIN", LISTED),
    ("SELECT v FROM t UNION ALL SELECT v FROM u", "UNION", "UNION ALL", ""),
    ("SELECT v FROM t WHERE v > 1 UNION SELECT v FROM u", "UNION", "UNION", ""),
    ("SELECT v FROM t INTERSECT SELECT v FROM t", "INTERSECT", "INTERSECT", LISTED),
    ("SELECT v FROM t EXCEPT SELECT v FROM t", "EXCEPT", "EXCEPT", "SELECT v FROM t WHERE v > 1 AND NOT (v > 2)"),
    ("SELECT DISTINCT k FROM t", "DISTINCT", "SELECT DISTINCT", DISTINCT),
    ("SELECT v FROM t WHERE k IN (SELECT k FROM u)", "SELECT", "IN (SELECT …)", LISTED),
    ("SELECT v FROM t WHERE NOT EXISTS (SELECT 1 FROM u)", "EXISTS", "EXISTS (SELECT …)", LISTED),
    ("SELECT v, (SELECT MAX(v) FROM u) AS m FROM t", "SELECT", "a subquery as a value", AROUND),
    ("SELECT v FROM t ORDER BY v", "ORDER", "ORDER BY of a query", AROUND),
    ("SELECT v FROM t LIMIT 3", "LIMIT", "LIMIT", AROUND),
    ("SELECT v FROM t FETCH FIRST 3 ROWS ONLY", "FETCH", "FETCH", AROUND),
    ("SELECT COUNT(*) OVER w AS n FROM t WINDOW w AS (ORDER BY ts)", "w", "WINDOW", ROLLING),
    (f"SELECT RANK() {OVER[:-1]} NULLS LAST) AS r FROM t", "NULLS", "NULLS FIRST or LAST", LISTED),
    (f"SELECT v FROM t QUALIFY ROW_NUMBER() {OVER} = 1", "QUALIFY", "QUALIFY", AROUND),
    (
        f"SELECT k, COUNT(*) AS n {WINDOW} GROUP BY {BY_WINDOW}, GROUPING SETS ((k), ())", "GROUPING", "GROUPING SETS",
        DISTINCT,
    ),
    (f"SELECT k, COUNT(*) AS n {WINDOW} GROUP BY {BY_WINDOW}, ROLLUP (k, v)", "ROLLUP", "ROLLUP", DISTINCT),
    (f"SELECT k, COUNT(*) AS n {WINDOW} GROUP BY CUBE (k), {BY_WINDOW}", "CUBE", "CUBE", DISTINCT),
    ("SELECT * FROM t PIVOT (SUM(v) FOR kind IN ('a'))", "PIVOT", "PIVOT",
     f"SELECT k, SUM(v) FILTER (WHERE kind = 'a') AS a {WINDOW} GROUP BY k, {BY_WINDOW}"),
    ("CREATE VIEW w AS SELECT v FROM t; SELECT v FROM w", "VIEW", "CREATE VIEW",
     "WITH w AS (SELECT v FROM t) SELECT v FROM w"),
    ("WITH RECURSIVE w AS (SELECT v FROM t) SELECT v FROM w", "RECURSIVE", "WITH RECURSIVE",
     "WITH w AS (SELECT v FROM t) SELECT v FROM w"),
    ("SELECT a FROM (VALUES (1), (2)) AS x (a)", "VALUES", "VALUES as a table", ""),
    (f"SELECT LAG(v) {OVER} AS p FROM t", f"LAG(v) {OVER}", "LAG … OVER", NEIGHBOURS),
    (f"SELECT v - LEAD(v, 1) {OVER} AS p FROM t", f"LEAD(v, 1) {OVER}", "LEAD … OVER", NEIGHBOURS),
    (
        f"SELECT k FROM (SELECT k, ROW_NUMBER() {OVER} AS rn FROM t) WHERE rn = 1", f"ROW_NUMBER() {OVER}",
        "ROW_NUMBER … OVER", BEST,
    ),
    (f"SELECT RANK() {OVER} AS r FROM t", f"RANK() {OVER}", "RANK … OVER", BEST),
    (
        "SELECT COUNT(*) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '30' SECOND PRECEDING AND CURRENT ROW)"
        " AS n FROM t", "", "COUNT … OVER", ROLLING,
    ),
    (f"SELECT SUM(v) {OVER} AS s FROM t", f"SUM(v) {OVER}", "SUM … OVER", ROLLING),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "marked", "clause", "way"), REFUSED, ids=[case[0][:60] for case in REFUSED])
def test_refused_by_name_with_a_way_that_runs(sql: str, marked: str, clause: str, way: str) -> None:
    with pytest.raises(SqlValidationError) as caught:
        query(sql, TABLES)
    error = caught.value
    assert error.problem.startswith(f"{clause} is not supported: "), error.problem
    assert "detector" not in error.problem
    if marked:
        assert sql[error.start : error.end].upper().startswith(marked.upper())
    if way:
        assert query(way, {"t": TABLES["t"]}).rows


def test_branches_of_a_union_are_inserts_into_one_table() -> None:
    kafka = "WITH ('connector' = 'kafka', 'topic' = '{}', 'format' = 'json')"
    job = bind_job(
        f"CREATE TABLE t (v INT) {kafka.format('t')}; CREATE TABLE u (v INT) {kafka.format('u')};"
        f"CREATE TABLE both (v INT) {kafka.format('both')};"
        "INSERT INTO both SELECT v FROM t; INSERT INTO both SELECT v FROM u;",
        name="job",
    )
    assert [query.sink.topic for plan in job.plans for query in plan.queries if query.sink] == ["both", "both"]
