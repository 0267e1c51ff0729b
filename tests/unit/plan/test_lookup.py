"""Lookup joins in memory: rows of a stream with those that a table has."""

from __future__ import annotations

from datetime import datetime

import pytest

from anomaly_app import Rows, SqlValidationError, query
from anomaly_app.jobs.binder import bind_text
from anomaly_app.plan.explain import explain_text
from anomaly_app.rows import schema_of

ORDERS = Rows(
    [("id", "INT"), ("k", "STRING"), ("v", "INT"), ("ts", "TIMESTAMP(3)")],
    [
        (1, "a", 5, "2026-01-01 09:00:00"),
        (2, "b", 50, "2026-01-01 09:00:01"),
        (3, None, 7, "2026-01-01 09:00:02"),
        (4, "c", 1, "2026-01-01 09:00:03"),
    ],
    rowtime="ts",
    proctime="pt",
)
LIMITS = Rows(
    [("k", "STRING"), ("most", "INT"), ("kind", "STRING"), ("rate", "DECIMAL(4, 1)")],
    [("a", 3, "x", "1.0"), ("b", 70, "x", "2.0"), ("b", 10, "y", "5.0"), (None, 1, "x", "7.0")],
)
TABLES = {"o": ORDERS, "t": LIMITS}
AS_OF = "FOR SYSTEM_TIME AS OF o.pt"


def rows(sql: str, **tables: Rows) -> list[tuple[object, ...]]:
    return query(sql, TABLES | tables).rows


def test_each_row_comes_once_for_each_row_that_fits_it() -> None:
    assert rows(f"SELECT id, t.k, most FROM o JOIN t {AS_OF} ON o.k = t.k") == [(1, "a", 3), (2, "b", 70), (2, "b", 10)]


def test_left_gives_nulls_and_null_keys_never_match() -> None:
    result = query(f"SELECT id, t.k, most FROM o LEFT JOIN t {AS_OF} ON o.k = t.k", TABLES)
    assert result.rows == [(1, "a", 3), (2, "b", 70), (2, "b", 10), (3, None, None), (4, None, None)]
    assert result.columns == [("id", "INT"), ("k", "STRING"), ("most", "INT")]


def test_the_side_that_may_be_missing_loses_not_null() -> None:
    table = Rows([("k", "STRING NOT NULL"), ("most", "INT NOT NULL")], [("a", 3)])
    for kind, types in (("INNER", "INT NOT NULL"), ("LEFT", "INT")):
        result = query(f"SELECT most FROM o {kind} JOIN t {AS_OF} ON o.k = t.k", TABLES | {"t": table})
        assert result.columns == [("most", types)]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("o.k = t.k AND o.v > t.most", [(1, 3), (2, 10), (3, None), (4, None)]),
        ("o.k = t.k AND t.kind = 'x'", [(1, 3), (2, 70), (3, None), (4, None)]),
        ("t.kind = 'y'", [(1, 10), (2, 10), (3, 10), (4, 10)]),
        ("o.k = t.k AND o.v = 50", [(1, None), (2, 70), (2, 10), (3, None), (4, None)]),
        ("o.k = t.k AND o.v = t.most * 5", [(1, None), (2, 10), (3, None), (4, None)]),
        ("o.v = t.rate", [(1, 10), (2, None), (3, 1), (4, 3)]),  # a whole number with a DECIMAL
        ("LOWER(UPPER(o.k)) = t.k AND UPPER(t.k) = 'A'", [(1, 3), (2, None), (3, None), (4, None)]),
        ("UPPER(o.k) = UPPER(t.k) AND t.most < 5", [(1, 3), (2, None), (3, None), (4, None)]),
        ("CAST(o.v AS STRING) = t.k OR o.k = t.k AND FALSE", None),
        ("(o.k, 1) IS NULL", None),
    ],
)
def test_conditions_decide_about_fitting(condition: str, expected: list[tuple[object, ...]] | None) -> None:
    sql = f"SELECT id, most FROM o LEFT JOIN t {AS_OF} ON {condition}"
    if expected is None:
        with pytest.raises(SqlValidationError):
            rows(sql)
    else:
        assert rows(sql) == expected


