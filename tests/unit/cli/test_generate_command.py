"""``anomaly generate`` into files (Kafka is in the integration tests), and its usage errors."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from anomaly_app.cli import main
from anomaly_app.generators import sales

START = "2026-01-01 09:00:00"
START_MS = 1_767_258_000_000


@pytest.fixture(autouse=True)
def empty_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def generate(name: str, *more: str) -> None:
    assert main(["generate", "sales", "--records", "50", "--seed", "3", "--start", START, "--output", name, *more]) == 0


def expected() -> list[dict[str, str]]:
    records = sales().records(3, 50, START_MS, 100)
    return [r.value | {"purchase_time": f"2026-01-01 09:00:00.{r.timestamp_ms - START_MS:03}"} for r in records]


def test_csv_has_a_header_the_seed_s_values_and_the_time() -> None:
    generate("sales.csv")
    with Path("sales.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == expected()
    assert [*rows[0]] == ["invoice_id", "user_id", "product_id", "quantity", "unit_cost", "purchase_time"]


def test_json_lines_have_the_same_rows() -> None:
    generate("sales.jsonl")
    assert [json.loads(line) for line in Path("sales.jsonl").read_text("utf-8").splitlines()] == expected()


def test_parquet_has_the_same_rows_with_a_typed_time() -> None:
    from pyarrow import parquet

    generate("sales.parquet")
    table = parquet.read_table("sales.parquet")
    assert str(table.schema.field("purchase_time").type) == "timestamp[ms]"
    rows = [row | {"purchase_time": row["purchase_time"].isoformat(" ", "milliseconds")} for row in table.to_pylist()]
    assert rows == expected()


def test_the_rate_spaces_the_times() -> None:
    generate("slow.csv", "--rate", "0.5")
    with Path("slow.csv").open(encoding="utf-8", newline="") as file:
        times = [row["purchase_time"] for row in csv.DictReader(file)]
    assert times[:3] == [f"2026-01-01 09:00:0{second}.000" for second in (0, 2, 4)]


def test_the_probability_of_rare_quantities_reaches_the_generator() -> None:
    generate("rare.csv", "--rare", "1")
    with Path("rare.csv").open(encoding="utf-8", newline="") as file:
        assert {row["quantity"] for row in csv.DictReader(file)} == {"10", "20", "30"}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["shoes"], "sales, clicks, international-sales"),
        (["sales", "--format", "xml"], "avro, csv, json"),
        (["sales", "--rare", "2"], "less than or equal to 1"),
        (["sales", "--output", "x.csv"], "--records"),
        (["sales", "--output", "x.txt", "--records", "1"], ".parquet"),
        (["sales", "--output", "no/such/x.csv", "--records", "1"], "No such file"),
        (["sales", "--start", "noon", "--records", "1"], "2026-01-01"),
        (["sales", "--records", "1"], "registry"),
    ],
)
def test_what_is_wrong_is_said_with_status_2(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["generate", *arguments]) == 2
    error = capsys.readouterr().err
    assert problem in error and "Traceback" not in error
