"""Workers that ask models: a model server that fails, hangs and dies, and workers that are killed."""

from __future__ import annotations

import asyncio
import json
import random
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from model_thread import ModelThread

from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.worker import Sent, WorkerProcess, read, send

pytestmark = pytest.mark.timeout(240)  # a killed worker is a member of its group for a while

TABLES = """
CREATE TABLE payments (id INT, part STRING, amount DOUBLE, ts TIMESTAMP(3) METADATA FROM 'timestamp',
    WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH (
    'connector' = 'kafka', 'topic' = '{topic}', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
CREATE TABLE scored (id INT, part STRING, score DOUBLE) WITH (
    'connector' = 'kafka', 'topic' = '{topic}-scored', 'value.format' = 'json', 'key.format' = 'raw',
    'key.fields' = 'part');
CREATE MODEL risk INPUT (id INT, amount DOUBLE) OUTPUT (score DOUBLE) WITH (
    'provider' = 'azureml', 'azureml.connection' = 'risk', {options});
"""
SCORED = "INSERT INTO scored SELECT id, part, score FROM payments, LATERAL TABLE(ML_PREDICT('risk', id, amount));"
RISKY = "SELECT id, score FROM payments, LATERAL TABLE(ML_PREDICT('risk', id, amount)) WHERE score > 900;"
BEGIN_MS = 1_767_258_000_000


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as embedded:
        yield embedded


def settings(broker: EmbeddedBroker, topic: str, folder: Path, url: str) -> dict[str, object]:
    return {
        "kafka.bootstrap_servers": broker.bootstrap_servers, "worker.app_id": topic,
        "worker.data_dir": folder / "state", "alerts.topic": f"{topic}-alerts", "kafka.session_timeout_s": 6,
        "connections.risk.endpoint": url, "connections.risk.api_key": "k-1",
    }  # fmt: skip


def score(columns: Any, rows: Any) -> list[Any]:
    """Some rows get a text in place of a number."""
    return ["no idea" if id_ % 50 == 7 else id_ + amount for id_, amount in rows]


def put(broker: EmbeddedBroker, topic: str, first: int, count: int) -> None:
    records = [
        Sent(None, json.dumps({"id": n, "part": str(n % 4), "amount": n / 2}).encode(), BEGIN_MS + n, n % 4)
        for n in range(first, first + count)
    ]
    asyncio.run(send(broker.bootstrap_servers, topic, records))


def records(broker: EmbeddedBroker, topic: str) -> list[Any]:
    return [json.loads(record.value) for record in asyncio.run(read(broker.bootstrap_servers, topic))]


def until(done: Callable[[], Any], worker: WorkerProcess, what: str, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline and worker.process.poll() is None, f"no {what}:\n{worker.output}"
        time.sleep(0.1)


def scrape(worker: WorkerProcess) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


def test_scores_alerts_with_the_version_and_metrics(broker: EmbeddedBroker, tmp_path: Path) -> None:
    topic, job = "paid", tmp_path / "job.sql"
    broker.touch(topic)
    options = "'max_parallelism' = '20'"
    job.write_text(TABLES.format(topic=topic, options=options) + SCORED + RISKY)
    put(broker, topic, 0, 800)
    with ModelThread(score, key="k-1", latency_ms=5) as server:
        with WorkerProcess(settings(broker, topic, tmp_path, server.url), job, options=["--bounded"]) as worker:
            assert worker.wait(90) == 0, worker.output
        found = records(broker, f"{topic}-scored")
        assert sorted((one["id"], one["score"]) for one in found) == [
            (n, n * 1.5) for n in range(800) if n % 50 != 7
        ]  # fmt: skip
        alerts = records(broker, f"{topic}-alerts")
        assert sorted(one["payload"]["id"] for one in alerts) == [n for n in range(601, 800) if n % 50 != 7]
        assert {json.dumps(one["models"]) for one in alerts} == {'{"risk": 1}'}
        letters = asyncio.run(read(broker.bootstrap_servers, f"{topic}.dlq"))
        assert sorted(json.loads(record.value)["id"] for record in letters) == sorted(
            [n for n in range(7, 800, 50)] * 2
        )
        reasons = {dict(record.headers)["anomaly-error"].decode() for record in letters}
        assert all("'no idea' is no DOUBLE; the answer begins '[\"no idea\"]'" in reason for reason in reasons), reasons


def test_metrics_of_a_worker_that_goes_on(broker: EmbeddedBroker, tmp_path: Path) -> None:
    topic, job = "measured", tmp_path / "job.sql"
    broker.touch(topic)
    job.write_text(TABLES.format(topic=topic, options="'task' = 'regression'") + SCORED)
    put(broker, topic, 0, 7)
    with (
        ModelThread(score, key="k-1") as server,
        WorkerProcess(settings(broker, topic, tmp_path, server.url), job) as worker,
    ):
        worker.wait_ready()
        until(lambda: len(records(broker, f"{topic}-scored")) == 7, worker, "scores")
        text = scrape(worker)
        assert 'anomaly_model_rows_total{job="job",model="risk",version="1"} 7.0' in text
        assert 'anomaly_model_call_seconds_count{job="job",model="risk",version="1"}' in text
        assert 'anomaly_model_circuit_open{job="job",model="risk",version="1"} 0.0' in text
        (job_status,) = worker.get("/api/jobs")["jobs"]
        assert job_status["models"][0]["rows"] == 7
        assert "k-1" not in worker.output


def test_killed_workers_and_a_model_that_fails_hangs_and_dies(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Every row is scored once or dead-lettered, in its order, none twice in the sink."""
    topic, job, count, draw = "killed", tmp_path / "job.sql", 6_000, random.Random(5)
    broker.touch(topic)
    options = "'client_timeout' = '500 ms', 'retry_count' = '20', 'max_parallelism' = '8', 'batch_size' = '10', "
    options += "'breaker_timeout' = '200 ms'"
    job.write_text(TABLES.format(topic=topic, options=options) + SCORED)
    put(broker, topic, 0, count // 2)
    with ModelThread(score, key="k-1", latency_ms=10, fail=0.1, hang=0.01) as server:
        given = settings(broker, topic, tmp_path, server.url)

        def done() -> int:
            return len(records(broker, f"{topic}-scored"))

        for round_ in range(3):
            with WorkerProcess(given, job) as worker:
                worker.wait_ready()
                reached = done()
                until(lambda reached=reached: done() > reached + 100, worker, "more scores")
                if round_ == 1:
                    server.stop()
                    time.sleep(1.0)
                    server.start()
                    put(broker, topic, count // 2, count // 2)
                time.sleep(draw.uniform(0.0, 0.8))
                worker.kill()
        with WorkerProcess(given, job) as worker:
            worker.wait_ready()
            expected = sum(n % 50 != 7 for n in range(count))
            until(lambda: done() >= expected, worker, "end", 120)
            time.sleep(1.0)
            assert worker.stop() == 0, worker.output
        found = records(broker, f"{topic}-scored")
        assert Counter(one["id"] for one in found) == Counter(n for n in range(count) if n % 50 != 7)
        assert all(one["score"] == one["id"] * 1.5 for one in found)
        for part in "0123":
            ids = [one["id"] for one in found if one["part"] == part]
            assert ids == sorted(ids)
        letters = {one["id"] for one in records(broker, f"{topic}.dlq")}
        assert letters == set(range(7, count, 50))
        again = server.server.stats()["again"]
        print(f"{again} of {count} rows were asked about more than once")
        # What was answered and stored is not asked again; what was under way at a kill is.
        assert again < count / 10
