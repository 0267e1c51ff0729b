"""Tables in files: what is a row, what is not, and how files are declared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anomaly_app import DataError, Rows, SqlValidationError, query
from anomaly_app.filesystem import FileTable
from anomaly_app.jobs.files import bind_file
from anomaly_app.schema import DOUBLE, INT, STRING, Column
from anomaly_app.session import Session
from anomaly_app.sql import parse_statements

COLUMNS = (Column("sensor", STRING), Column("most", DOUBLE), Column("n", INT))


def rows(table: FileTable, size: int = 2) -> tuple[list[tuple[object, ...]], list[str]]:
    found, reasons = [], []
    for chunk in table.chunks(table.columns, size):
        found += list(zip(*chunk.columns, strict=True))
        reasons += [each.reason for each in chunk.rejected]
    return found, reasons


def csv(tmp_path: Path, text: str, **options: str) -> FileTable:
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    return FileTable(path, "csv", COLUMNS, {name.replace("_", "-"): value for name, value in options.items()})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,1,2\nb,3,4\n", [("a", 1.0, 2), ("b", 3.0, 4)]),
        ("sensor,most,n\na,1,2\n", [("a", 1.0, 2)]),
        ("n,more,sensor,most\r\n2,x,a,1\r\n\r\n", [("a", 1.0, 2)]),
        ("\ufeffsensor,most,n\na,1,2", [("a", 1.0, 2)]),
        ('"a\nb",1,2\nc,3,4\n', [("a\nb", 1.0, 2), ("c", 3.0, 4)]),
        ("", []),
        ("sensor,most,n\n", []),
        ("n,1,2\n", [("n", 1.0, 2)]),
    ],
)
def test_csv_by_name_if_the_first_line_names_the_columns_else_by_position(
    tmp_path: Path, text: str, expected: list[tuple[object, ...]]
) -> None:
    assert rows(csv(tmp_path, text)) == (expected, [])


def test_a_header_that_lacks_a_column_is_an_error(tmp_path: Path) -> None:
    for header in ("sensor,most", "sensor,limit,n", "sensor,x,y,z"):
        with pytest.raises(DataError, match=r"its first line has no column '(n|most)'; it has sensor"):
            rows(csv(tmp_path, f"{header}\na,1\n"))


def test_bad_lines_cost_only_themselves(tmp_path: Path) -> None:
    table = csv(tmp_path, 'sensor,most,n\na,1,2\nb,x,2\nc,1\n"d,1,2\ne,5,6\n')
    assert rows(table) == (
        [("a", 1.0, 2), ("e", 5.0, 6)],
        [
            "line 3: column most: 'x' (str) is not a DOUBLE",
            "line 4: 2 fields where the table has 3 columns: 'c,1'",
            "line 5: not CSV: unexpected end of data",
        ],
    )


def test_options_of_the_format_count(tmp_path: Path) -> None:
    options = {"field_delimiter": ";", "null_literal": "-", "allow_comments": "true", "ignore_parse_errors": "true"}
    assert rows(csv(tmp_path, "# limits\na;-;2\nb\nc;x;1;4;5\n", **options)) == (
        [("a", None, 2), ("b", None, None)],
        [],
    )


def test_json_lines_and_an_array_of_objects(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    table = FileTable(path, "json", COLUMNS)
    path.write_text('{"sensor": "a", "most": 1, "n": 2}\n\n{"sensor": "b"}\n[1]\n{"n": "many"}\n')
    found, reasons = rows(table)
    assert found == [("a", 1.0, 2), ("b", None, None)]
    assert [reason.partition(":")[0] for reason in reasons] == ["line 4", "line 5"]
    path.write_text(json.dumps([{"sensor": "a", "most": 1.5}, {"sensor": "b", "n": 7}], indent=2))
    assert rows(table) == ([("a", 1.5, None), ("b", None, 7)], [])
    path.write_text('[{"sensor": "a"}, ')
    with pytest.raises(DataError, match="is no array of JSON objects"):
        rows(table)


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "t.parquet"
    parquet.write_table(pyarrow.table({"n": [2, None], "sensor": ["a", "b"], "most": [1.0, 2.0]}), path)
    table = FileTable(path, "parquet", COLUMNS)
    assert rows(table) == ([("a", 1.0, 2), ("b", 2.0, None)], [])
    with pytest.raises(DataError, match="has no column 'kind'; it has n, sensor, most"):
        rows(FileTable(path, "parquet", (Column("kind", STRING),)))
    path.write_bytes(b"no parquet")
    with pytest.raises(DataError, match="is no Parquet file"):
        rows(table)


def test_a_file_that_is_not_there_and_one_that_is_a_folder(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "no.csv", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(DataError, match=f"cannot be read: {reason}"):
            rows(FileTable(path, "csv", COLUMNS))


def test_the_signature_changes_with_the_file(tmp_path: Path) -> None:
    table = csv(tmp_path, "a,1,2\n")
    before = table.signature()
    assert table.signature() == before
    csv(tmp_path, "a,1,23\n")
    assert table.signature() != before


# --- in SQL ---------------------------------------------------------------------------------------------


def create(path: object, more: str = "", format_: str = "csv", columns: str = "sensor STRING, most DOUBLE") -> str:
    return (
        f"CREATE TABLE t ({columns}) WITH "
        f"('connector' = 'filesystem', 'path' = '{path}', 'format' = '{format_}'{more});"
    )


def test_a_file_is_a_table_of_query(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("sensor,most\na,1\nb,x\nc,3\n")
    result = query(f"{create(f'file://{path}')} SELECT sensor, most * 2 AS twice FROM t")
    assert result.rows == [("a", 2.0), ("c", 6.0)]
    assert [(row.table, row.number, row.reason) for row in result.rejected] == [
        ("t", 3, "line 3: column most: 'x' (str) is not a DOUBLE")
    ]
    given = Rows([("sensor", "STRING"), ("most", "DOUBLE")], [("z", 9.0)])
    assert query(f"{create(path)} SELECT sensor FROM t", {"t": given}).rows == [("z",)]  # what is given comes first


def test_a_file_with_event_time_and_computed_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,2026-01-01 09:00:00\nb,2026-01-01 09:00:30\na,2026-01-01 09:01:00\n")
    columns = "k STRING, ts TIMESTAMP(3), up AS UPPER(k), WATERMARK FOR ts AS ts"
    sql = (
        f"{create(path, columns=columns)} SELECT up, COUNT(*) AS n FROM TUMBLE(TABLE t, DESCRIPTOR(ts), "
        "INTERVAL '1' MINUTE) GROUP BY up, window_start, window_end"
    )
    assert sorted(query(sql).rows) == [("A", 1), ("A", 1), ("B", 1)]


def test_a_session_reads_the_file_anew(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    session = Session({"o": Rows([("sensor", "STRING")], [("a",)])})
    session.execute(create(path).rstrip(";"))
    for most in (1.0, 2.0):
        path.write_text(f"a,{most}\n")
        sql = "SELECT most FROM o JOIN t FOR SYSTEM_TIME AS OF PROCTIME() ON o.sensor = t.sensor"
        assert session.execute(sql).rows == [(most,)]
        assert session.execute("SELECT most FROM t").rows == [(most,)]


@pytest.mark.parametrize(
    ("sql", "marked", "problem"),
    [
        (create("s3://bucket/t.csv"), "'path'", "'s3://bucket/t.csv' is not on this machine"),
        (create("t.xml", format_="xml"), "'format'", "must be one of 'csv', 'json', 'parquet'"),
        (create("t.csv", ", 'pth' = 'x'"), "'pth'", "unknown option 'pth' of the connector 'filesystem'; did you mean"),
        (create("t.csv", ", 'csv.null-litral' = 'x'"), "'csv.null-litral'", "did you mean 'csv.null-literal'?"),
        (create("t.csv", ", 'csv.field-delimiter' = '||'"), "'csv.field-delimiter'", "must be a single character"),
        (create("t.csv", ", 'json.ignore-parse-errors' = 'true'"), "'json.", "unknown option 'json.ignore-parse"),
        (create("t.csv", ", 'source.monitor-interval' = 'soon'"), "'source.mon", "must be a duration"),
        (create("t.csv", ", 'source.path.regex-pattern' = '.*'"), "'source.path", "is not supported: name the file"),
        (create("t.csv", columns="m MAP<STRING, INT>"), "m MAP", "column 'm' in the format 'csv'"),
        (create("t.csv", columns="ts TIMESTAMP(3) METADATA FROM 'timestamp'"), "ts TIMES", "a file has no metadata"),
        ("CREATE TABLE t (a INT) WITH ('connector' = 'filesystem', 'format' = 'csv')", "CREATE", "option 'path' is m"),
        ("CREATE TABLE t (a INT) WITH ('connector' = 'filesystem', 'path' = 'x')", "CREATE", "the formats of a file"),
    ],
)
def test_options_that_are_wrong_are_pointed_at(sql: str, marked: str, problem: str) -> None:
    (statement,) = parse_statements(sql)
    with pytest.raises(SqlValidationError) as caught:
        bind_file(statement, [])  # type: ignore[arg-type] # it is a CREATE TABLE
    assert problem in caught.value.problem
    assert sql[caught.value.start : caught.value.end].startswith(marked)


def test_what_is_about_writing_is_told() -> None:
    warnings: list[str] = []
    (statement,) = parse_statements(create("t.csv", ", 'sink.rolling-policy.file-size' = '1MB'"))
    source = bind_file(statement, warnings)  # type: ignore[arg-type] # it is a CREATE TABLE
    assert source.interval_ms == 1_000
    assert warnings == ["table t: option 'sink.rolling-policy.file-size' has no meaning here and is ignored"]
