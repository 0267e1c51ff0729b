"""Names, time attributes, columns that are read, keys that rows are distributed by; and queries of unusual size."""

from __future__ import annotations

import pytest

from anomaly_app import Rows, SqlError, SqlValidationError, query
from anomaly_app.jobs.binder import bind_job, bind_text
from anomaly_app.schema import Column, Schema
from anomaly_app.sql import parse_type

TYPES = {"k": "STRING", "v": "INT", "w": "INT", "r": "ROW<a INT, b STRING>", "items": "ARRAY<INT>"}
COLUMNS = (
    *(Column(name, parse_type(type_)) for name, type_ in TYPES.items()),
    Column("ts", parse_type("TIMESTAMP(3)")),
)
SCHEMA = Schema(COLUMNS, rowtime="ts")
TUMBLE = "FROM TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)"
EDGES = "window_start, window_end"
GROUPS = f"SELECT k, {EDGES}, window_time, SUM(v) AS s {TUMBLE} GROUP BY k, {EDGES}, window_time"
MATCH = (
    "MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES A.v AS a, MATCH_ROWTIME() AS m PATTERN (A) DEFINE A AS v > 1)"
)


def bound(sql: str):
    return bind_text(sql, {"t": SCHEMA}).factory


def problem(sql: str) -> tuple[str, str]:
    """What is wrong, and the marked text."""
    with pytest.raises(SqlValidationError) as caught:
        bound(sql)
    return caught.value.problem, sql[caught.value.start : caught.value.end]


# --- names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SELECT * FROM t AS x", ["k", "v", "w", "r", "items", "ts"]),
        ("SELECT x.*, v AS k FROM t AS x", ["k", "v", "w", "r", "items", "ts", "k0"]),
        ("SELECT r.a, r, 1, v + 1 FROM t", ["a", "r", "EXPR$2", "EXPR$3"]),
        ("SELECT v, `w` FROM t", ["v", "w"]),
        ("SELECT b FROM t AS x (a, b, c, d, e, f)", ["b"]),
        ("SELECT * FROM (SELECT k, v FROM t) AS x (a, b)", ["a", "b"]),
        ("WITH q (a) AS (SELECT v FROM t) SELECT a FROM q", ["a"]),
        ("CREATE VIEW q (a, b) AS SELECT v, k FROM t; SELECT * FROM q", ["a", "b"]),
        ("SELECT * FROM t CROSS JOIN UNNEST(items) AS u (v)", ["k", "v", "w", "r", "items", "ts", "v0"]),
    ],
)
def test_columns_have_names(sql: str, names: list[str]) -> None:
    found = [column.name for column in bound(sql).output]
    assert [name.lower() for name in found] == [name.lower() for name in names]


@pytest.mark.parametrize(
    ("sql", "marked", "message"),
    [
        ("SELECT x FROM t", "x", "unknown column 'x'"),
        ("SELECT y.v FROM t AS x", "y.v", "unknown column 'y'"),
        ("SELECT x.vv FROM t AS x", "x.vv", "x has no column 'vv'; did you mean v?"),
        ("SELECT t.v FROM t AS x", "t.v", "unknown column 't'"),
        ("SELECT r.c FROM t", "r.c", "no field 'c'"),
        ("SELECT y.* FROM t AS x", "y.*", "y is not a table of this query"),
        ("SELECT v FROM t CROSS JOIN UNNEST(items) AS u (v)", "v", "column 'v' is ambiguous"),
        ("SELECT v FROM t AS x (a, b)", "t AS x (a, b)", "2 names for 6 columns"),
        ("SELECT v FROM u", "u", "unknown table 'u'; known: t"),
        ("CREATE VIEW q AS SELECT v FROM t; SELECT w FROM q", "w", "unknown column 'w'; known: v"),
        ("SELECT SUM(v) OVER w FROM t WINDOW x AS (ORDER BY ts)", "w", "unknown window 'w': WINDOW defines x"),
        ("SELECT v FROM t UNION ALL SELECT k, v FROM t", "SELECT k, v FROM t", "UNION of 1 and 2 columns"),
        ("SELECT v FROM t UNION ALL SELECT items FROM t", "SELECT items FROM t", "they have no common type"),
        ("SELECT i FROM t CROSS JOIN UNNEST(v) AS u (i)", "v", "UNNEST takes an ARRAY or a MAP, not INT"),
        (
            "SELECT v FROM t RIGHT JOIN UNNEST(items) AS u (i) ON TRUE",
            "t RIGHT JOIN",
            "RIGHT JOIN UNNEST is not possible",
        ),
        ("SELECT v, ts FROM t ORDER BY 3", "3", "ORDER BY 3: the query has 2 columns"),
    ],
)
def test_names_that_mean_nothing_are_marked(sql: str, marked: str, message: str) -> None:
    said, where = problem(sql)
    assert message in said
    assert where.startswith(marked)


