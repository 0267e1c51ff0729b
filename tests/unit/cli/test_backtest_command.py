"""``anomaly backtest``: what would have fired, compared, judged, and shown."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from anomaly_app.cli import main

JOB = """SET 'large' = '8';
CREATE TABLE sales (id INT, shop STRING, qty INT, at TIMESTAMP(3), WATERMARK FOR at AS at - INTERVAL '1' SECOND)
WITH ('connector' = 'kafka', 'topic' = 'shop.sales', 'format' = 'json');
SELECT shop AS storeId, qty, 'LARGE' AS type, CONCAT('<b>', CAST(qty AS STRING), ' & more') AS message
FROM sales WHERE qty > ${large};
"""
ROWS = [
    {"id": 1, "shop": "s1", "qty": 9, "at": "2026-01-01 09:00:00.000"},
    {"id": 2, "shop": "s2", "qty": 3, "at": "2026-01-01 09:00:01.000"},
    {"id": 3, "shop": "s2", "qty": 20, "at": "2026-01-02 09:00:02.000"},
    {"id": 4, "shop": "s2", "qty": 12, "at": "2026-01-02 09:00:03.000"},
]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow
    import pyarrow.parquet

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    Path("large.sql").write_text(JOB)
    Path("sales.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    with Path("sales.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ROWS[0].keys())
        writer.writeheader()
        writer.writerows(ROWS)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), "sales.parquet")


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["backtest", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_the_same_alerts_from_every_kind_of_file(suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    report = told(capsys, "large.sql", "--table", f"sales=sales.{suffix}")
    assert report["total"] == 3
    assert [alert["payload"]["qty"] for alert in report["alerts"]] == [9, 20, 12]
    assert [alert["source"]["offset"] for alert in report["alerts"]] == [0, 2, 3]
    assert {alert["source"]["topic"] for alert in report["alerts"]} == {"shop.sales"}
    assert report["records"] == {"read": 4, "unreadable": 0, "late": 0, "ahead": 0}


def test_counts_by_day_rule_and_store(capsys: pytest.CaptureFixture[str]) -> None:
    report = told(capsys, "large.sql", "--table", "sales=sales.jsonl")
    assert report["days"] == [
        {"day": "2026-01-01", "rule": "LARGE", "alerts": 1}, {"day": "2026-01-02", "rule": "LARGE", "alerts": 2}
    ]  # fmt: skip
    assert report["by"] == "storeId"
    assert [(one["value"], one["alerts"]) for one in report["groups"]] == [("s1", 1), ("s2", 2)]
    other = told(capsys, "large.sql", "--table", "sales=sales.jsonl", "--by", "qty")
    assert [one["value"] for one in other["groups"]] == ["12", "20", "9"]


def test_a_parameter_and_what_it_changes(capsys: pytest.CaptureFixture[str]) -> None:
    tables = ["--table", "sa=sales.jsonl"]
    report = told(capsys, "large.sql", *tables, "--set", "large=10")
    assert (report["parameters"], report["total"]) == ({"large": "10"}, 2)
    report = told(capsys, "large.sql", *tables, "--against-set", "large=15")
    assert (report["total"], report["against"]["total"]) == (3, 1)
    assert [alert["payload"]["qty"] for alert in report["against"]["only_here"]] == [9, 12]
    assert report["against"]["only_there"] == []
    Path("mine.sql").write_text(JOB.replace("qty > ${large}", "qty BETWEEN 2 AND ${large}"))
    report = told(capsys, "large.sql", *tables, "--against", "mine.sql", "--against-set", "large=9")
    assert [alert["payload"]["qty"] for alert in report["against"]["only_here"]] == [20, 12]
    assert [alert["payload"]["qty"] for alert in report["against"]["only_there"]] == [3]


def test_precision_and_recall(capsys: pytest.CaptureFixture[str]) -> None:
    incidents = [
        {"type": "LARGE", "from": "2026-01-02T09:00:02Z", "to": "2026-01-02T09:00:02Z", "about": "20 &"},
        {"type": "LARGE", "from": "2026-01-02T09:00:02Z", "to": "2026-01-02T09:00:02Z", "fields": {"storeId": "s1"}},
        {"type": "ELSEWHERE", "from": 0, "to": 1},
    ]
    Path("truth.jsonl").write_text("".join(json.dumps(one) + "\n" for one in incidents))
    arguments = ["large.sql", "--table", "sales=sales.jsonl", "--truth", "truth.jsonl"]
    report = told(capsys, *arguments)
    assert report["truth"]["LARGE"] | {"missed": [], "wrong": []} == {
        "precision": 1 / 3, "recall": 0.5, "alerts": 3, "right": 1, "incidents": 2, "found": 1, "missed": [],
        "wrong": [],
    }  # fmt: skip
    assert report["truth_of_others"] == {"ELSEWHERE": 1}
    assert main(["backtest", *arguments]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"LARGE +33\.3% +50\.0% +1 +3 +1 +2", shown)
    assert "no rule here tells: ELSEWHERE (1)" in shown


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_no_network_and_escapes_what_rows_say(capsys: pytest.CaptureFixture[str]) -> None:
    Path("truth.jsonl").write_text('{"type": "LARGE", "from": 0, "to": 1}\n')
    tables = ["--table", "sales=sales.jsonl", "--truth", "truth.jsonl", "--against-set", "large=15"]
    assert main(["backtest", "large.sql", *tables, "--html", "page.html"]) == 0
    page = Path("page.html").read_text()
    tags = _Tags()
    tags.feed(page)
    assert (tags.open, tags.links) == ([], [])
    assert "<script" not in page
    assert "http" not in page
    assert "<b>" not in page
    assert "&lt;b&gt;20 &amp; more" in page
    assert page.count('class="bars"') == 2
    assert 'name="viewport"' in page, "a phone would show it as small as a stamp"


def test_alerts_are_written_as_the_worker_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backtest", "large.sql", "--table", "sales=sales.jsonl", "--alerts", "alerts.jsonl"]) == 0
    alerts = [json.loads(line) for line in Path("alerts.jsonl").read_text().splitlines()]
    assert [alert["job"] for alert in alerts] == ["large"] * 3
    assert len({alert["id"] for alert in alerts}) == 3


def test_records_that_cannot_be_read_and_late_ones_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    late = {"id": 5, "shop": "s1", "qty": 99, "at": "2026-01-01 08:00:00.000"}
    lines = [*map(json.dumps, ROWS), "{", json.dumps({"qty": "many", "at": "2026-01-01 09:00:00"}), json.dumps(late)]
    Path("bad.jsonl").write_text("\n".join(lines))
    Path("pattern.sql").write_text(
        JOB.partition("SELECT")[0]
        + "SELECT * FROM sales MATCH_RECOGNIZE (PARTITION BY shop ORDER BY at MEASURES A.qty AS qty "
        "ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW PATTERN (A) DEFINE A AS A.qty > ${large});"
    )
    report = told(capsys, "pattern.sql", "--table", "sales=bad.jsonl")
    assert report["records"] == {"read": 6, "unreadable": 2, "late": 1, "ahead": 0}
    assert report["total"] == 3
    assert report["by"] == "shop"


def test_several_jobs_are_told_together(capsys: pytest.CaptureFixture[str]) -> None:
    Path("small.sql").write_text(JOB.replace("qty > ${large}", "qty < ${large}").replace("LARGE", "SMALL"))
    report = told(capsys, "large.sql", "small.sql", "--table", "sales=sales.jsonl")
    assert report["job"] == "large, small"
    assert {one["rule"] for one in report["days"]} == {"LARGE", "SMALL"}
    assert [alert["payload"]["qty"] for alert in report["alerts"]] == [9, 3, 20, 12]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["large.sql"], "give the rows with --table"),
        (["large.sql", "--table", "sales"], "should be NAME=FILE"),
        (["large.sql", "--table", "other=sales.csv"], "no rows are given for table sales"),
        (["large.sql", "--table", "sales=none.csv"], "none.csv cannot be read"),
        (["large.sql", "--table", "sales=sales.csv", "--to", "2026-01-01"], "--to needs --from"),
        (["large.sql", "--from", "soon"], "should be a time"),
        (["large.sql", "--table", "sales=sales.csv", "--set", "lage=1"], "there is no parameter lage"),
        (["large.sql", "--table", "sales=sales.csv", "--set", "large=many"], "parameters.large is 'many'"),
    ],
)
def test_what_is_wrong_is_said_with_status_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backtest", *arguments]) == 2
    assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())
