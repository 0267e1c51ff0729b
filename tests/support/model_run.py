"""A job that asks a model about payments, and workers that are killed while the model fails, hangs and dies."""

from __future__ import annotations

import asyncio
import json
import random
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model_thread import ModelThread

from anomaly_app.testing.worker import Sent, WorkerProcess, read, send

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


def settings(servers: str, topic: str, folder: Path, url: str) -> dict[str, object]:
    return {
        "kafka.bootstrap_servers": servers, "worker.app_id": topic,
        "worker.data_dir": folder / "state", "alerts.topic": f"{topic}-alerts", "kafka.session_timeout_s": 6,
        "connections.risk.endpoint": url, "connections.risk.api_key": "k-1",
    }  # fmt: skip


def score(columns: Any, rows: Any) -> list[Any]:
    """Some rows get a text in place of a number."""
    return ["no idea" if id_ % 50 == 7 else id_ + amount for id_, amount in rows]


def put(servers: str, topic: str, first: int, count: int) -> None:
    records = [
        Sent(None, json.dumps({"id": n, "part": str(n % 4), "amount": n / 2}).encode(), BEGIN_MS + n, n % 4)
        for n in range(first, first + count)
    ]
    asyncio.run(send(servers, topic, records))


def records(servers: str, topic: str) -> list[Any]:
    return [json.loads(record.value) for record in asyncio.run(read(servers, topic))]


def until(done: Callable[[], Any], worker: WorkerProcess, what: str, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline and worker.process.poll() is None, f"no {what}:\n{worker.output}"
        time.sleep(0.1)


def scrape(worker: WorkerProcess) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


def killed(servers: str, topic: str, folder: Path, *, rounds: int, count: int) -> int:
    """Every row is scored once or dead-lettered, in its order, none twice in the sink; how many were asked about again.

    Args:
        servers: of Kafka; the topics are there.
        topic: with four partitions.
        folder: for state and job.
        rounds: a worker is killed in each.
        count: of rows.
    """
    job, draw = folder / "job.sql", random.Random(5)
    options = "'client_timeout' = '500 ms', 'retry_count' = '20', 'max_parallelism' = '8', 'batch_size' = '10', "
    options += "'breaker_timeout' = '200 ms'"
    job.write_text(TABLES.format(topic=topic, options=options) + SCORED)
    part = count // rounds
    with ModelThread(score, key="k-1", latency_ms=10, fail=0.1, hang=0.01) as server:
        given = settings(servers, topic, folder, server.url)

        def done() -> int:
            return len(records(servers, f"{topic}-scored"))

        def beyond(number: int) -> bool:
            return done() > number

        for round_ in range(rounds):
            put(servers, topic, round_ * part, part if round_ < rounds - 1 else count - round_ * part)
            with WorkerProcess(given, job) as worker:
                worker.wait_ready()
                reached = done()
                until(lambda number=reached + 50: beyond(number), worker, "more scores")
                if round_ % 3 == 1:
                    server.stop()
                    time.sleep(1.0)
                    server.start()
                time.sleep(draw.uniform(0.0, 0.8))
                worker.kill()
        with WorkerProcess(given, job) as worker:
            worker.wait_ready()
            expected = sum(n % 50 != 7 for n in range(count))
            until(lambda: done() >= expected, worker, "end", 120)
            time.sleep(1.0)
            assert worker.stop() == 0, worker.output
        found = records(servers, f"{topic}-scored")
        assert Counter(one["id"] for one in found) == Counter(n for n in range(count) if n % 50 != 7)
        assert all(one["score"] == one["id"] * 1.5 for one in found)
        for own in "0123":
            ids = [one["id"] for one in found if one["part"] == own]
            assert ids == sorted(ids)
        letters = {one["id"] for one in records(servers, f"{topic}.dlq")}
        assert letters == set(range(7, count, 50))
        again = int(server.server.stats()["again"])
        print(f"{again} of {count} rows were asked about more than once")
        return again
