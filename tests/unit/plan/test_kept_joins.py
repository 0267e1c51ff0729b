"""Joins that keep their rows, and subqueries: names, types, changes, state, errors."""

from __future__ import annotations

import pytest

from anomaly_app import Rows, SqlValidationError, query
from anomaly_app.jobs.binder import bind_job, bind_text
from anomaly_app.plan.explain import explain_plan
from anomaly_app.plan.query import PlannedQuery

A = Rows([("id", "INT"), ("k", "STRING"), ("v", "INT")], [(1, "x", 1), (2, "x", 5), (3, "y", 7), (4, None, 2)])
B = Rows([("bid", "INT"), ("k", "STRING"), ("w", "INT")], [(1, "x", 1), (2, "x", 3), (3, "y", 9), (4, None, 2)])
TABLES = {"a": A, "b": B}
CREATED = "CREATE TABLE a (id INT, k STRING, v INT); CREATE TABLE b (bid INT, k STRING, w INT);"


def bound(sql: str) -> PlannedQuery:
    return bind_text(CREATED + sql, {}).factory


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a.id FROM a JOIN b ON a.k = b.k",
        "SELECT a.id FROM a, b WHERE a.k = b.k",
        "SELECT a.id FROM a LEFT JOIN b ON a.k = b.k WHERE b.w > 4",
        "SELECT a.id FROM a FULL JOIN b ON a.k = b.k WHERE b.w IS NOT NULL AND a.v BETWEEN 1 AND 5",
        "SELECT id FROM a WHERE k IN (SELECT k FROM b)",
        "SELECT id FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.k = a.k AND b.w > a.v)",
    ],
)
def test_what_takes_nothing_back_is_insert_only(sql: str) -> None:
    assert bound(sql).node.updating == ""
    assert {kind for kind, _ in query(sql, TABLES).changes} == {"+I"}


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELECT a.id FROM a LEFT JOIN b ON a.k = b.k", "a LEFT JOIN"),
        ("SELECT a.id FROM a LEFT JOIN b ON a.k = b.k WHERE b.w IS NULL", "a LEFT JOIN"),
        ("SELECT a.id FROM a LEFT JOIN b ON a.k = b.k WHERE COALESCE(b.w, 1) > 0", "a LEFT JOIN"),
        ("SELECT id FROM a WHERE k NOT IN (SELECT k FROM b)", "is taken back when it is"),
        ("SELECT id, (SELECT MAX(w) FROM b) AS m FROM a", "an aggregate without GROUP BY"),
        ("SELECT id FROM a ORDER BY v LIMIT 1", "ORDER BY with LIMIT"),
    ],
)
def test_what_takes_rows_back_says_why(sql: str, why: str) -> None:
    assert why in bound(sql).node.updating


def test_a_row_that_meets_none_is_taken_back_when_it_does() -> None:
    left, right = Rows(A.columns, [(1, "x", 1)]), Rows(B.columns, [(9, "x", 1)])
    result = query("SELECT id, bid FROM a LEFT JOIN b ON a.k = b.k", {"a": left, "b": right})
    # Both come in one step: what would be taken back at once is not told.
    assert result.changes == [("+I", (1, 9))]


def test_time_is_lost_behind_a_regular_join() -> None:
    times = "CREATE TABLE t (k STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts);"
    sql = "SELECT x.k, x.ts FROM t x JOIN t y ON x.k = y.k"
    assert bind_text(times + sql, {}).factory.node.rowtimes == frozenset()
    with pytest.raises(SqlValidationError, match="time attribute"):
        bind_text(f"{times} SELECT COUNT(*) OVER (ORDER BY ts) AS n FROM ({sql})", {})