def test_views_that_read_each_other_are_an_error() -> None:
    text = "CREATE VIEW a AS SELECT * FROM b; CREATE VIEW b AS SELECT * FROM c; CREATE VIEW c AS SELECT * FROM {};"
    said, where = problem(text.format("a") + "SELECT * FROM b")
    assert said == "views that read each other: b → c → a → b" and where == "b"
    said, _ = problem("CREATE VIEW a AS SELECT * FROM A; SELECT 1 FROM a")
    assert said == "views that read each other: a → a"
    assert bound(text.format("t") + "SELECT * FROM a").reads == tuple(column.name for column in COLUMNS)


# --- time -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("relation", "time"),
    [
        ("(SELECT ts AS x, v FROM t)", "x"),
        ("(SELECT $rowtime AS x FROM t WHERE v > 1)", "x"),
        (f"(SELECT window_time AS x, s FROM ({GROUPS}))", "x"),
        (f"(SELECT a, m FROM t {MATCH})", "m"),
        ("(SELECT ts FROM t UNION ALL SELECT ts FROM t)", "ts"),
        ("(SELECT i, ts FROM t CROSS JOIN UNNEST(items) AS u (i))", "ts"),
        ("(SELECT ts, LAG(v) OVER (ORDER BY ts) AS l FROM t)", "ts"),
    ],
)
def test_time_is_kept(relation: str, time: str) -> None:
    bound(f"SELECT COUNT(*) FROM TUMBLE(TABLE {relation}, DESCRIPTOR({time}), INTERVAL '1' DAY) GROUP BY {EDGES}")


@pytest.mark.parametrize(
    ("relation", "time"),
    [
        ("(SELECT CAST(ts AS TIMESTAMP(3)) + INTERVAL '1' SECOND AS x FROM t)", "x"),
        ("(SELECT COALESCE(ts, ts) AS x FROM t)", "x"),
        (f"(SELECT window_end AS x FROM ({GROUPS}))", "x"),
        ("(SELECT ts FROM t UNION ALL SELECT CAST(NULL AS TIMESTAMP(3)) FROM t)", "ts"),
    ],
)
def test_time_is_lost_and_the_error_says_how(relation: str, time: str) -> None:
    said, where = problem(
        f"SELECT COUNT(*) FROM TUMBLE(TABLE {relation}, DESCRIPTOR({time}), INTERVAL '1' DAY) GROUP BY {EDGES}"
    )
    assert "a query keeps it if it gives the column as it is" in said and where == time


