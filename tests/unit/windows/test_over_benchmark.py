"""The benchmark runs, and a query flags what the detector called by hand flags."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_it_runs(tmp_path):
    result = tmp_path / "over.json"
    command = [sys.executable, "-m", "benchmarks.over", "--rows", "12000", "--keys", "20", "--json", result]
    subprocess.run([*command, "--repeats", "1"], check=True, timeout=50, cwd=ROOT)
    measured = json.loads(result.read_text())["measured"]
    assert [entry["stored"] for entry in measured] == [False, True]
    assert all(entry["judged"] > entry["flagged"] > 0 and entry["ratio"] > 0 for entry in measured)
