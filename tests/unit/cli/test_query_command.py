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
    assert captured.err == "1 row\n"


def test_changes_of_a_result(capsys: pytest.CaptureFixture[str]) -> None:
    counted = "SELECT user_id, COUNT(*) AS n FROM sales GROUP BY user_id"
    assert main(["query", counted, "--table", "sales=sales.csv", "--changes", "--csv"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header == "op,user_id,n"
    assert lines and all(line.startswith("+I,") for line in lines)
    result = as_json(capsys, counted, "--table", "sales=sales.csv", "--changes")
    assert [change["row"] for change in result["changes"]] == result["rows"]
    assert main(["query", counted, "--table", "sales=sales.csv", "--changes", "--late"]) == 2


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


BAD = """\
device,temp,ts
d1,20.5,2026-01-01 09:00:00
d1,21.5,
d1,22.5,yesterday
d1,hot,2026-01-01 09:00:20
d1
d1,23.5,2026-01-01 09:00:30
"""
RISING = (
    "SELECT * FROM n MATCH_RECOGNIZE (PARTITION BY device ORDER BY ts MEASURES A.temp AS before, B.temp AS now_ "
    "PATTERN (A B) DEFINE B AS B.temp > A.temp)"
)
TABLE = """CREATE TABLE n (device STRING, temp DOUBLE, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
WITH ('connector' = 'kafka', 'topic' = 'n', 'format' = 'json');
"""


def write_bad(suffix: str) -> None:
    Path("bad.csv").write_text(BAD)
    lines = []
    for row in csv.reader(BAD.splitlines()[1:]):
        record = dict(zip(["device", "temp", "ts"], (value or None for value in row), strict=False))
        lines.append(json.dumps(record) if len(row) == 3 else "no JSON")
    Path("bad.jsonl").write_text("\n".join(["", *lines]))


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize(
    "how",
    [[RISING, "--rowtime", "ts", "--columns", "temp DOUBLE"], [RISING, "--columns", "temp DOUBLE"], [TABLE + RISING]],
)
def test_a_row_that_cannot_be_read_costs_only_itself(
    suffix: str, how: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write_bad(suffix)
    result = as_json(capsys, *how, "--table", f"n=bad.{suffix}")
    assert result["rows"] == [{"device": "d1", "before": 20.5, "now_": 23.5}]
    assert [row["where"] for row in result["rejected"]] == ["line 3", "line 4", "line 5", "line 6"]
    reasons = [row["reason"] for row in result["rejected"]]
    assert reasons[0] == "the event time ts is NULL"
    assert "ts" in reasons[1] and "yesterday" in reasons[1] and "is not a TIMESTAMP(3)" in reasons[1]
    assert "temp" in reasons[2] and "hot" in reasons[2] and "is not a DOUBLE" in reasons[2]
    assert main(["query", *how, "--table", f"n=bad.{suffix}"]) == 0
    assert "rejected: 4, the first: line 3: the event time ts is NULL (--rejected shows all)" in capsys.readouterr().err
    assert main(["query", *how, "--table", f"n=bad.{suffix}", "--rejected", "--csv"]) == 0
    shown = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert shown[0] == ["where", "reason", "row"]
    assert [row[0] for row in shown[1:]] == ["line 3", "line 4", "line 5", "line 6"]


def test_a_file_of_which_no_row_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.csv").write_text("device,temp,ts\nd1,1.5,\nd1,2.5,never\n")
    for more in ([], ["--rejected"]):
        assert main(["query", RISING, "--table", "n=bad.csv", "--rowtime", "ts", *more]) == 2
        captured = capsys.readouterr()
        assert "no row can be read" in captured.err and "Traceback" not in captured.err
    assert "line 3" in captured.out
    assert main(["query", RISING, "--table", "n=bad.csv", "--rejected", "--late"]) == 2


NESTED = """\
{"device":"dev-1","at":"2026-01-01T09:00:00","meta":{"site":"north","temp":20.0},"ms":[{"sensor":"a","reading":22.5}]}
{"device":"dev-1","at":"2026-01-01T09:00:10","meta":{"site":"north","temp":50.0},"ms":[{"sensor":"a","reading":99.5}]}
{"device":"dev-2","at":"2026-01-01T09:00:20","meta":{"site":"south","temp":null},"ms":[]}
"""
NESTED_TYPES = "meta ROW<site STRING, temp DOUBLE>, ms ARRAY<ROW<sensor STRING, reading DOUBLE>>"
NESTED_TABLE = f"""CREATE TABLE n (device STRING, at TIMESTAMP(3), {NESTED_TYPES}, more MAP<STRING, INT>,
WATERMARK FOR at AS at) WITH ('connector' = 'kafka', 'topic' = 'n', 'format' = 'json');
"""


@pytest.mark.parametrize("how", ["inferred", "columns", "ddl"])
def test_objects_and_arrays_of_json_lines(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("n.jsonl").write_text(NESTED)
    types = ["--columns", NESTED_TYPES] if how == "columns" else []
    table = NESTED_TABLE if how == "ddl" else ""
    sql = "SELECT device, meta.site, ms[1].reading AS first_reading, meta.temp FROM n"
    result = as_json(capsys, table + sql, "--table", "n=n.jsonl", *types)
    assert [tuple(row.values()) for row in result["rows"]] == [
        ("dev-1", "north", 22.5, 20.0),
        ("dev-1", "north", 99.5, 50.0),
        ("dev-2", "south", None, None),
    ]


def test_declared_types_are_not_inferred(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from anomaly_app.cli import files

    def refuse(values: object) -> str:
        raise AssertionError("types were inferred")

    monkeypatch.setattr(files, "infer", refuse)
    Path("n.jsonl").write_text(NESTED)
    sql = "SELECT meta.site FROM n"
    assert len(as_json(capsys, NESTED_TABLE + sql, "--table", "n=n.jsonl")["rows"]) == 3
    types = f"device STRING, at TIMESTAMP(3), {NESTED_TYPES}"
    assert len(as_json(capsys, sql, "--table", "n=n.jsonl", "--columns", types)["rows"]) == 3


def test_json_lines_are_read_as_the_worker_reads_them(capsys: pytest.CaptureFixture[str]) -> None:
    Path("n.jsonl").write_text(
        '{"device": 7, "meta": {"site": {"a": 1}, "temp": "1.5"}, "at": "2026-01-01 09:00:00"}\n'
    )
    result = as_json(capsys, NESTED_TABLE + "SELECT device, meta.site, meta.temp, more FROM n", "--table", "n=n.jsonl")
    assert result["rows"] == [{"device": "7", "site": '{"a":1}', "temp": 1.5, "more": None}]
    Path("n.jsonl").write_text(NESTED + '{"at": "2026-01-01 09:00:30", "meta": {"temp": "hot"}}\n')
    result = as_json(capsys, NESTED_TABLE + "SELECT device FROM n", "--table", "n=n.jsonl")
    assert [row["reason"] for row in result["rejected"]] == ["field 'meta.temp': \"hot\" (string) is not a DOUBLE"]


def test_parameters_are_given_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    Path("few.csv").write_text("k,a\nann,2\nbob,9\n")
    sql = "SET 'least' = '5'; SELECT k FROM t WHERE a > ${least}"
    assert as_json(capsys, sql, "--table", "t=few.csv")["rows"] == [{"k": "bob"}]
    for given in ("least=1", "parameters.least=1"):
        rows = as_json(capsys, sql, "--table", "t=few.csv", "--set", given)["rows"]
        assert rows == [{"k": "ann"}, {"k": "bob"}]
    assert main(["query", sql, "--table", "t=few.csv", "--set", "lest=1"]) == 2
    assert "there is no parameter lest; did you mean least?" in " ".join(capsys.readouterr().err.split())
    assert main(["query", sql, "--table", "t=few.csv", "--set", "least"]) == 2
    assert main(["query", "SELECT k FROM t WHERE a > ${least}", "--table", "t=few.csv"]) == 2
    assert "^^^^^^^^" in capsys.readouterr().err
