"""Lookups in a compacted topic of Apache Kafka: transactions of other producers, several workers, kill -9."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from sales_run import until

from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.worker import Sent, WorkerProcess, read, send

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

JOB = """
CREATE TABLE readings (sensor STRING, reading DOUBLE, n INT, pt AS PROCTIME()) WITH (
    'connector' = 'kafka', 'topic' = '{topic}', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
CREATE TABLE thresholds (sensor STRING, most DOUBLE, PRIMARY KEY (sensor) NOT ENFORCED) WITH (
    'connector' = 'upsert-kafka', 'topic' = '{topic}.thresholds', 'key.format' = 'json', 'value.format' = 'json');
CREATE TABLE alarms (n INT, most DOUBLE) WITH ('connector' = 'kafka', 'topic' = '{topic}.alarms', 'format' = 'json');
INSERT INTO alarms SELECT n, most FROM readings AS r
JOIN thresholds FOR SYSTEM_TIME AS OF r.pt AS t ON r.sensor = t.sensor AND r.reading > t.most;
"""
SENSORS = 60


class Run:
    """A topic of readings with 4 partitions, one of thresholds with 3, and a job over both."""

    def __init__(self, kafka: ApacheKafka, folder: Path, topic: str) -> None:
        self.servers, self.topic, self.folder = kafka.bootstrap_servers, topic, folder
        kafka.create_topics({topic: 4, f"{topic}.alarms": 2})
        kafka.create_topics({f"{topic}.thresholds": 3}, cleanup_policy="compact")
        self.job = folder / "job.sql"
        self.job.write_text(JOB.format(topic=topic))

    def worker(self, number: int, *options: str) -> WorkerProcess:
        given: dict[str, object] = {
            "kafka.bootstrap_servers": self.servers, "worker.app_id": self.topic, "kafka.session_timeout_s": 6,
            "worker.data_dir": self.folder / f"state-{number}", "alerts.topic": f"{self.topic}.alerts",
            "kafka.isolation_level": "read_committed",
        }  # fmt: skip
        return WorkerProcess(given, self.job, options=options)

    def put(self, first: int, count: int) -> None:
        """Readings of all sensors in turn, numbered."""
        records = [
            Sent(None, json.dumps({"sensor": f"s{n % SENSORS}", "reading": 5.0, "n": n}).encode(), None, n % 4)
            for n in range(first, first + count)
        ]
        asyncio.run(send(self.servers, self.topic, records))

    def changes(self, worker: WorkerProcess) -> int:
        """How often the thresholds of a worker have changed."""
        (job,) = worker.get("/api/jobs")["jobs"]
        return int(job["lookups"][0]["changes"])

    def alarms(self) -> list[dict[str, Any]]:
        return [json.loads(record.value) for record in asyncio.run(read(self.servers, f"{self.topic}.alarms"))]


async def set_thresholds(producer: AIOKafkaProducer, topic: str, most: float, end: str = "") -> None:
    """Of all sensors, in a transaction that is committed, aborted or (without a word) left open."""
    await producer.begin_transaction()
    for number in range(SENSORS):
        key, value = {"sensor": f"s{number}"}, {"sensor": f"s{number}", "most": most}
        await producer.send_and_wait(f"{topic}.thresholds", json.dumps(value).encode(), json.dumps(key).encode())
    if end:
        await (producer.commit_transaction() if end == "commit" else producer.abort_transaction())


async def test_of_transactions_only_what_is_committed_is_found(kafka: ApacheKafka, tmp_path: Path) -> None:
    run = await asyncio.to_thread(Run, kafka, tmp_path, "lookup-transactions")
    producer = AIOKafkaProducer(bootstrap_servers=run.servers, transactional_id=run.topic)
    await producer.start()
    try:
        for most, end in ((4.0, "commit"), (1.0, "abort"), (2.0, "")):
            await set_thresholds(producer, run.topic, most, end)
        await asyncio.to_thread(run.put, 0, 240)
        with run.worker(1, "--bounded") as worker:
            assert await asyncio.to_thread(worker.wait) == 0, worker.output
    finally:
        await producer.stop()
    found = await asyncio.to_thread(run.alarms)
    assert sorted((row["n"], row["most"]) for row in found) == [(n, 4.0) for n in range(240)]


def test_two_workers_of_which_one_dies(kafka: ApacheKafka, tmp_path: Path) -> None:
    """Each has the whole table: a row finds its threshold wherever it is."""
    run = Run(kafka, tmp_path, "lookup-workers")

    async def thresholds(most: float) -> None:
        async with AIOKafkaProducer(bootstrap_servers=run.servers, transactional_id=run.topic) as producer:
            await set_thresholds(producer, run.topic, most, "commit")

    asyncio.run(thresholds(4.0))
    with run.worker(1) as first, run.worker(2) as second:
        first.wait_ready()
        second.wait_ready()
        run.put(0, 3_000)
        until(lambda: len(run.alarms()) > 1_000, first, "alarms")
        second.kill()
        asyncio.run(thresholds(3.0))
        until(lambda: run.changes(first) == 2 * SENSORS, first, "thresholds")
        run.put(3_000, 3_000)
        until(lambda: len(run.alarms()) >= 6_000, first, "all alarms", 90)
        assert first.stop() == 0, first.output
        assert "Traceback" not in first.output
    found = run.alarms()
    assert sorted(row["n"] for row in found) == list(range(6_000))
    assert {row["most"] for row in found} == {3.0, 4.0}
