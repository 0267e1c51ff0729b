"""anomaly train and anomaly model test."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from model_thread import ModelThread

from anomaly_app.cli import main


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    draw = random.Random(1)
    lines = ["at,amount,code,fraud"]
    for number in range(400):
        fraud = int(draw.random() < 0.1)
        code = draw.choice("WHC") if not fraud else "C"
        lines.append(
            f"2026-01-01 00:{number // 60:02}:{number % 60:02},{draw.expovariate(0.1) + 90 * fraud:.2f},{code},{fraud}"
        )
    path = tmp_path / "payments.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_model_is_trained_tested_and_used(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("skl2onnx")
    output = tmp_path / "fraud.onnx"
    arguments = [
        "train",
        "gradient-boosting",
        str(rows),
        "--features",
        "amount,code",
        "--label",
        "fraud",
        "--time",
        "at",
    ]
    assert main([*arguments, "--output", str(output), "--rate", "0.1", "--trees", "20", "--name", "fraud"]) == 0
    told = capsys.readouterr().out
    assert "recall: anomalies that are found" in told
    statement = told[told.index("CREATE MODEL") :]
    job = tmp_path / "fraud.sql"
    job.write_text(statement)
    assert main(["model", "test", "fraud", "--rows", str(rows), "--job", str(job), "--loops", "2", "--json"]) == 0
    checked = json.loads(capsys.readouterr().out)
    assert (checked["rows"], checked["errors"], checked["calls"]) == (800, 0, 2)
    assert checked["input"] == {"amount": "FLOAT", "code": "STRING"}
    assert checked["p50_ms"] <= checked["p99_ms"]
    query = f"{statement} SELECT COUNT(*) AS n FROM t, LATERAL TABLE(ML_PREDICT('fraud', amount, code)) "
    query += "WHERE is_anomaly = 1"
    assert main(["query", query, "--table", f"t={rows}", "--json"]) == 0
    assert 20 < json.loads(capsys.readouterr().out)["rows"][-1]["n"] < 70


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["nothing", "--features", "amount"], "unknown kind 'nothing'"),
        (["gradient-boosting", "--features", "amount"], "--label names their column"),
        (["gradient-boosting", "--features", "amounts", "--label", "fraud"], "there is no column 'amounts'"),
        (["gradient-boosting", "--features", "amount", "--label", "code"], "a label is 1 or 0"),
    ],
)
def test_training_tells_what_is_wrong(
    rows: Path, arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("skl2onnx")
    assert main(["train", arguments[0], str(rows), *arguments[1:]]) == 2
    assert problem in capsys.readouterr().err


def test_a_remote_model_is_asked_in_loops(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job, config = tmp_path / "job.sql", tmp_path / "anomaly.toml"
    with ModelThread(key="k-1", latency_ms=2) as server:
        config.write_text(f'[connections.risk]\nendpoint = "{server.url}"\napi_key = "k-1"\n')
        job.write_text(
            "CREATE MODEL risk INPUT (AMOUNT DOUBLE) OUTPUT (score DOUBLE) "
            "WITH ('provider' = 'azureml', 'azureml.connection' = 'risk')"
        )
        shared = ["--rows", str(rows), "--job", str(job), "--config", str(config)]
        assert main(["model", "test", "risk", *shared, "--loops", "4", "--json"]) == 0
        checked = json.loads(capsys.readouterr().out)
        assert (checked["calls"], checked["rows"], checked["errors"]) == (1_600, 1_600, 0)
        assert checked["p50_ms"] >= 2
        server.behave(fail=1.0)
        assert main(["model", "test", "risk", *shared, "--loops", "1", "--batch", "50"]) == 1
        told = capsys.readouterr().out
        assert "400 × model risk$1 was asked 1 time:" in told
        assert "answers 500" in told


def test_what_cannot_be_tested(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = tmp_path / "job.sql"
    job.write_text("CREATE MODEL m INPUT (a INT) OUTPUT (b INT) WITH ('provider' = 'rest', 'endpoint' = 'http://x')")
    shared = ["--rows", str(rows), "--job", str(job)]
    assert main(["model", "test", "n", *shared]) == 2
    assert "unknown model 'n'" in capsys.readouterr().err
    assert main(["model", "test", "m", *shared]) == 2
    assert "has no column 'a' of the INPUT of m$1" in capsys.readouterr().err
    job.write_text("CREATE MODEL m")
    assert main(["model", "test", "m", *shared]) == 2
    assert "job.sql: line 1" in capsys.readouterr().err