def test_where_filters_afterwards() -> None:
    sql = f"SELECT id, most FROM o LEFT JOIN t {AS_OF} ON o.k = t.k WHERE most IS NULL OR most < o.v"
    assert rows(sql) == [(1, 3), (2, 10), (3, None), (4, None)]


def test_of_a_table_with_primary_key_the_last_row_counts() -> None:
    declared = "CREATE TABLE t (k STRING, most INT, PRIMARY KEY (k) NOT ENFORCED);"
    given = Rows([("k", "STRING"), ("most", "INT")], [("a", 1), ("b", 2), ("a", 3)])
    sql = f"{declared} SELECT id, most FROM o JOIN t {AS_OF} ON o.k = t.k"
    assert rows(sql, t=given) == [(1, 3), (2, 2)]


def test_an_upsert_table_deletes_too() -> None:
    declared = "CREATE TABLE t (k STRING, most INT, PRIMARY KEY (k) NOT ENFORCED);"
    kinds = ["+U", "+U", "-D", "+U"]
    given = Rows([("k", "STRING"), ("most", "INT")], [("a", 1), ("b", 2), ("a", None), ("c", 4)], changelog="upsert")
    given.kinds = kinds
    sql = f"{declared} SELECT id, most FROM o LEFT JOIN t {AS_OF} ON o.k = t.k"
    assert rows(sql, t=given) == [(1, None), (2, 2), (3, None), (4, 4)]


def test_a_table_whose_rows_come_and_go() -> None:
    declared = "CREATE TABLE t (k STRING, most INT, PRIMARY KEY (k) NOT ENFORCED);"
    changes = [("a", 1), ("b", 2), ("a", 1), ("a", 5), ("b", 2)]
    kinds = ["+I", "+I", "-U", "+U", "-D"]
    given = Rows([("k", "STRING"), ("most", "INT")], changes, changelog="all", kinds=kinds)
    sql = f"SELECT id, most FROM o LEFT JOIN t {AS_OF} ON o.k = t.k"
    assert rows(declared + sql, t=given) == [(1, 5), (2, None), (3, None), (4, None)]
    with pytest.raises(SqlValidationError, match="a lookup needs its PRIMARY KEY"):
        rows(sql, t=given)


def test_equal_names_are_numbered_and_a_star_has_all() -> None:
    result = query(f"SELECT * FROM o JOIN t {AS_OF} ON o.k = t.k", TABLES)
    assert [name for name, _ in result.columns] == ["id", "k", "v", "ts", "pt", "k0", "most", "kind", "rate"]


def test_several_lookups_one_behind_the_other() -> None:
    more = Rows([("kind", "STRING"), ("words", "STRING")], [("x", "calm"), ("y", "wild")])
    sql = (
        f"SELECT id, most, words FROM o JOIN t {AS_OF} ON o.k = t.k "
        f"LEFT JOIN m FOR SYSTEM_TIME AS OF o.pt AS n ON n.kind = t.kind AND t.most > 5"
    )
    assert rows(sql, m=more) == [(1, 3, None), (2, 70, "calm"), (2, 10, "wild")]


def test_one_table_twice() -> None:
    sql = f"SELECT id, a.most, b.most FROM o JOIN t {AS_OF} AS a ON o.k = a.k JOIN t {AS_OF} AS b ON o.v = b.most * 5"
    assert rows(sql) == [(1, 3, 1), (2, 70, 10), (2, 10, 10)]


def test_a_view_of_a_table_and_a_name_of_with() -> None:
    view = "CREATE VIEW strict AS SELECT UPPER(k) AS name, most * 2 AS twice FROM t WHERE kind = 'x';"
    sql = f"{view} SELECT id, twice FROM o LEFT JOIN strict {AS_OF} ON name = UPPER(o.k) AND twice < 100"
    assert rows(sql) == [(1, 6), (2, None), (3, None), (4, None)]
    sql = f"WITH w AS (SELECT k, most FROM t WHERE most > 5) SELECT id, most FROM o JOIN w {AS_OF} ON w.k = o.k"
    assert rows(sql) == [(2, 70), (2, 10)]


