"""The benchmark runs, and finds what the loop by hand finds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_it_runs(tmp_path):
    result = tmp_path / "windows.json"
    command = [sys.executable, "-m", "benchmarks.windows", "--rows", "120000", "--keys", "50", "--json", result]
    subprocess.run([*command, "--repeats", "1"], check=True, timeout=50, cwd=ROOT)
    measured = json.loads(result.read_text())["measured"]
    assert [entry["windows"] for entry in measured] == ["tumble", "hop", "session", "tumble"]
    assert all(entry["found"] > 0 for entry in measured) and measured[0]["ratio"] > 0
