"""Tables in files: inferred types, and what is said about files that are not what their name says."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomaly_app.cli.files import infer, read_table
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
    ],
)
def test_types_are_the_narrowest_that_hold_all_values(values: list[object], expected: str) -> None:
    assert infer(values) == expected


def test_quotes_line_breaks_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes('\ufeffa,b\r\n"x, ""y""","1\n2"\r\n\r\nz,\r\n'.encode())
    assert read_table(path) == ([("a", "STRING"), ("b", "STRING")], [['x, "y"', "1\n2"], ["z", None]])


def test_json_objects_may_lack_fields(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": 1}\n\n{"b": "x", "a": 2}\n')
    assert read_table(path) == ([("a", "BIGINT"), ("b", "STRING")], [[1, None], [2, "x"]])


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("t.csv", b"", "is empty"),
        ("t.csv", b"a,b\n1\n", "record 1: 1 values for 2 columns"),
        ("t.csv", b'a\n"x"y\n', "line 2"),
        ("t.csv", b"a\n\xff\n", "cannot be read"),
        ("t.jsonl", b'{"a": 1}\n{"a": \n', "line 2"),
        ("t.jsonl", b"[1]\n", "line 1"),
        ("t.jsonl", b'{"a": {"b": 1}}\n', "say the columns' types"),
        ("t.parquet", b"no parquet here", "no Parquet file"),
        ("t.txt", b"", "should end in"),
    ],
)
def test_a_file_that_is_not_what_its_name_says(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=problem):
        read_table(path)