def test_a_stream_without_time_of_processing_asks_for_it() -> None:
    given = Rows([("id", "INT"), ("k", "STRING")], [(1, "a"), (2, "z")])
    sql = "SELECT id, most FROM o JOIN t FOR SYSTEM_TIME AS OF PROCTIME() ON o.k = t.k"
    assert rows(sql, o=given) == [(1, 3)]


def test_the_time_attribute_stays_for_windows() -> None:
    sql = f"""
        SELECT kind, window_end, COUNT(*) AS n
        FROM TUMBLE(
            TABLE (SELECT o.k, o.ts, kind FROM o JOIN t {AS_OF} ON o.k = t.k),
            DESCRIPTOR(ts), INTERVAL '1' SECOND)
        GROUP BY kind, window_start, window_end"""
    assert rows(sql) == [
        ("x", datetime(2026, 1, 1, 9, 0, 1), 1),
        ("x", datetime(2026, 1, 1, 9, 0, 2), 1),
        ("y", datetime(2026, 1, 1, 9, 0, 2), 1),
    ]


def test_patterns_and_detectors_over_a_lookup() -> None:
    joined = f"SELECT o.id, o.k, o.v, o.ts, most FROM o LEFT JOIN t {AS_OF} ON o.k = t.k AND t.kind = 'x'"
    sql = (
        f"SELECT * FROM ({joined}) MATCH_RECOGNIZE (ORDER BY ts MEASURES A.id AS first, B.id AS second "
        "PATTERN (A B) DEFINE A AS A.v > A.most, B AS B.v < B.most)"
    )
    assert rows(sql) == [(1, 2)]
    sql = (
        f"SELECT id, r.is_anomaly FROM (SELECT id, ML_DETECT_ANOMALIES(v - COALESCE(most, 0), ts) "
        f"OVER (PARTITION BY k ORDER BY ts) AS r FROM ({joined}))"
    )
    assert sorted(rows(sql)) == [(1, None), (2, None), (3, None), (4, None)]  # it has just begun to learn


def test_nothing_is_late_for_a_lookup() -> None:
    given = Rows(
        ORDERS.columns, [(1, "a", 1, "2026-01-01 09:00:05"), (2, "b", 1, "2026-01-01 09:00:00")], "ts", proctime="pt"
    )
    result = query(f"SELECT id, most FROM o JOIN t {AS_OF} ON o.k = t.k", TABLES | {"o": given})
    assert result.rows == [(1, 3), (2, 70), (2, 10)]
    assert result.late == []


EQUAL = "a column of t that is equal to something"


@pytest.mark.parametrize(
    ("sql", "marked", "problem"),
    [
        (f"SELECT id FROM o JOIN t {AS_OF} ON o.v > t.most", "o.v > t.most", EQUAL),
        (f"SELECT id FROM o JOIN t {AS_OF} ON TRUE", "TRUE", EQUAL),
        (f"SELECT id FROM o CROSS JOIN t {AS_OF}", "t FOR", EQUAL),
        (f"SELECT id FROM o JOIN t {AS_OF} ON o.k = t.mots", "t.mots", "t has no column 'mots'; did you mean most?"),
        (f"SELECT id FROM o JOIN tt {AS_OF} ON o.k = tt.k", "tt FOR", "unknown table 'tt'; did you mean t?"),
        (f"SELECT id FROM o JOIN t {AS_OF} ON o.k = t.most", "o.k = t.most", "CAST(o.k AS INT) = t.most"),
        (f"SELECT id FROM o RIGHT JOIN t {AS_OF} ON o.k = t.k", "t FOR", "INNER or LEFT"),
        (f"SELECT id FROM o JOIN t {AS_OF} USING (k)", "t FOR", "USING with FOR SYSTEM_TIME AS OF"),
        ("SELECT id FROM o JOIN t FOR SYSTEM_TIME AS OF o.v ON o.k = t.k", "o.v", "here ts or pt"),
        ("SELECT id FROM o JOIN t FOR SYSTEM_TIME AS OF o.ps ON o.k = t.k", "o.ps", "o has no column 'ps'"),
        (f"SELECT id FROM o JOIN (SELECT k, COUNT(*) AS c FROM TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' DAY) "
         f"GROUP BY k, window_start, window_end) {AS_OF} ON TRUE", "FOR", ""),
        (f"CREATE VIEW w AS SELECT k, COUNT(*) AS c FROM TUMBLE(TABLE o, DESCRIPTOR(ts), INTERVAL '1' DAY) "
         f"GROUP BY k, window_start, window_end; SELECT id FROM o JOIN w {AS_OF} ON o.k = w.k",
         "w FOR", "a lookup reads a table, or a view with columns and WHERE of one"),
        ("SELECT k FROM t FOR SYSTEM_TIME AS OF PROCTIME()", "PROCTIME()", "on the right of a JOIN"),
        ("WITH w AS (SELECT * FROM t) SELECT k FROM w FOR SYSTEM_TIME AS OF PROCTIME()", "PROCTIME()", "of a JOIN"),
    ],
)  # fmt: skip
def test_errors_point(sql: str, marked: str, problem: str) -> None:
    from anomaly_app.errors import SqlError

    with pytest.raises(SqlError) as caught:
        query(sql, TABLES)
    assert problem in caught.value.problem
    assert sql[caught.value.start : caught.value.end].startswith(marked)


