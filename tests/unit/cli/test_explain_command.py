"""``anomaly explain``: a job in words, and everything as JSON."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest

from anomaly_app.cli import main

SALES = str(resources.files("anomaly_app").joinpath("jobs/unusual_sales.sql"))
TABLE = "CREATE TABLE t (a INT, k STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts);"


def out(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["explain", *arguments]) == 0
    return capsys.readouterr().out


def test_the_sales_job_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    text = out(capsys, SALES)
    assert "For each user_id, rows in order of purchase_time:\n  - starts at any row;\n" in text
    assert "  - takes at least one TYPICAL_SALE (any row), as few as possible;\n" in text
    assert "  - all within 10 seconds: " in text
    assert "  - gives one row per match, with user_id, unusual_invoice_id," in text
    assert "avg_quantity           INT              AVG(CAST(TYPICAL_SALE.quantity AS INT))" in text
    assert "strategy      single run: " in text
    assert "def advance(" not in text


def test_the_generated_source_is_printed_if_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    text = out(capsys, SALES, "--source")
    assert "\nGenerated: advance\n" in text
    assert "  def measure(rows, start, labels, number, shown, time, timed_out):" in text


def test_json_has_everything(capsys: pytest.CaptureFixture[str]) -> None:
    (query,) = json.loads(out(capsys, SALES, "--json"))
    assert query["query"] == "UnusualSalesRecordTable" and query["table"] == "SalesRecordTable"
    assert query["conditions"][1]["path_independent"] is False
    assert query["output"][2] == {
        "name": "unusual_quantity",
        "type": "INT",
        "measure": "CAST(UNUSUAL_SALE.quantity AS INT)",
    }
    assert query["limits"] == {"rows_per_key": 100_000, "threads": 10_000}
    assert "def advance(" in query["source"]["advance"]


def test_a_table_without_options_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    clause = "PARTITION BY k ORDER BY ts MEASURES B.a AS a PATTERN (A | (A B))"
    text = out(capsys, f"{TABLE} SELECT * FROM t MATCH_RECOGNIZE ({clause})", "--dialect", "standard")
    assert "  - takes either one A (any row) or else (one A, then one B (any row));\n" in text


def test_a_large_program_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    clause = "ORDER BY ts MEASURES A.a AS a PATTERN (A{100})"
    assert "… and 61 more (--json has all)" in out(capsys, f"{TABLE} SELECT * FROM t MATCH_RECOGNIZE ({clause})")


def test_a_filter_is_told_too(capsys: pytest.CaptureFixture[str]) -> None:
    text = out(capsys, f"{TABLE} SELECT k, a + 1 AS b FROM t WHERE a > 2")
    assert "Takes each row where a > 2:\n  - gives one row for each.\n" in text
    assert "state         none: rows pass one by one" in text


def test_every_query_of_a_job_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "two.sql"
    path.write_text(Path(SALES).read_text("utf-8") + "SELECT user_id FROM SalesRecordTable;")
    assert [query["query"] for query in json.loads(out(capsys, str(path), "--json"))] == [
        "UnusualSalesRecordTable",
        "query",
    ]


def test_what_is_wrong_is_pointed_at(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["explain", f"{TABLE} SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts PATTERN (A B) DEFINE C AS 1 = 1)"]) == 2
    )
    assert "C is defined but not in PATTERN" in capsys.readouterr().err


def test_the_plan_stands_behind_the_words(capsys: pytest.CaptureFixture[str]) -> None:
    text = out(capsys, SALES)
    assert text.index("How it runs") < text.index("== Logical plan ==\n[1] Project user_id,")
    assert "\n  [2] Match (TYPICAL_SALE+? UNUSUAL_SALE) by user_id\n    [3] Scan SalesRecordTable, watermark" in text
    assert "\n    state    rows of open matches; bounded by WITHIN\n" in text
    (query,) = json.loads(out(capsys, SALES, "--json"))
    assert [node["node"] for node in query["plan"]["nodes"]] == ["Calc", "Match", "Scan"]
    assert query["plan"]["distributed_by"] == ["user_id"]


def test_functions_of_allowed_modules_are_known(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "explained_functions.py").write_text("def same(a: int) -> int:\n    return a\n")
    monkeypatch.syspath_prepend(tmp_path)
    sql = (
        f"{TABLE} CREATE FUNCTION same AS 'explained_functions.same' LANGUAGE PYTHON; SELECT k FROM t WHERE same(a) > 1"
    )
    assert main(["explain", sql]) == 2
    assert "functions.modules allows no module" in capsys.readouterr().err
    assert "where same(a) > 1" in out(capsys, sql, "--set", "functions.modules=explained_functions")


def test_parameters_are_listed_with_type_and_value(capsys: pytest.CaptureFixture[str]) -> None:
    sql = f"{TABLE} SET 'least' = '5'; SET 'who' = 'ann'; SELECT k FROM t WHERE a > ${{least}} AND k <> ${{who}}"
    assert main(["explain", sql, "--set", "parameters.lest=7"]) == 2
    assert "did you mean least?" in " ".join(capsys.readouterr().err.replace("│", " ").split())
    told = out(capsys, sql, "--set", "parameters.least=7")
    assert "least  number  7      from the settings; SET says 5" in told
    assert "who    text    'ann'" in told
    assert "where a > 7 AND k <> 'ann'" in told
    document = json.loads(out(capsys, sql, "--json"))
    assert document["parameters"][0] == {
        "name": "least", "type": "number", "literal": "5", "usual": "5", "given": False
    }  # fmt: skip
    assert [one["query"] for one in document["queries"]] == ["query"]
