"""The benchmark runs, and finds what the loop by hand finds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_it_runs(tmp_path):
    result = tmp_path / "patterns.json"
    command = [sys.executable, ROOT / "benchmarks/patterns.py", "--rows", "6000", "--windows", "5", "--json", result]
    subprocess.run(command, check=True, timeout=50)
    (measured,) = json.loads(result.read_text())["measured"]
    assert measured["matches"] > 0 and measured["ratio"] > 0
