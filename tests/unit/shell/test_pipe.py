"""``anomaly sql`` where nobody sits at a prompt: files, statements of the command line, standard input."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from anomaly_app.cli import main

TABLE = "CREATE TABLE t (a INT, b STRING); INSERT INTO t VALUES (1, 'x'), (2, CAST(NULL AS STRING));"


@pytest.fixture(autouse=True)
def _own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


def _typed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_statements_come_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _typed(monkeypatch, TABLE + "SELECT b, a FROM t WHERE a > 1")
    assert main(["sql"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "+----+--------------------------------+-------------+",
        "| op |                              b |           a |",
        "+----+--------------------------------+-------------+",
        "| +I |                         <NULL> |           2 |",
        "+----+--------------------------------+-------------+",
    ]
    assert printed.err.splitlines() == ["[INFO] Execute statement succeeded."] * 2 + ["Received a total of 1 row"]


def test_files_and_statements_of_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "setup.sql").write_text(TABLE)
    (tmp_path / "more.sql").write_text("SET 'table.display.max-column-width' = '6'; SOURCE 'last.sql';")
    (tmp_path / "last.sql").write_text("SELECT a, CAST('abcdefgh' AS STRING) c FROM t;")
    assert main(["sql", "-i", "setup.sql", "-f", "more.sql", "-e", "SHOW TABLES"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "|" in line]
    assert rows == [
        "| op |           a |      c |",
        "| +I |           1 | abc... |",
        "| +I |           2 | abc... |",
        "| table name |",
        "|          t |",
    ]


def test_json_is_a_row_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    statement = "SELECT a, b, TIMESTAMP '2026-01-02 03:04:05.678' AS ts, 1.50 AS d, ARRAY[a] AS l FROM t; SHOW JOBS;"
    statement += "SHOW TABLES"
    assert main(["sql", "--json", "-e", TABLE, "-e", statement]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"op": "+I", "row": {"a": 1, "b": "x", "ts": "2026-01-02 03:04:05.678", "d": "1.50", "l": [1]}},
        {"op": "+I", "row": {"a": 2, "b": None, "ts": "2026-01-02 03:04:05.678", "d": "1.50", "l": [2]}},
        {"op": "+I", "row": {"table name": "t"}},
    ]


@pytest.mark.parametrize("mode", ["table", "TABLE"])
def test_table_is_what_is_left(mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    sets = f"SET 'sql-client.execution.result-mode' = '{mode}';"
    assert main(["sql", "-e", TABLE, "-e", sets + "SELECT a FROM t"]) == 0
    printed = capsys.readouterr()
    assert [line for line in printed.out.splitlines() if "|" in line] == [
        "|           a |",
        "|           1 |",
        "|           2 |",
    ]
    assert printed.err.endswith("2 rows in set\n")


def test_too_many_rows_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    sets = "SET 'sql-client.execution.result-mode' = 'table'; SET 'sql-client.execution.max-table-result.rows' = '1';"
    assert main(["sql", "-e", TABLE, "-e", sets + "SELECT a FROM t"]) == 0
    printed = capsys.readouterr()
    assert "|           1 |" not in printed.out and "|           2 |" in printed.out
    assert printed.err.endswith("1 row in set\n1 older rows are not shown\n")


def test_an_error_ends_it_and_points_into_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "job.sql").write_text(TABLE + "\n\nSELECT a,\n  wrong\nFROM t;\nSHOW TABLES;")
    assert main(["sql", "-f", "job.sql"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines()[-3:] == [
        "[ERROR] job.sql: line 4, column 3: unknown column 'wrong'; known: a, b",
        "    wrong",
        "    ^^^^^",
    ]


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("SELEC 1", "expected CREATE, INSERT, SELECT or SET, found 'SELEC'; did you mean SELECT?"),
        ("SELECT 'a", "the text is not closed: expected another '"),
        ("SOURCE 'nowhere.sql'", "nowhere.sql cannot be read"),
        ("STOP JOB 'a1'", "there is no job 'a1'; running: none"),
        ("DESCRIBE JOB ''", "there is no job ''; running: none"),
        ("STOP JOB a1", "expected the id of a job in quotes, as SHOW JOBS gives it: STOP JOB 'id'"),
        (
            "SET 'sql-client.execution.result-mode' = 'tabel'",
            "it must be 'table', 'changelog' or 'tableau'; did you mean table?",
        ),
        ("SET 'execution.runtime-mode' = 'x'", "it must be 'streaming' or 'batch'"),
        ("SET 'sql-client.execution.max-table-result.rows' = '0'", "it must be a whole number, at least 1"),
        ("SET 'table.display.max-column-width' = 'wide'", "it must be a whole number, at least 4"),
        ("SET 'anomaly.jobs.detach' = 'ja'", "it must be 'true' or 'false'"),
        ("SET 'anomaly.job.detach' = 'true'", "did you mean anomaly.jobs.detach?"),
        ("INSERT INTO t SELECT 1", "query has 1 columns, t takes 2"),
        ("SELECT * FROM k", "'connector'"),
        (
            "SELECT a FROM t UNION ALL SELECT a FROM good",
            "table t is in memory and good is a topic: a query reads one kind",
        ),
        ("INSERT INTO t SELECT a, b FROM good", "table t is in memory: a job writes topics"),
    ],
)
def test_errors_are_told(statement: str, problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    tables = (
        TABLE + "CREATE TABLE k (a INT) WITH ('connector' = 'kafk', 'topic' = 't', 'format' = 'json');"
        "CREATE TABLE good (a INT, b STRING) WITH ('connector' = 'kafka', 'topic' = 't', 'format' = 'json');"
    )
    assert main(["sql", "-e", tables, "-e", statement]) == 2
    error = capsys.readouterr().err
    assert "[ERROR]" in error and problem in error
    assert "Traceback" not in error


def test_an_endless_input_cannot_be_sorted(capsys: pytest.CaptureFixture[str]) -> None:
    table = "CREATE TABLE k (a INT) WITH ('connector' = 'kafka', 'topic' = 't', 'format' = 'json')"
    match = "SELECT * FROM k MATCH_RECOGNIZE (ORDER BY a MEASURES A.a AS b PATTERN (A) DEFINE A AS A.a > 1)"
    assert main(["sql", "--set", "worker.dialect=standard", "-e", table, "-e", match]) == 2
    assert "an endless input cannot be sorted" in capsys.readouterr().err


def test_unknown_options_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", "-e", "SET 'pipeline.name' = 'mine'; SET 'my.api-key' = 'secret'; SET"]) == 0
    printed = capsys.readouterr().out
    assert "| pipeline.name |   mine |" in printed
    assert "secret" not in printed


def test_quit_leaves_and_help_helps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", "-e", "HELP; QUIT; SELECT wrong"]) == 0
    assert "STOP JOB 'id'" in capsys.readouterr().out


def test_files_that_source_themselves_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "again.sql").write_text("SOURCE 'again.sql';")
    assert main(["sql", "-f", "again.sql"]) == 2
    assert "20 files are open that SOURCE one another" in capsys.readouterr().err


def test_create_and_explain_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", "-e", TABLE, "-e", "SHOW CREATE TABLE t; EXPLAIN SELECT a FROM t"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("CREATE TABLE `default_catalog`.`default_database`.`t` (\n  `a` INT,\n")
    assert "== Logical plan ==" in printed


def test_a_table_in_memory_without_rows_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", "-e", "CREATE TABLE empty (a INT)", "-e", "SELECT * FROM empty"]) == 0
    assert capsys.readouterr().err.endswith("Received a total of 0 row\n")


def test_a_file_is_a_table_and_is_looked_up_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "names.csv").write_text("a,name\n1,one\n2,two\n")
    file = (
        "CREATE TABLE f (a INT, name STRING) WITH ('connector' = 'filesystem', 'path' = 'names.csv', 'format' = 'csv');"
    )
    queries = "SELECT name FROM f; SELECT b, name FROM t JOIN f FOR SYSTEM_TIME AS OF PROCTIME() ON t.a = f.a"
    assert main(["sql", "--json", "-e", TABLE + file, "-e", queries]) == 0
    rows = [json.loads(line)["row"] for line in capsys.readouterr().out.splitlines()]
    assert rows == [{"name": "one"}, {"name": "two"}, {"b": "x", "name": "one"}, {"b": None, "name": "two"}]
