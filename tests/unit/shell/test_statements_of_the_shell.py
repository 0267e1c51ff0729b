"""A text cut at its semicolons, and statements that only the shell has."""

from __future__ import annotations

import pytest

from anomaly_app.errors import SqlSyntaxError
from anomaly_app.shell.statements import Quit, Read, ShowJobs, StopJob, is_whole, own_statement, split

INSERTS = "INSERT INTO a SELECT 1; INSERT INTO b SELECT CASE WHEN x THEN 1 END; END"
QUOTED = "SELECT ';', `a;b`, \"c;d\" -- no; end\n, e'\\';' /* ; */"


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("SELECT 1; SELECT 2;", ["SELECT 1", "SELECT 2"]),
        (f"{QUOTED};", [QUOTED]),
        (" ;; -- only a remark;\n /* and ; another */ ;", []),
        (f"BEGIN STATEMENT SET; {INSERTS}; QUIT;", [f"BEGIN STATEMENT SET; {INSERTS}", "QUIT"]),
        (f"EXECUTE STATEMENT SET BEGIN {INSERTS}; HELP", [f"EXECUTE STATEMENT SET BEGIN {INSERTS}", "HELP"]),
        (f"EXPLAIN STATEMENT SET BEGIN {INSERTS}", [f"EXPLAIN STATEMENT SET BEGIN {INSERTS}"]),
        ("SELECT 'it''s;'; SELECT date'2026-01-01;'", ["SELECT 'it''s;'", "SELECT date'2026-01-01;'"]),
    ],
)
def test_a_text_is_cut_at_its_semicolons(text: str, statements: list[str]) -> None:
    assert [piece.own for piece in split(text)] == statements


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("", True),
        ("SELECT 1", False),
        ("SELECT 1;", True),
        ("SELECT 1; -- done", True),
        ("SELECT 1; SELECT", False),
        ("SELECT 'a;", False),
        ("SELECT 1 /* ;", False),
        ("SELECT `a;", False),
        ("quit", True),
        ("quit it", False),
        ("BEGIN STATEMENT SET;", False),
        ("BEGIN STATEMENT SET; INSERT INTO a SELECT 1; END;", True),
    ],
)
def test_a_statement_goes_on_until_its_semicolon(text: str, whole: bool) -> None:
    assert is_whole(text) is whole


def test_places_are_those_in_the_whole_text() -> None:
    text = "SELECT 1;\n  SELECT x\nFROM t;"
    second = split(text)[1].text
    assert second == "         \n  SELECT x\nFROM t"


@pytest.mark.parametrize(
    ("text", "statement"),
    [
        ("QUIT", Quit()),
        ("exit", Quit()),
        ("-- remark\nshow jobs", ShowJobs()),
        ("STOP JOB 'a1'", StopJob("a1")),
        ("source 'a b.sql'", Read("a b.sql")),
        ("SHOW TABLES", None),
        ("SELECT quit FROM source", None),
        ("'QUIT'", None),
    ],
)
def test_statements_that_only_the_shell_has(text: str, statement: object) -> None:
    assert own_statement(text) == statement


@pytest.mark.parametrize(
    ("text", "problem", "column"),
    [
        ("STOP JOB", "expected the id of a job in quotes, as SHOW JOBS gives it: STOP JOB 'id'", 9),
        ("STOP JOB a1", "expected the id of a job in quotes", 10),
        ("SOURCE setup.sql", "expected the path of a file in quotes", 8),
        ("SHOW JOBS now", "expected the end of the statement", 11),
        ("SOURCE 'a' 'b'", "expected the end of the statement", 12),
    ],
)
def test_errors_of_such_statements_point(text: str, problem: str, column: int) -> None:
    with pytest.raises(SqlSyntaxError) as caught:
        own_statement(text)
    assert problem in str(caught.value)
    assert caught.value.column == column
