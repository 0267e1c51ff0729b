"""The benchmark runs, and finds what the loop by hand finds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_it_runs(tmp_path):
    result = tmp_path / "patterns.json"
    command = [sys.executable, ROOT / "benchmarks/patterns.py", "--only", "sales", "--rows", "6000", "--json", result]
    subprocess.run([*command, "--windows", "5", "--users", "100", "--repeats", "1"], check=True, timeout=50)
    measured = json.loads(result.read_text())["measured"]
    assert [entry["quantity"] for entry in measured] == ["STRING", "INT"]
    assert all(entry["matches"] > 0 and entry["ratio"] > 0 for entry in measured)
