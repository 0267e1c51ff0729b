"""The benchmarks of whole pipelines run, and the worker gives what they count on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anomaly_app.testing.kafka import ApacheKafka

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]
ROOT = Path(__file__).parents[2]


def measured(name: str, output: Path, *options: str) -> Any:
    command = [sys.executable, "-m", f"benchmarks.{name}", *options, "--output", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=350)
    assert done.returncode == 0, done.stderr
    return json.loads(output.read_text("utf-8"))


def test_retail(kafka: ApacheKafka, tmp_path: Path) -> None:
    few = ("--rows", "6000", "--seconds", "20", "--rate", "100")
    result = measured("retail", tmp_path / "retail.json", *few, "--servers", kafka.bootstrap_servers)
    rows = result["throughput"]
    assert rows["receipts"] == 6_000 and rows["others"] > 0 and rows["ratio"] > 0
    assert 0 < rows["found"] <= rows["planted"] + 2
    assert 0 < result["latency"]["state_bytes_per_open_sale"] < 5_000


def test_payments(kafka: ApacheKafka, tmp_path: Path) -> None:
    few = ("--rows", "1500", "--memory-rows", "2500")
    result = measured("payments", tmp_path / "payments.json", *few, "--servers", kafka.bootstrap_servers)
    assert result["topic_to_topic"]["payments"] == 1_500 and result["topic_to_topic"]["ratio"] > 0
    parts = result["in_memory"]
    assert 0 < parts["scored"] <= 2_500
    assert 0 < parts["columns_read"] < 77