# --- columns and keys ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "reads"),
    [
        ("SELECT v FROM t WHERE w > 1", ("v", "w")),
        ("SELECT a FROM (SELECT v AS a, UPPER(k) AS b FROM t)", ("v",)),
        (f"SELECT COUNT(*) {TUMBLE} GROUP BY {EDGES}", ()),
        (f"SELECT k, SUM(v) FILTER (WHERE w > 1) {TUMBLE} GROUP BY k, {EDGES}", ("k", "v", "w")),
        ("SELECT SUM(v) OVER (PARTITION BY k ORDER BY ts) FROM t", ("k", "v")),
        ("SELECT LAG(v, 1, w) OVER (ORDER BY ts) FROM t", ("v", "w")),
        ("SELECT v FROM t QUALIFY ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts) = 1", ("k", "v")),
        (f"SELECT v {TUMBLE} QUALIFY ROW_NUMBER() OVER (PARTITION BY {EDGES} ORDER BY w) = 1", ("v", "w")),
        (f"SELECT window_end {TUMBLE}", ()),
        ("SELECT v FROM t UNION ALL SELECT w FROM t", ("v", "w")),
        ("SELECT v FROM (SELECT v, k FROM t UNION ALL SELECT w, k FROM t)", ("v", "w")),
        ("SELECT i FROM t CROSS JOIN UNNEST(items) AS u (i)", ("items",)),
        (f"SELECT a FROM t {MATCH}", ("k", "v", "ts")),
        ("SELECT k, ts FROM t ORDER BY ts", ("k", "ts")),
        ("SELECT r.b FROM t", ("r",)),
    ],
)
def test_only_what_is_needed_is_read(sql: str, reads: tuple[str, ...]) -> None:
    assert tuple(bound(sql).reads) == reads


@pytest.mark.parametrize(
    ("sql", "keys"),
    [
        ("SELECT v FROM t", None),
        ("SELECT v FROM t UNION ALL SELECT w FROM t", None),
        (GROUPS, ("k",)),
        (f"SELECT COUNT(*) {TUMBLE} GROUP BY {EDGES}", ()),
        (f"SELECT k, v, COUNT(*) {TUMBLE} GROUP BY k, v, {EDGES}", ("k", "v")),
        (f"SELECT v + 1, COUNT(*) {TUMBLE} GROUP BY v + 1, {EDGES}", ()),
        (f"SELECT k, SUM(s) OVER (PARTITION BY k ORDER BY window_time) FROM ({GROUPS})", ("k",)),
        ("SELECT key, SUM(v) OVER (PARTITION BY key, v ORDER BY ts) FROM (SELECT k AS key, v, ts FROM t)", ("k", "v")),
        (f"SELECT {EDGES}, MAX(s) FROM ({GROUPS}) GROUP BY {EDGES}", ()),
        (f"SELECT a FROM t {MATCH}", ("k",)),
        ("SELECT v, ts FROM t ORDER BY ts", ()),
        ("SELECT v FROM t LIMIT 3", ()),
    ],
)  # fmt: skip
def test_rows_meet_by_the_keys_of_all_operators(sql: str, keys: tuple[str, ...] | None) -> None:
    found = bound(sql).partition_by
    assert (found if found is None else tuple(found)) == keys


# --- unusual sizes ------------------------------------------------------------------------------------------


def test_views_may_be_nested_deeply() -> None:
    views = "CREATE VIEW v0 AS SELECT v + 0 AS v, ts FROM t;" + "".join(
        f"CREATE VIEW v{n} AS SELECT v + 1 AS v, ts FROM v{n - 1} WHERE v >= 0;" for n in range(1, 201)
    )
    rows = Rows([("v", "INT"), ("ts", "TIMESTAMP(3)")], [(1, "2026-01-01 09:00:00"), (-1, "2026-01-01 09:00:01")],
                rowtime="ts")  # fmt: skip
    assert query(f"{views} SELECT v FROM v200", {"t": rows}).rows == [(201,)]


def test_operators_may_be_nested_deeply() -> None:
    sql = "SELECT v, ts FROM t"
    for _ in range(40):
        sql = f"SELECT LAG(v, 0) OVER (ORDER BY ts) AS v, ts FROM ({sql})"
    rows = Rows([("v", "INT"), ("ts", "TIMESTAMP(3)")], [(1, "2026-01-01 09:00:00")], rowtime="ts")
    assert [v for v, _ in query(sql, {"t": rows}).rows] == [1]


def test_a_select_may_have_many_columns() -> None:
    items = ", ".join(f"v + {n} AS c{n}" for n in range(10_000))
    rows = Rows([("v", "INT")], [(1,), (2,)])
    found = query(f"SELECT c9999, c0 FROM (SELECT {items} FROM t)", {"t": rows}).rows
    assert found == [(10_000, 1), (10_001, 2)]
    few = ", ".join(items.split(", ")[:1_000])
    assert len(query(f"SELECT {few} FROM t", {"t": rows}).rows[1]) == 1_000


