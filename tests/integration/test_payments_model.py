"""The script that makes the model of docker-compose's profile payments: it fits the job that asks it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from anomaly_app.jobs.binder import bind_job

SCRIPT = Path(__file__).parents[2] / "deploy/payments/train.sh"


@pytest.mark.timeout(300)
def test_the_model_is_learnt_once_and_the_job_asks_it(tmp_path: Path) -> None:
    jobs, model = Path(str(resources.files("anomaly_app").joinpath("jobs/payments"))), tmp_path / "fraud.onnx"
    program = tmp_path / "bin/anomaly"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m anomaly_app.cli "$@"\n', "utf-8")
    program.chmod(0o755)
    environ = {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "RECORDS": "4000",
        "TMPDIR": str(tmp_path),
    }

    def train() -> str:
        done = subprocess.run([SCRIPT, jobs, model], env=environ, capture_output=True, text=True, timeout=250)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "AUC" in train()
    first = model.read_bytes()
    assert train() == f"{model} is there already\n" and model.read_bytes() == first
    assert not [*tmp_path.rglob("*.csv"), *tmp_path.rglob("*.jsonl")], "what it was learnt from is gone"
    job = bind_job(
        (jobs / "fraud.sql").read_text("utf-8"), name="fraud", parameters={"payments.model.file": str(model)}
    )
    assert job.plans
