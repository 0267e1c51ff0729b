"""A backtest gives the alerts of the worker, byte for byte but for when they were detected."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from retail_pack import PACK, TOPICS

from anomaly_app.cli import main
from anomaly_app.generators.retail import TABLES, Chances, RetailStream
from anomaly_app.generators.stream import Generated
from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.worker import Sent, WorkerProcess, read, send

START = 1_767_258_000_000
JOBS = ("refunds", "gates", "shrinkage")


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as running:
        yield running


@pytest.fixture(scope="module")
def records() -> list[Generated]:
    chances = Chances(refund=0.02, unmatched=0.01, burst=0.01, gate=0.02, shrinkage=0.02)
    return list(RetailStream(7, START, chances=chances).records(6_000))


def job(folder: Path, name: str, run: str) -> Path:
    """A job file of the pack over topics of its own."""
    text = PACK.joinpath(f"{name}.sql").read_text("utf-8")
    for topic in [*TOPICS.values(), "anomaly-alerts"]:
        text = text.replace(f"'topic' = '{topic}'", f"'topic' = '{run}.{topic}'")
    path = folder / f"{name}.sql"
    path.write_text(text)
    return path


def fill(broker: EmbeddedBroker, run: str, records: list[Generated], partition: int | None) -> None:
    for topic in TOPICS.values():
        broker.touch(f"{run}.{topic}")
        own = [record for record in records if record.topic == topic]
        sent = [
            Sent(record.key.encode(), msgspec.json.encode(record.value), record.timestamp_ms, partition)
            for record in own
        ]
        asyncio.run(send(broker.bootstrap_servers, f"{run}.{topic}", sent))


def of_worker(broker: EmbeddedBroker, folder: Path, run: str, jobs: list[Path]) -> list[bytes]:
    """The alerts of a bounded run of the worker."""
    alerts = f"{run}.alerts"
    for topic in (alerts, f"{run}.anomaly-alerts"):
        broker.touch(topic)
    settings = {
        "kafka.bootstrap_servers": broker.bootstrap_servers, "worker.app_id": run, "worker.data_dir": folder / "state",
        "worker.idle_timeout_s": 0, "alerts.topic": alerts,
    }  # fmt: skip
    with WorkerProcess(settings, *jobs, options=["--bounded"]) as worker:
        assert worker.wait(90) == 0, worker.output
    return [record.value for record in asyncio.run(read(broker.bootstrap_servers, alerts))]


def undated(alerts: list[bytes]) -> list[bytes]:
    """Alerts without the time at which they were detected, which is that of a clock; in an order of their own."""
    return sorted(re.sub(rb'"detected_at":"[^"]*"', b"", alert) for alert in alerts)


def backtest(folder: Path, *arguments: str) -> list[bytes]:
    out = folder / "backtest.jsonl"
    assert main(["backtest", *arguments, "--alerts", str(out), "--samples", "0"]) == 0
    return out.read_bytes().splitlines()


def test_files_give_the_alerts_of_the_worker(
    broker: EmbeddedBroker, records: list[Generated], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = f"files-{time.time_ns()}"
    jobs = [job(tmp_path, name, run) for name in JOBS]
    fill(broker, run, records, partition=0)
    tables = []
    for topic, table in TABLES.items():
        lines = [msgspec.json.encode(record.value) + b"\n" for record in records if record.topic == topic]
        (tmp_path / f"{table}.jsonl").write_bytes(b"".join(lines))
        tables += ["--table", f"{table}={table}.jsonl"]
    live = of_worker(broker, tmp_path, run, jobs)
    told: list[dict[str, Any]] = [json.loads(alert)["payload"] for alert in live]
    results = [json.loads(one.value) for one in asyncio.run(read(broker.bootstrap_servers, f"{run}.anomaly-alerts"))]
    assert set(results[0]) == {"alertId", "storeId", "employId", "type", "message", "riskScore", "alertTime"}
    assert sorted(map(str, results)) == sorted(map(str, told)), "the topic of the original has what the alerts have"
    assert {one["type"] for one in told} == {"REFUND_PATTERN", "SECURITY_CORRELATION", "SHRINKAGE"}
    assert {one["message"].partition(":")[0] for one in told} >= {"refund_burst", "refund_without_sale"}
    assert undated(backtest(tmp_path, *map(str, jobs), *tables)) == undated(live)


def test_a_range_of_topics_gives_the_alerts_of_the_worker(
    broker: EmbeddedBroker, records: list[Generated], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = f"topics-{time.time_ns()}"
    jobs = [job(tmp_path, name, run) for name in JOBS]
    fill(broker, run, records, partition=None)
    live = of_worker(broker, tmp_path, run, jobs)
    options = ["--from", "earliest", "--broker", broker.bootstrap_servers]
    assert live != []
    assert undated(backtest(tmp_path, *map(str, jobs), *options)) == undated(live)
