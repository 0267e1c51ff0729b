"""``anomaly generate`` to a broker: the records arrive, with key, time and format; what goes wrong is said."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer

from anomaly_app.generators import sales
from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.kafka import ApacheKafka


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "anomaly_app.cli", "generate", *arguments]


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=cwd, capture_output=True, text=True, timeout=50)


async def read(servers: str, topic: str, count: int) -> list[Any]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(20):
            return [await consumer.getone() for _ in range(count)]
    finally:
        await consumer.stop()


async def test_records_arrive_with_key_time_and_value(broker: EmbeddedBroker, tmp_path: Path) -> None:
    broker.touch("plain")
    options = ["--topic", "plain", "--format", "json", "--records", "40", "--seed", "5", "--rate", "0"]
    options += ["--start", "2026-01-01 09:00:00", "--broker", broker.bootstrap_servers]
    done = run("sales", *options, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr.startswith("40 records to plain in ")
    records = await read(broker.bootstrap_servers, "plain", 40)
    expected = {record.key: record for record in sales().records(5, 40, 1_767_258_000_000, 100)}
    assert {record.key.decode() for record in records} == set(expected)
    for record in records:
        generated = expected[record.key.decode()]
        assert json.loads(record.value) == generated.value
        assert record.timestamp == generated.timestamp_ms


def test_the_rate_is_kept_and_ctrl_c_ends_it(broker: EmbeddedBroker, tmp_path: Path) -> None:
    broker.touch("paced")
    options = ["--topic", "paced", "--format", "csv", "--rate", "200", "--broker", broker.bootstrap_servers]
    arguments = command("sales", *options)
    with subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        asyncio.run(read(broker.bootstrap_servers, "paced", 400))
        os.kill(process.pid, signal.SIGINT)
        try:
            line = process.communicate(timeout=20)[1]
        finally:
            process.kill()  # the context manager waits for its end
    assert process.returncode == 130, line
    count, seconds = int(line.split()[0].replace(",", "")), float(line.split()[-2])
    assert "Traceback" not in line
    assert count >= 400 and abs(count / seconds - 200) < 40


def test_no_broker_is_an_error_within_seconds(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    began = time.monotonic()
    done = run("sales", "--format", "json", "--records", "1", "--broker", f"127.0.0.1:{port}", cwd=tmp_path)
    assert time.monotonic() - began < 30
    assert done.returncode == 2
    assert f"127.0.0.1:{port}" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.kafka
@pytest.mark.timeout(120)
async def test_a_missing_topic_is_created_and_keeps_old_records(kafka: ApacheKafka, tmp_path: Path) -> None:
    options = ["--topic", "generated-clicks", "--format", "csv", "--records", "20", "--rate", "0", "--partitions", "3"]
    options += ["--start", "2020-01-01 00:00:00"]
    done = run("clicks", *options, "--broker", kafka.bootstrap_servers, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    records = await read(kafka.bootstrap_servers, "generated-clicks", 20)
    assert {record.timestamp for record in records} == set(range(1_577_836_800_000, 1_577_836_800_200, 10))
    assert {record.partition for record in records} == {0, 1, 2}
