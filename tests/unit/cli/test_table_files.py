"""Tables in files: inferred types, and what is said about files that are not what their name says."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomaly_app.cli.files import read_table
from anomaly_app.cli.inference import infer
from anomaly_app.errors import DataError


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], "STRING"),
        ([None], "STRING"),
        (["1", None, "-20"], "BIGINT"),
        (["9223372036854775807"], "BIGINT"),
        (["9223372036854775808"], "STRING"),
        (["1", "2.5", "1e3"], "DOUBLE"),
        (["0.5"], "DOUBLE"),
        (["007", "1"], "STRING"),
        (["00.5"], "STRING"),
        (["£3"], "STRING"),
        (["2026-01-01 09:00:00.5", "2026-01-01T09:00"], "TIMESTAMP(3)"),
        (["2026-01-01T09:00:00Z"], "TIMESTAMP_LTZ(3)"),
        (["2026-01-01T09:00:00+02:00"], "TIMESTAMP_LTZ(3)"),
        (["2026-01-01 09:00:00", "soon"], "STRING"),
        ([1, 2], "BIGINT"),
        ([1, 2.5], "DOUBLE"),
        ([True, False], "BOOLEAN"),
        ([True, 1], "STRING"),
        ([1 << 70], "STRING"),
        ([{"a": 1}, None, {"b": "2026-01-01 09:00:00"}], "ROW<`a` BIGINT, `b` TIMESTAMP(3)>"),
        ([[1], [], [2.5]], "ARRAY<DOUBLE>"),
        ([[{"a": [True]}]], "ARRAY<ROW<`a` ARRAY<BOOLEAN>>>"),
        ([[], []], "ARRAY<STRING>"),
        ([{}], "STRING"),
        ([{"a": 1}, "x"], "STRING"),
    ],
)
def test_types_are_the_narrowest_that_hold_all_values(values: list[object], expected: str) -> None:
    assert infer(values) == expected


def test_quotes_line_breaks_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes('\ufeffa,b\r\n"x, ""y""","1\n2"\r\n\r\nz,\r\n'.encode())
    table = read_table(path)
    assert table.columns == [("a", "STRING"), ("b", "STRING")]
    assert table.rows == [['x, "y"', "1\n2"], ["z", None]]
    assert table.lines == [2, 5]


def test_json_objects_may_lack_fields(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": 1}\n\n{"b": "x", "a": 2}\n')
    table = read_table(path)
    assert table.columns == [("a", "BIGINT"), ("b", "STRING")]
    assert table.rows == [[1, None], [2, "x"]]
    assert table.lines == [1, 3]


@pytest.mark.parametrize(
    ("name", "content", "rows", "unreadable"),
    [
        ("t.csv", b"a,b\n1\n2,x\n", [["2", "x"]], [(2, "1 values for 2 columns", "1")]),
        ("t.csv", b'a,b\n"x"y,1\n2,x\n', [["2", "x"]], [(2, "',' expected after", '"x"y,1')]),
        ("t.csv", b"a,b\n\xff,1\n2,x\n", [["2", "x"]], [(2, "it is not UTF-8", "?,1")]),
        ("t.csv", b'a,b\n2,"x\n3,y\n4,z\n', [["3", "y"], ["4", "z"]], [(2, "a quote is not closed", '2,"x')]),
        ("t.jsonl", b'{"a": 1}\n\n[1]\n{"a": 2}\n', [[1], [2]], [(3, "expected a JSON object: ", "[1]")]),
        ("t.jsonl", b'{"a": 1}\n{"a": \n{"a": 2}', [[1], [2]], [(2, "expected a JSON object: ", '{"a":')]),
        ("t.jsonl", b'{"a": 1}\n{"a": "\xff"}\n', [[1]], [(2, "expected a JSON object: ", '{"a": "')]),
    ],
)
def test_a_line_that_is_no_row_costs_only_itself(
    tmp_path: Path, name: str, content: bytes, rows: list[list[object]], unreadable: list[tuple[int, str, str]]
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    table = read_table(path)
    assert table.rows == rows
    for found, (line, reason, text) in zip(table.unreadable, unreadable, strict=True):
        assert found.line == line
        assert found.reason.startswith(reason)
        assert found.text.startswith(text)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("t.csv", b"", "is empty"),
        ("t.csv", b"a,b\n1\n", "no row can be read; the first: line 2: 1 values for 2 columns"),
        ("t.csv", b'a\n"x"y\n', "line 2"),
        ("t.csv", b"a\n\xff\n", "line 2: it is not UTF-8"),
        ("t.csv", b"\xff,b\n1,2\n", "line 1: it is not UTF-8"),
        ("t.csv", b'"a,b\n1,2\n', "line 1: a quote is not closed"),
        ("t.jsonl", b"[1]\n", "line 1"),
        ("t.parquet", b"no parquet here", "no Parquet file"),
        ("t.txt", b"", "should end in"),
    ],
)
def test_a_file_that_is_not_what_its_name_says(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=problem):
        read_table(path)
