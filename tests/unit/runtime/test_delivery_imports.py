"""What ``anomaly deliver`` imports: it has alerts, but no SQL, whose modules would be half the time of its start."""

from __future__ import annotations

import subprocess
import sys

ENGINE = ("expressions", "graph", "jobs", "multivariate", "patterns", "plan", "sql", "tables", "windows")


def test_delivery_starts_without_the_engine() -> None:
    seen = "import sys, anomaly_app.cli.deliver_run; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    assert "anomaly_app.agents.delivery" in modules
    assert [name for name in modules if name.startswith(tuple(f"anomaly_app.{part}" for part in ENGINE))] == []
    assert not {"numpy", "sqlglot"} & set(modules)
