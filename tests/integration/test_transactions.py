"""Transactions of other producers in a source: what was aborted raises no alert, what is open does not yet."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from sales_run import until

from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.worker import WorkerProcess, read

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

JOB = """
CREATE TABLE sales (id STRING) WITH (
    'connector' = 'kafka', 'topic' = '{topic}', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json' {more}
);
SELECT id FROM sales;
"""
COMMITTED = ", 'properties.isolation.level' = 'read_committed'"


async def send(producer: AIOKafkaProducer, topic: str, *ids: str) -> None:
    for id_ in ids:
        await producer.send_and_wait(topic, json.dumps({"id": id_}).encode(), partition=0)


class Source:
    """A topic with records within transactions and without, the last one open."""

    def __init__(self, kafka: ApacheKafka, name: str) -> None:
        self.servers, self.topic = kafka.bootstrap_servers, name
        self.producer: Any = None
        kafka.create_topics({name: 1})

    async def __aenter__(self) -> Source:
        async with AIOKafkaProducer(bootstrap_servers=self.servers) as plain:
            await send(plain, self.topic, "plain")
        self.producer = AIOKafkaProducer(bootstrap_servers=self.servers, transactional_id=self.topic)
        await self.producer.start()
        for ids, commit in ((("aborted-1", "aborted-2"), False), (("committed",), True), (("aborted-3",), False)):
            await self.producer.begin_transaction()
            await send(self.producer, self.topic, *ids)
            await (self.producer.commit_transaction() if commit else self.producer.abort_transaction())
        await self.producer.begin_transaction()
        await send(self.producer, self.topic, "open")
        async with AIOKafkaProducer(bootstrap_servers=self.servers) as plain:
            await send(plain, self.topic, "behind the open one")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.producer.stop()

    def worker(self, folder: Path, more: str = "", *options: str, **settings: object) -> WorkerProcess:
        job = folder / "job.sql"
        job.write_text(JOB.format(topic=self.topic, more=more))
        given = {
            "kafka.bootstrap_servers": self.servers,
            "worker.app_id": self.topic,
            "worker.data_dir": folder / "state",
            "alerts.topic": f"{self.topic}.alerts",
            **{key.replace("__", "."): value for key, value in settings.items()},
        }
        return WorkerProcess(given, job, options=options)

    async def found(self) -> list[str]:
        return [json.loads(r.value)["payload"]["id"] for r in await read(self.servers, f"{self.topic}.alerts")]


async def finished(worker: WorkerProcess) -> str:
    """What it printed, after its bounded run."""
    with worker:
        assert await asyncio.to_thread(worker.wait) == 0, worker.output
        return worker.output


async def within(worker: WorkerProcess, source: Source, wanted: Iterable[str]) -> None:
    left = list(wanted)
    for _ in range(100):
        found = await source.found()
        if found == left:
            return
        assert worker.process.poll() is None, worker.output
        await asyncio.sleep(0.2)
    raise AssertionError((found, worker.output))


STABLE = ["plain", "committed"]


async def test_a_bounded_run_ends_at_the_last_stable_offset(kafka: ApacheKafka, tmp_path: Path) -> None:
    async with Source(kafka, "transactions-bounded") as source:
        assert "isolation" not in await finished(source.worker(tmp_path, COMMITTED, "--bounded"))
        assert await source.found() == STABLE
        await source.producer.commit_transaction()
        await finished(source.worker(tmp_path, COMMITTED, "--bounded"))
        assert await source.found() == [*STABLE, "open", "behind the open one"]


async def test_a_bounded_run_ends_behind_a_transaction_that_was_aborted(kafka: ApacheKafka, tmp_path: Path) -> None:
    async with Source(kafka, "transactions-aborted") as source:
        await source.producer.abort_transaction()
        await finished(source.worker(tmp_path, "", "--bounded", kafka__isolation_level="read_committed"))
        assert await source.found() == [*STABLE, "behind the open one"]


async def test_the_settings_come_before_the_job_and_say_so(kafka: ApacheKafka, tmp_path: Path) -> None:
    async with Source(kafka, "transactions-settings") as source:
        level = {"kafka__isolation_level": "read_uncommitted"}
        said = await finished(source.worker(tmp_path, COMMITTED, "--bounded", **level))
        assert said.count("'properties.isolation.level' = 'read_committed' is not used") == 1, said
        everything = ["plain", "aborted-1", "aborted-2", "committed", "aborted-3", "open", "behind the open one"]
        assert await source.found() == everything


async def test_a_live_worker_waits_for_the_end_of_a_transaction(kafka: ApacheKafka, tmp_path: Path) -> None:
    async with Source(kafka, "transactions-live") as source:
        with source.worker(tmp_path, COMMITTED) as worker:
            await asyncio.to_thread(worker.wait_ready)
            await within(worker, source, STABLE)

            def lag() -> int:
                (partition,) = worker.get("/api/status")["partitions"]
                return int(partition["lag"])

            # What may not be read yet is no lag: nothing is left to do.
            await asyncio.to_thread(until, lambda: lag() == 0, worker, "no lag")
            await source.producer.commit_transaction()
            await within(worker, source, [*STABLE, "open", "behind the open one"])
            assert await asyncio.to_thread(worker.stop) == 0
            assert "Traceback" not in worker.output
