"""``anomaly check`` binds job files and says what is wrong with them, where."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest

from anomaly_app.cli import main

SALES = str(resources.files("anomaly_app").joinpath("jobs/unusual_sales.sql"))


@pytest.fixture
def broken(tmp_path: Path) -> str:
    path = tmp_path / "broken.sql"
    path.write_text(Path(SALES).read_text("utf-8").replace("'topic' = 'flink.sales", "'tpic' = 'flink.sales"))
    return str(path)


def test_a_right_file_is_described_with_its_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", SALES]) == 0
    out = capsys.readouterr().out
    assert f"{SALES}: right" in out
    assert "flink.sales.records -> flink.unusual.sales.records" in out
    assert "warning: table UnusualSalesRecordTable: option 'properties.client.id'" in out


def test_a_wrong_file_is_pointed_at_and_the_others_are_checked_all_the_same(
    broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", broken, SALES]) == 1
    out = capsys.readouterr().out
    assert f"{broken}: line " in out
    assert "did you mean 'topic'?" in out
    assert "^" in out
    assert f"{SALES}: right" in out


def test_json_has_a_report_for_each_file(broken: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--json", SALES, broken]) == 1
    right, wrong = json.loads(capsys.readouterr().out)
    assert (right["ok"], right["file"], right["queries"][0]["routing"]) == (True, SALES, "repartition")
    assert right["queries"][0]["partition_by"] == ["user_id"]
    assert (wrong["ok"], wrong["error"]["code"]) == (False, "sql-validation")
    assert wrong["error"]["line"] > 1 and wrong["error"]["column"] > 1


def test_a_missing_file_is_a_usage_error() -> None:
    assert main(["check", "no-such.sql"]) == 2


def test_a_file_that_is_no_text_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bytes.sql"
    path.write_bytes(b"\xff\xfe\x00")
    assert main(["check", str(path)]) == 1
    assert "cannot be read" in capsys.readouterr().out


def test_what_the_settings_replace_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["check", SALES, "--set", "kafka.bootstrap_servers=ours:9092"]) == 0
    out = capsys.readouterr().out
    assert out.count("my-cluster-kafka-bootstrap.flink.svc:9092") == 1
    assert "kafka.bootstrap_servers (from command line) is 'ours:9092'" in out
    assert "'properties.group.id' = 'sales-record-group' is not used: worker.app_id (from default) is 'anomaly'" in out


def test_tables_of_two_clusters_are_an_error_without_a_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    job = tmp_path / "two.sql"
    job.write_text(Path(SALES).read_text("utf-8").replace("my-cluster", "other-cluster", 1))
    assert main(["check", str(job)]) == 1
    out = capsys.readouterr().out
    assert "other-cluster" in out and "my-cluster" in out and "set kafka.bootstrap_servers" in out
    assert main(["check", str(job), "--set", "kafka.bootstrap_servers=ours:9092"]) == 0


SELECTION = """
CREATE TABLE sales (user_id STRING, qty INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH (
    'connector' = 'kafka', 'topic' = 'sales', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
{said}SELECT user_id, qty FROM sales WHERE qty > 9;
"""


@pytest.mark.parametrize(
    ("said", "warned"), [("", True), ("SET 'anomaly.alerts.key' = 'user_id';\n", False)], ids=["no key", "with its key"]
)
def test_a_selection_whose_alerts_are_all_one_to_delivery_is_warned_of(
    said: str, warned: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "large.sql"
    file.write_text(SELECTION.format(said=said), "utf-8")
    assert main(["check", str(file)]) == 0
    assert ("have no key: to delivery they are one" in capsys.readouterr().out) is warned


def test_a_parameter_that_no_file_has_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_least = tmp_path / "large.sql"
    sales = Path(SALES).read_text("utf-8")
    with_least.write_text(f"SET 'sales.least' = '3';\n{sales.replace('> AVG', '> ${sales.least} + AVG')}")
    assert main(["check", SALES, str(with_least), "--set", "parameters.sales.least=4"]) == 0
    capsys.readouterr()
    assert main(["check", SALES, str(with_least), "--set", "parameters.sales.lest=4"]) == 2
    assert "did you mean sales.least?" in " ".join(capsys.readouterr().err.replace("│", " ").split())