def test_a_table_without_rows_given_is_named() -> None:
    sql = f"CREATE TABLE w (k STRING); SELECT id FROM o JOIN w {AS_OF} ON o.k = w.k"
    with pytest.raises(SqlValidationError, match="no rows are given for table 'w'"):
        query(sql, TABLES)


def test_rows_of_the_table_that_cannot_be_read_are_told() -> None:
    bad = Rows([("k", "STRING"), ("most", "INT")], [("a", "many"), ("b", 2)])
    result = query(f"SELECT id, most FROM o JOIN t {AS_OF} ON o.k = t.k", TABLES | {"t": bad})
    assert result.rows == [(2, 2)]
    assert [(row.table, row.number) for row in result.rejected] == [("t", 1)]


def test_a_stream_that_takes_back_is_refused() -> None:
    declared = "CREATE TABLE u (id STRING, PRIMARY KEY (id) NOT ENFORCED);"
    given = Rows([("id", "STRING")], [("a",)], changelog="upsert")
    with pytest.raises(SqlValidationError, match="not taken back: table u is one that changes"):
        query(
            f"{declared} SELECT u.id FROM u JOIN t FOR SYSTEM_TIME AS OF PROCTIME() ON u.id = t.k",
            TABLES | {"u": given},
        )


def test_what_where_says_stays_a_filter() -> None:
    """Then the rule that an alert tells is what is written, and texts meet numbers there as everywhere."""
    sql = f"SELECT id FROM o JOIN t {AS_OF} ON o.k = t.k WHERE t.most > 5 AND CAST(o.v AS STRING) = t.most * 5"
    bound = bind_text(sql, {name: schema_of(table) for name, table in TABLES.items()})
    assert bound.factory.description == "filter t.most > 5 AND CAST(o.v AS STRING) = t.most * 5"
    assert rows(sql) == [(2,)]


def test_explain_tells_what_is_looked_up() -> None:
    sql = f"SELECT id FROM o LEFT JOIN t {AS_OF} ON o.k = t.k AND t.most < o.v"
    bound = bind_text(sql, {name: schema_of(table) for name, table in TABLES.items()})
    assert "Lookup join, left, t by t.k = o.k, if t.most < o.v" in explain_text(bound.factory)
    assert bound.factory.words[1] == "adds each row that t has at that moment with t.k = o.k, or NULLs"
    assert bound.factory.partition_by is None


def test_a_table_without_versions_is_sent_here() -> None:
    with pytest.raises(
        SqlValidationError, match=r"latest rows of any table are joined FOR SYSTEM_TIME AS OF PROCTIME\(\)"
    ):
        rows("SELECT id FROM o JOIN t FOR SYSTEM_TIME AS OF o.ts ON o.k = t.k")