def test_a_union_may_have_many_branches() -> None:
    sql = " UNION ALL ".join(f"SELECT v + {n} AS v FROM t" for n in range(500))
    assert sorted(query(sql, {"t": Rows([("v", "INT")], [(0,)])}).rows) == [(n,) for n in range(500)]


def test_what_is_too_deep_is_an_error() -> None:
    views = "".join(f"CREATE VIEW v{n} AS SELECT * FROM {f'v{n - 1}' if n else 't'};" for n in range(500))
    assert problem(f"{views} SELECT * FROM v499")[0] == "queries nested more than 400 levels deep"
    sql = "SELECT v FROM t"
    for _ in range(500):
        sql = f"SELECT v FROM ({sql})"
    with pytest.raises(SqlError, match="nested more than"):
        bound(sql)


def test_a_view_that_nobody_reads_must_be_right() -> None:
    with pytest.raises(SqlValidationError, match="unknown column 'x'"):
        bind_job(
            "CREATE TABLE t (v INT) WITH ('connector' = 'kafka', 'topic' = 't', 'format' = 'json');"
            "CREATE VIEW q AS SELECT x FROM t; SELECT v FROM t;",
            name="job",
        )


def test_a_view_that_is_read_twice_runs_once() -> None:
    sql = f"CREATE VIEW g AS {GROUPS}; SELECT k, s FROM g UNION ALL SELECT k, s * 10 FROM g WHERE s > 1"
    names = [vertex.name for vertex in bound(sql).physical.graph.vertices]
    assert sum(name.startswith("Aggregate") for name in names) == 1
    rows = [("a", n, f"2026-01-01 09:00:0{n}") for n in (1, 2)]
    table = Rows([("k", "STRING"), ("v", "INT"), ("ts", "TIMESTAMP(3)")], rows, rowtime="ts")
    assert query(sql, {"t": table}).rows == [("a", 3), ("a", 30)]


def test_a_bound_that_no_number_keeps_gives_no_rows() -> None:
    rows = Rows([("v", "INT"), ("ts", "TIMESTAMP(3)")], [(1, "2026-01-01 09:00:00")], rowtime="ts")
    for keys, order in ((EDGES, "v"), ("v", "ts")):
        numbered = f"SELECT v, ROW_NUMBER() OVER (PARTITION BY {keys} ORDER BY {order}) AS n {TUMBLE}"
        assert query(f"SELECT v FROM ({numbered}) WHERE n <= 0", {"t": rows}).rows == []
        assert query(f"SELECT v FROM ({numbered}) WHERE n <= 0 OR n = 1", {"t": rows}).rows == [(1,)]


COPIES = "(SELECT k, v, ts AS a, ts AS b FROM t)"


@pytest.mark.parametrize("copy", ["a", "b"])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT window_start, SUM(v) AS s FROM TUMBLE({}, DESCRIPTOR({}), INTERVAL '1' MINUTE) "
        "GROUP BY window_start, window_end",
        "SELECT k, SUM(v) OVER (PARTITION BY k ORDER BY {1}) AS s FROM {0} AS x",
        "SELECT * FROM {} MATCH_RECOGNIZE (ORDER BY {} MEASURES A.v AS v, MATCH_ROWTIME() AS m PATTERN (A) "
        "DEFINE A AS v > 1)",
    ],
)
def test_each_copy_of_a_time_attribute_is_one(sql: str, copy: str) -> None:
    """As in Flink 2.3, tried with each of these."""
    rows = Rows(
        columns=[("k", "STRING"), ("v", "INT"), ("ts", "TIMESTAMP(3)")],
        rows=[("x", 2, "2026-01-01 09:00:00"), ("y", 3, "2026-01-01 09:00:30"), ("x", 5, "2026-01-01 09:02:00")],
        rowtime="ts",
    )
    wanted = query(sql.format("(SELECT k, v, ts FROM t)", "ts"), {"t": rows}).rows
    assert wanted and query(sql.format(COPIES, copy), {"t": rows}).rows == wanted


