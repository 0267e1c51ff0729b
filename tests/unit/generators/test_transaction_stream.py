"""The stream of the card tutorial has its fields and distribution (S3-03, S3-04)."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from anomaly_app.cli import main
from anomaly_app.generators import transactions, usual_rarity

COUNT = 20_000


def test_records_are_those_of_the_tutorial() -> None:
    records = list(transactions().records(1, COUNT, 1_700_000_000_000, rate=10))
    values = [record.value for record in records]
    assert list(values[0]) == ["userId", "amount", "timestamp", "transactionId", "merchantId"]
    assert all(r.key == r.value["userId"] and r.timestamp_ms == r.value["timestamp"] for r in records)
    users = Counter(value["userId"] for value in values)
    assert sorted(users) == [f"user00{number}" for number in range(1, 6)]
    assert all(abs(count - COUNT / 5) < 300 for count in users.values())
    assert all(re.fullmatch(r"txn_\d{6}", value["transactionId"]) for value in values)
    assert {value["merchantId"] for value in values} == {f"merchant_{number}" for number in range(1, 101)}
    large = [value["amount"] for value in values if value["amount"] > 500]
    # Five standard deviations around 2 in 100.
    assert abs(len(large) - 0.02 * COUNT) < 5 * (0.02 * COUNT) ** 0.5
    assert 5_000 <= min(large) < max(large) <= 50_000
    assert all(10 <= value["amount"] and round(value["amount"], 2) == value["amount"] for value in values)


def test_the_tutorials_differ_in_what_is_rare() -> None:
    assert (usual_rarity("transactions"), usual_rarity("sales")) == (0.02, 0.002)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_files_keep_the_types(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"transactions.{suffix}"
    arguments = ["--records", "300", "--seed", "4", "--start", "2026-01-01 09:00:00", "--output", str(path)]
    assert main(["generate", "transactions", *arguments]) == 0
    if suffix == "jsonl":
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    else:
        from pyarrow import parquet

        rows = parquet.read_table(path).to_pylist()
    expected = [record.value for record in transactions().records(4, 300, 1_767_258_000_000)]
    assert [{name: row[name] for name in expected[0]} for row in rows] == expected
    assert sum(row["amount"] > 500 for row in rows) >= 1