def test_using_puts_one_column_in_front() -> None:
    result = query("SELECT * FROM a FULL JOIN b USING (k)", TABLES)
    assert [name for name, _ in result.columns] == ["k", "id", "v", "bid", "w"]
    assert sorted(row[0] or "-" for row in result.rows) == ["-", "-", "x", "x", "x", "x", "y"]
    both = query("SELECT k, a.k AS ak, b.k AS bk FROM a RIGHT JOIN b USING (k)", TABLES)
    assert ("x", "x", "x") in both.rows and (None, None, None) in both.rows


def test_texts_become_numbers_where_they_are_compared_with_some() -> None:
    texts = Rows([("k", "STRING")], [("1",), ("7",)])
    assert query("SELECT a.id, t.k FROM a JOIN t ON a.v = t.k", {"a": A, "t": texts}).rows == [(1, "1"), (3, "7")]


def test_keys_of_unequal_types() -> None:
    sql = "SELECT a.id FROM a JOIN b ON CAST(a.v AS {}) = CAST(b.w AS {})"
    for one, other in [
        ("BIGINT", "DECIMAL(9, 2)"),
        ("DOUBLE", "INT"),
        ("FLOAT", "DOUBLE"),
        ("DECIMAL(5, 1)", "TINYINT"),
    ]:
        assert sorted(query(sql.format(one, other), TABLES).rows) == [(1,), (4,)]


def test_nan_is_one_key() -> None:
    numbers = Rows([("d", "DOUBLE")], [(float("nan"),), (1.0,)])
    assert len(query("SELECT x.d FROM n x JOIN n y ON x.d = y.d", {"n": numbers}).rows) == 2


@pytest.mark.parametrize(
    ("sql", "marked", "problem"),
    [
        ("SELECT a.id FROM a JOIN b ON a.v > b.w", "JOIN", "a join needs an equality"),
        ("SELECT a.id FROM a, b", ",", "a join needs an equality"),
        ("SELECT a.id FROM a CROSS JOIN b", "CROSS JOIN", "a join needs an equality"),
        ("SELECT a.id FROM a JOIN b ON a.id = (b.bid > 1)", "a.id = (b.bid > 1", "INT cannot be compared with BOOLEAN"),
        ("SELECT a.id FROM a JOIN b ON a.nix = b.k", "a.nix", "a has no column 'nix'"),
        ("SELECT * FROM a JOIN b USING (nix)", "a JOIN b", "the left side has no column 'nix'"),
        ("SELECT * FROM (SELECT id FROM a) NATURAL JOIN (SELECT w FROM b)", "(SELECT id", "and there is none"),
        ("SELECT id FROM a WHERE k IN (SELECT k, w FROM b)", "k IN (", "compares one value here; the query has 2 col"),
        ("SELECT id FROM a WHERE (k, v) NOT IN (SELECT k, w FROM b)", "(k, v) NOT IN", "write NOT EXISTS"),
        ("SELECT id FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.w > a.v)", "EXISTS (", "need an equality"),
        ("SELECT id FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.k = a.nix)", "a.nix", "a has no column 'nix'"),
        ("SELECT id FROM a WHERE v = (SELECT w FROM b)", "(SELECT w", "must give one row"),
        ("SELECT (SELECT k, w FROM b) AS x FROM a", "(SELECT k, w", "gives one column, and this one has 2"),
        ("SELECT id FROM a WHERE v < (SELECT MAX(w) FROM b WHERE b.bid > a.id)", "b.bid > a.id", "equal in something"),
        ("SELECT SUM(v + (SELECT MAX(w) FROM b)) AS s FROM a", "(SELECT MAX", "cannot stand inside this expression"),
        ("SELECT a.id FROM a LEFT JOIN b ON a.k = b.k AND a.v IN (SELECT w FROM b)", "a.v IN", "cannot stand inside"),
    ],
)  # fmt: skip
def test_errors_point_at_what_is_wrong(sql: str, marked: str, problem: str) -> None:
    with pytest.raises(SqlValidationError) as caught:
        query(sql, TABLES)
    error = caught.value
    assert problem in error.problem
    assert sql[error.start : error.end].startswith(marked)


