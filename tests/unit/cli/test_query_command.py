"""``anomaly query`` runs SQL over files."""

from __future__ import annotations

import csv
import io
import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from anomaly_app.cli import main

SALES = str(resources.files("anomaly_app").joinpath("jobs/unusual_sales.sql"))
CSV = """\
user_id,qty,ts
ann,2,2026-01-01 09:00:05.000
bob,,2026-01-01 09:00:00.000
ann,9,2026-01-01 09:00:07.000
"""
SPIKES = (
    "SELECT * FROM sales MATCH_RECOGNIZE (PARTITION BY user_id ORDER BY ts MEASURES B.qty AS qty, B.ts AS at "
    "ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE B AS B.qty > 3 * A.qty)"
)


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.csv
    import pyarrow.parquet

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    Path("sales.csv").write_text(CSV)
    rows = csv.DictReader(io.StringIO(CSV))
    records = [row | {"qty": int(row["qty"]) if row["qty"] else None} for row in rows]
    Path("sales.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    pyarrow.parquet.write_table(pyarrow.csv.read_csv("sales.csv"), "sales.parquet")


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["query", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_the_same_rows_from_every_kind_of_file(suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = as_json(capsys, SPIKES, "--table", f"sales=sales.{suffix}")
    assert [column["type"] for column in result["columns"]] == ["STRING", "BIGINT", "TIMESTAMP(3)"]
    assert result["rows"] == [{"user_id": "ann", "qty": 9, "at": "2026-01-01 09:00:07.000"}]
    assert result["late"] == []


def test_a_delay_makes_rows_late_and_they_can_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    sql = (
        "SELECT user_id FROM sales "
        "MATCH_RECOGNIZE (ORDER BY ts MEASURES A.user_id AS user_id PATTERN (A) DEFINE A AS 1 = 1)"
    )
    assert main(["query", sql, "--table", "sales=sales.csv", "--delay", "1s", "--late", "--csv"]) == 0
    assert capsys.readouterr().out == "user_id,qty,ts\nbob,,2026-01-01 09:00:00.000\n"
    result = as_json(capsys, sql, "--table", "sales=sales.csv", "--delay", "1s")
    assert [row["user_id"] for row in result["rows"]] == ["ann", "ann"]
    assert result["late"] == [{"user_id": "bob", "qty": None, "ts": "2026-01-01 09:00:00.000"}]


def test_csv_and_table_show_what_json_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", SPIKES, "--table", "sales=sales.csv", "--csv"]) == 0
    assert capsys.readouterr().out == "user_id,qty,at\nann,9,2026-01-01 09:00:07.000\n"
    assert main(["query", SPIKES, "--table", "sales=sales.csv"]) == 0
    captured = capsys.readouterr()
    assert [line.split() for line in captured.out.splitlines()] == [
        ["user_id", "qty", "at"],
        ["ann", "9", "2026-01-01", "09:00:07.000"],
    ]
    assert captured.err == "1 rows\n"


def test_types_may_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    result = as_json(capsys, "SELECT qty FROM sales", "--table", "sales=sales.csv", "--columns", "qty DECIMAL(10, 2)")
    assert result["columns"] == [{"name": "qty", "type": "DECIMAL(10, 2)"}]
    assert {row["qty"] for row in result["rows"]} == {"2.00", None, "9.00"}


def test_the_job_of_the_worker_runs_over_generated_sales(capsys: pytest.CaptureFixture[str]) -> None:
    generated = ["generate", "--records", "3000", "--rare", "0.02", "--start", "2026-01-01 09:00:00"]
    assert main([*generated, "--output", "generated.csv"]) == 0
    capsys.readouterr()
    result = as_json(capsys, SALES, "--table", "SalesRecordTable=generated.csv")
    names = [column["name"] for column in result["columns"]]
    assert names[0] == "user_id" and "avg_quantity" in names
    assert len(result["rows"]) > 10
    for row in result["rows"]:
        assert row["unusual_quantity"] > 3 * row["avg_quantity"]
        assert row["avg_last_sale_tstamp"] <= row["unusual_tstamp"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["SELECT * FROM sale", "--table", "sales=sales.csv"], "unknown table 'sale'; did you mean sales"),
        (["SELECT FROM sales", "--table", "sales=sales.csv"], "line 1, column 8"),
        (["SELECT * FROM sales", "--table", "sales"], "NAME=FILE"),
        (["SELECT * FROM sales", "--table", "sales=nowhere.csv"], "nowhere.csv cannot be read"),
        (["SELECT * FROM sales", "--table", "sales=sales.xlsx"], ".parquet"),
        (["SELECT * FROM sales", "--table", "sales=sales.csv", "--delay", "soon"], "500ms"),
        (["SELECT * FROM sales", "--table", "sales=sales.csv", "--rowtime", "when"], "'when' is not a column"),
        (["SELECT * FROM sales", "--table", "sales=sales.csv", "--columns", "qty NUMBR"], "data type"),
        (["SELECT * FROM sales", "--table", "sales=sales.csv", "--columns", "quantity INT"], "no column 'quantity'"),
        (["SELECT * FROM sales", "--table", "sales=sales.csv", "--json", "--csv"], "not both"),
        (["no-such-job.sql", "--table", "sales=sales.csv"], "no-such-job.sql cannot be read"),
    ],
)
def test_what_is_wrong_is_said_with_status_2(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["query", *arguments]) == 2
    error = capsys.readouterr().err
    assert problem in error and "Traceback" not in error


def test_which_row_was_which_variable(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", SPIKES, "--table", "sales=sales.csv", "--explain-match"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["user_id", "qty", "at"],
        ["ann", "9", "2026-01-01", "09:00:07.000"],
        [],
        ["row", "variable", "user_id", "qty", "ts"],
        ["1", "A", "ann", "2", "2026-01-01", "09:00:05.000"],
        ["1", "B", "ann", "9", "2026-01-01", "09:00:07.000"],
    ]
    result = as_json(capsys, SPIKES, "--table", "sales=sales.csv", "--explain-match")
    assert result["matches"] == [
        [
            {"variable": "A", "row": {"user_id": "ann", "qty": 2, "ts": "2026-01-01 09:00:05.000"}},
            {"variable": "B", "row": {"user_id": "ann", "qty": 9, "ts": "2026-01-01 09:00:07.000"}},
        ]
    ]
    assert "matches" not in as_json(capsys, SPIKES, "--table", "sales=sales.csv")


def test_rows_of_one_match_are_explained_together(capsys: pytest.CaptureFixture[str]) -> None:
    sql = (
        "SELECT lab FROM sales MATCH_RECOGNIZE (PARTITION BY user_id ORDER BY ts MEASURES CLASSIFIER() AS lab "
        "ALL ROWS PER MATCH AFTER MATCH SKIP PAST LAST ROW PATTERN (A B))"
    )
    arguments = ["query", sql, "--table", "sales=sales.csv", "--dialect", "standard", "--explain-match", "--csv"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines() == [
        "lab",
        "A",
        "B",
        "",
        "row,variable,user_id,qty,ts",
        "1-2,A,ann,2,2026-01-01 09:00:05.000",
        "1-2,B,ann,9,2026-01-01 09:00:07.000",
    ]


def test_late_rows_are_in_no_match(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", SPIKES, "--table", "sales=sales.csv", "--late", "--explain-match"]) == 2
    assert "late rows are in no match" in capsys.readouterr().err