@pytest.mark.parametrize(
    ("expression", "meant"),
    [
        ("AVGG(v)", "AVG"),
        ("FISRT_VALUE(v)", "FIRST_VALUE"),
        ("MATCH_ROWTIM()", "MATCH_ROWTIME"),
        ("UPERR(k)", "UPPER"),
        ("SUMM(v) OVER (ORDER BY ts)", "SUM"),
        ("LAGG(v) OVER (ORDER BY ts)", "LAG"),
        ("ML_DETECT_ANOMALY(v, ts) OVER (ORDER BY ts)", "ML_DETECT_ANOMALIES"),
    ],
)
def test_an_unknown_function_names_the_nearest_one(expression: str, meant: str) -> None:
    said, marked = problem(f"SELECT {expression} FROM t")
    assert said.endswith(f"; did you mean {meant}?") and marked.startswith(expression.partition("(")[0])


@pytest.mark.parametrize(
    "expression",
    [
        " + ".join(["v"] * 5_000),
        "CASE WHEN v > 1 THEN " * 300 + "1" + " ELSE 0 END" * 300,
        "ABS(" * 1_000 + "v" + ")" * 1_000,
        "ROW(" * 300 + "v" + ")" * 300,
        "(" * 300 + "v" + ")" * 300,
        "NOT " * 300 + "TRUE",
    ],
    ids=["sum", "case", "calls", "rows", "brackets", "not"],
)
def test_expressions_that_are_too_deep_are_errors(expression: str) -> None:
    with pytest.raises(SqlError, match="nested"):
        bound(f"SELECT {expression} AS x FROM t")


@pytest.mark.parametrize(("op", "sign", "found"), [("OR", "=", [(2,), (3,)]), ("AND", "<>", [(0,), (1,)])])
def test_many_conditions_in_a_row(op: str, sign: str, found: list[tuple[int]]) -> None:
    """Rules are made by programs, too. Each condition is compiled once, however deep it stands."""
    rows = Rows(columns=[("v", "INT")], rows=[(n,) for n in range(4)])
    condition = f" {op} ".join(f"v {sign} {n}" for n in range(2, 500))
    assert query(f"SELECT v FROM t WHERE {condition}", {"t": rows}).rows == found
    null = f" {op} ".join(["CAST(NULL AS BOOLEAN)"] * 99)
    assert query(f"SELECT ({null}) AS x FROM t", {"t": rows}).rows == [(None,)] * 4


def test_conditions_within_conditions_are_compiled_once_each() -> None:
    condition = "v = 0"
    for n in range(1, 30):
        condition = f"({condition} {'AND' if n % 2 else 'OR'} NOT v = {n})"
    assert bound(f"SELECT {condition} AS x FROM t WHERE {condition}").output[0].name == "x"


def test_more_columns_than_anybody_has() -> None:
    many = bound("SELECT " + ", ".join(f"v + {n} AS c{n}" for n in range(10_000)) + " FROM t")
    assert len(many.output) == 10_000
    said, marked = problem("SELECT " + ", ".join(["*"] * 10_000) + " FROM t")
    assert said == "the query has more than 50000 columns" and marked.startswith("SELECT *, *")


def test_tables_of_one_name_are_told_to_be_so() -> None:
    said, marked = problem("SELECT 1 AS one FROM (SELECT * FROM t) AS x JOIN t AS x ON x.k = x.k")
    assert said.endswith("two tables here are called x, and AS gives one of them another name") and marked == "x.k"
    assert problem("SELECT v FROM t AS a JOIN t AS b ON a.k = b.k")[0].endswith("say of which table, as in a.v")


def test_an_error_quotes_what_is_around_it() -> None:
    with pytest.raises(SqlValidationError) as caught:
        bound("SELECT " + ", ".join(["v"] * 5_000) + ", nope, " + ", ".join(["v"] * 5_000) + " FROM t")
    _, line, mark = str(caught.value).splitlines()
    assert len(line) < 450 and line.startswith("  … v, v") and line.endswith("…")
    assert line[mark.index("^") : mark.rindex("^") + 1] == "nope"
