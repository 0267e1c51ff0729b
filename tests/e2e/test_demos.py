"""The demos of whole systems: each finds what was planted, and ends with a summary."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


def run(tmp_path: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "anomaly_app.cli", "demo", *arguments, "--port", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(180)
def test_retail_tells_incidents_of_all_three_types(tmp_path: Path) -> None:
    output = run(tmp_path, "retail", "--records", "6000", "--rare", "0.02", "--seed", "3")
    found = re.findall(r"^\w+ (REFUND_PATTERN|SECURITY_CORRELATION|SHRINKAGE) in store-00\d, .+: .+", output, re.M)
    assert set(found) == {"REFUND_PATTERN", "SECURITY_CORRELATION", "SHRINKAGE"}
    summary = re.search(
        r"^6,000 records of tills, shifts, gates and counts, (\d+) of them told, in [\d.]+ s$", output, re.M
    )
    assert summary and int(summary[1]) == len(found)


@pytest.mark.timeout(180)
def test_payments_are_scored_by_a_model_that_the_demo_trains(tmp_path: Path) -> None:
    pytest.importorskip("skl2onnx")
    output = run(tmp_path, "payments", "--records", "2000")
    found = re.findall(r"^critical payment (\d+) of card \d+: score ([\d.]+); .+", output, re.M)
    assert len(found) > 10 and all(float(score) >= 0.9 for _, score in found)
    summary = re.search(r"^[\d,]+ payments and devices, (\d+) of them likely frauds, in [\d.]+ s$", output, re.M)
    assert summary and int(summary[1]) >= len(found)