def test_queries_in_expressions_have_an_end() -> None:
    deep = "SELECT k FROM b"
    for _ in range(40):
        deep = f"SELECT k FROM b WHERE k IN ({deep})"
    with pytest.raises(SqlValidationError, match="more than 30 levels"):
        query(deep, {"b": B})


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT id, (SELECT COUNT(*) FROM b WHERE b.k = a.k) AS n FROM a", [(1, 2), (2, 2), (3, 1), (4, 0)]),
        ("SELECT id, (SELECT COUNT(*) + COALESCE(MAX(w), -1) FROM b WHERE b.k = a.k AND b.w > 1) AS n FROM a",
         [(1, 4), (2, 4), (3, 10), (4, -1)]),
        ("SELECT id, (SELECT COUNT(*) FROM b WHERE b.k = a.k HAVING COUNT(*) > 1) AS n FROM a",
         [(1, 2), (2, 2), (3, None), (4, None)]),
        ("SELECT k, SUM(v) AS s, (SELECT SUM(w) FROM b WHERE b.k = a.k) AS o FROM a GROUP BY k",
         [("x", 6, 4), ("y", 7, 9), (None, 2, None)]),
        ("SELECT k, SUM(v) AS s FROM a GROUP BY k HAVING SUM(v) > (SELECT AVG(w) FROM b)", [("x", 6), ("y", 7)]),
        ("SELECT id FROM a WHERE v BETWEEN (SELECT MIN(w) FROM b) AND (SELECT MAX(w) - 3 FROM b)", [(1,), (2,), (4,)]),
        ("SELECT id, CASE WHEN EXISTS (SELECT 1 FROM b WHERE b.k = a.k) THEN 1 ELSE 0 END AS e FROM a",
         [(1, 1), (2, 1), (3, 1), (4, 0)]),
        ("SELECT id FROM a WHERE NOT (k NOT IN (SELECT k FROM b))", [(1,), (2,), (3,)]),
        ("SELECT id FROM a WHERE k IN (VALUES ('x'), ('z'))", [(1,), (2,)]),
        ("SELECT a.id FROM a JOIN b ON a.k = b.k AND a.v IN (SELECT w FROM b)", [(1,), (1,)]),
        ("SELECT k, COUNT(*) AS n FROM a GROUP BY k LIMIT 1", [("x", 2)]),
        ("SELECT id FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY v) AS n FROM a) WHERE n < 1", []),
        ("SELECT k, SUM(v) AS s FROM a GROUP BY k ORDER BY SUM(v) DESC, 1 LIMIT 1", [("y", 7)]),
    ],
)  # fmt: skip
def test_queries_in_expressions(sql: str, expected: list[tuple[object, ...]]) -> None:
    assert sorted(query(sql, TABLES).rows, key=str) == sorted(expected, key=str)


def test_a_row_of_a_primary_key_is_a_value() -> None:
    users = Rows([("id", "INT"), ("name", "STRING")], [(1, "ann"), (3, "bob"), (1, "eve")], changelog="upsert")
    ddl = "CREATE TABLE u (id INT, name STRING, PRIMARY KEY (id) NOT ENFORCED);"
    sql = f"{ddl} SELECT id, (SELECT name FROM u WHERE u.id = a.id) AS name FROM a"
    assert sorted(query(sql, {"a": A, "u": users}).rows) == [(1, "eve"), (2, None), (3, "bob"), (4, None)]


def test_what_is_kept_is_told() -> None:
    plan = explain_plan(bound("SELECT a.id FROM a LEFT JOIN b ON a.k = b.k AND a.v > b.w"))
    (join,) = [node for node in plan["nodes"] if node["node"] == "RegularJoin"]
    assert join["title"] == "Regular join, left, by k, where a.v > b.w"
    assert join["state"] == "all rows of both sides"
    assert join["growth"] == "grows with the rows, for ever: SET 'table.exec.state.ttl' bounds it"
    assert "all rows of both sides" in bound("SELECT id FROM a WHERE k IN (SELECT k FROM b)").state
    ttl = bound("SET 'table.exec.state.ttl' = '2 h'; SELECT a.id FROM a JOIN b ON a.k = b.k")
    assert "dropped 2 hours after the last of them" in ttl.state


