"""Statements about names as trees, and what is said where their grammar is broken."""

from __future__ import annotations

import pytest

from anomaly_app import SqlError
from anomaly_app.sql import parse_statements
from anomaly_app.sql.commands import (
    Alter,
    Describe,
    Drop,
    Explain,
    ListOptions,
    RenameColumn,
    RenameTo,
    Reset,
    Show,
    Use,
)
from anomaly_app.sql.queries import TableRef
from anomaly_app.sql.rewrite import rewrite
from anomaly_app.sql.statements import CreateTable, CreateView, Insert


def test_every_statement_knows_its_place_and_they_may_stand_together() -> None:
    text = "SHOW TABLES; USE a; DESC t;\nALTER TABLE t RENAME a TO b; SET; RESET 'x'; EXPLAIN SELECT 1; DROP VIEW v"
    statements = parse_statements(text)
    kinds = [Show, Use, Describe, Alter, ListOptions, Reset, Explain, Drop]
    assert [type(statement) for statement in statements] == kinds
    assert [text[slice(*statement.span)] for statement in statements] == [part.strip() for part in text.split(";")]


def test_rename_of_a_table_and_of_a_column() -> None:
    one, two = parse_statements("ALTER TABLE t RENAME TO db.u; ALTER TABLE t RENAME `to` TO u")
    assert isinstance(one, Alter) and one.action == RenameTo(("db", "u"))
    assert isinstance(two, Alter) and isinstance(two.action, RenameColumn) and two.action.old == "to"


def test_temporary_is_noted() -> None:
    table, view = parse_statements("CREATE TEMPORARY TABLE t (a INT); CREATE TEMPORARY VIEW v AS SELECT 1")
    assert isinstance(table, CreateTable) and table.temporary
    assert isinstance(view, CreateView) and view.temporary


def test_explain_of_a_statement_set() -> None:
    (explain,) = parse_statements(
        "EXPLAIN CHANGELOG_MODE, ESTIMATED_COST STATEMENT SET BEGIN INSERT INTO a SELECT 1; INSERT INTO b SELECT 2; END"
    )
    assert isinstance(explain, Explain) and [type(one) for one in explain.statements] == [Insert, Insert]


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("SHOW FUNKTIONS", "did you mean FUNCTIONS?"),
        ("SHOW CREATE t", "expected TABLE, VIEW, MODEL or CONNECTION, found 't'"),
        ("SHOW COLUMNS t", "expected FROM or IN, found 't'"),
        ("SHOW TABLES NOT 'a'", "expected LIKE or ILIKE, found"),
        ("DROP t", "expected TABLE, VIEW, FUNCTION, DATABASE, CATALOG, MODEL or CONNECTION, found 't'"),
        ("CREATE TEMPORARY DATABASE d", "expected TABLE, VIEW, FUNCTION, DATABASE, CATALOG, MODEL or CONNECTION"),
        ("ALTER t", "expected TABLE, VIEW, MODEL or CONNECTION, found 't'"),
        ("ALTER TABLE t REMOVE a", "expected RENAME, SET, RESET, ADD, MODIFY or DROP"),
        ("ALTER VIEW v SET ('a' = 'b')", "expected RENAME TO or AS"),
        ("EXPLAIN DROP TABLE t", "expected SELECT or INSERT, found 'DROP'"),
        ("CREATE TABLE t", "expected (, found the end of the text"),
        ("CREATE TABLE t WITH ('a' = 'b')", "expected LIKE or AS, found the end of the text"),
        ("CREATE TABLE t LIKE s (WITH ALL)", "expected INCLUDING, EXCLUDING, OVERWRITING or )"),
        ("CREATE TABLE t LIKE s (INCLUDING THINGS)", "expected ALL, CONSTRAINTS"),
        ("CREATE TABLE t LIKE s (OVERWRITING CONSTRAINTS)", "OVERWRITING CONSTRAINTS is not possible"),
        ("CREATE TABLE t LIKE s (INCLUDING ALL EXCLUDING ALL)", "ALL is said twice"),
        ("CREATE FUNCTION f AS g LANGUAGE PYTHON", "expected the Python function in quotes"),
        ("CREATE FUNCTION f AS 'm.g' LANGUAGE SCALA", "functions of the language SCALA are not supported"),
        ("CREATE FUNCTION f AS 'm.g' LANGUAGE PYTHON USING JAR 'x'", "USING is not supported"),
        ("UPDATE t SET a = 1", "UPDATE is not supported"),
        ("ANALYZE TABLE t COMPUTE STATISTICS", "ANALYZE is not supported"),
        ("SHOW PROCEDURES", "SHOW PROCEDURES is not supported"),
        ("SHOW TABLES FROM", "expected a name, found the end of the text"),
        ("DESCRIBE", "expected a table name, found the end of the text"),
        ("RESET a", "expected an option in quotes, found 'a'"),
    ],
)
def test_errors(sql: str, problem: str) -> None:
    with pytest.raises(SqlError) as caught:
        parse_statements(sql)
    assert problem in str(caught.value) and "^" in str(caught.value)


def test_a_rewritten_tree_shares_what_was_shared_and_may_be_deep() -> None:
    sql = "WITH w AS (SELECT a FROM t) " + " UNION ALL ".join(["SELECT a FROM w"] * 3_000)
    (tree,) = parse_statements(sql)
    assert rewrite(tree, lambda node: node) is tree
    seen = []
    rewrite(tree, lambda node: seen.append(node) or node if isinstance(node, TableRef) else node)
    assert len(seen) == 1