@pytest.mark.parametrize(
    ("sql", "warning"),
    [
        ("SELECT x.id, y.k FROM a x JOIN a y USING (id)",
         "line 3: the rows of both sides of a join by id are kept for ever"),
        ("SELECT MAX(id) AS id, k FROM a GROUP BY k", "line 3: groups by k are kept for ever"),
        ("SELECT id, k FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY v) AS n FROM a) WHERE n = 1",
         "line 3: rows of each k are kept for ever"),
        ("SELECT MAX(id) AS id, 'all' AS k FROM a", ""),
    ],
)  # fmt: skip
def test_a_job_warns_of_state_that_nothing_bounds(sql: str, warning: str) -> None:
    kafka = "WITH ('connector' = '{}', 'topic' = '{}', 'properties.bootstrap.servers' = 'x:1', {})"
    source = kafka.format("kafka", "a", "'format' = 'json'")
    sink = kafka.format("upsert-kafka", "s", "'key.format' = 'json', 'value.format' = 'json'")
    text = (
        f"CREATE TABLE a (id INT, k STRING, v INT) {source};\n"
        f"CREATE TABLE s (id INT, k STRING, PRIMARY KEY (id) NOT ENFORCED) {sink};\n"
    )
    warned = [one for one in bind_job(f"{text}INSERT INTO s {sql};", name="job").warnings if "for ever" in one]
    assert [one.partition(": SET")[0] for one in warned] == ([warning] if warning else [])
    quiet = bind_job(f"{text}SET 'table.exec.state.ttl' = '1 d'; INSERT INTO s {sql};", name="job")
    assert not any("for ever" in one for one in quiet.warnings)


def test_tables_without_a_time_come_one_behind_the_other() -> None:
    sql = "SELECT id FROM a UNION ALL SELECT bid FROM b"
    for tables in (TABLES, {"b": B, "a": A}):
        rows = query(sql, tables).rows
        assert rows == [(1,), (2,), (3,), (4,)] * 2
    ordered = query("SELECT a.id, bid FROM a JOIN b ON a.k = b.k ORDER BY id LIMIT 1", {"b": B, "a": A})
    assert ordered.rows == [(1, 1)]


TIMED = (
    "CREATE TABLE a (id INT, k STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts);"
    "CREATE TABLE b (bid INT, k STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts);"
    "SET 'table.exec.state.ttl' = '10 s';"
)


def timed(*rows: tuple[int, str, int]) -> Rows:
    return Rows(rows=[(number, key, f"2026-01-01 09:00:{second:02}") for number, key, second in rows])


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        # 1 is used up to second 10; 3 came at 9, and keeps the rows of x together up to 19.
        ("SELECT id, bid FROM a JOIN b ON a.k = b.k", [(1, 7), (1, 8), (3, 7), (3, 8), (4, 9)]),
        ("SELECT id FROM a WHERE k IN (SELECT k FROM b)", [(1,), (3,), (4,)]),
        ("SELECT id FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY id) AS n FROM a) WHERE n = 1",
         [(1,), (2,), (4,), (5,)]),
        ("SELECT id FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts DESC) AS n FROM a) WHERE n = 1",
         [(2,), (3,), (4,), (5,)]),
    ],
)  # fmt: skip
def test_rows_of_silent_keys_are_dropped(sql: str, expected: list[tuple[int, ...]]) -> None:
    left = timed((1, "x", 0), (2, "y", 1), (3, "x", 9), (4, "x", 40), (5, "y", 41))
    right = timed((7, "x", 5), (8, "x", 12), (9, "x", 35))
    rows = query(TIMED + sql, {"a": left, "b": right}).rows
    assert sorted(set(rows)) == expected
