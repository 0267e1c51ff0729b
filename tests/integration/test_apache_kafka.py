"""Apache Kafka from Maven: topics, records, outages, credentials, and the command line around it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from anomaly_app.errors import BrokerError
from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.maven import missing_tools

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]


async def send(servers: str, topic: str, values: list[bytes], **client: object) -> None:
    async with AIOKafkaProducer(bootstrap_servers=servers, **client) as producer:
        for value in values:
            await producer.send_and_wait(topic, value, partition=0, timestamp_ms=1_000)


async def read(servers: str, topic: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


async def test_topics_have_the_partitions_asked_for(kafka: ApacheKafka) -> None:
    kafka.create_topics({"brokers-three": 3, "brokers-one": 1})
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as producer:
        assert await producer.partitions_for("brokers-three") == {0, 1, 2}
        assert await producer.partitions_for("brokers-one") == {0}
    with pytest.raises(BrokerError, match=r"brokers-one cannot be created: .*exists"):
        kafka.create_topics({"brokers-one": 1})


async def test_a_missing_topic_is_not_created_by_asking_for_it(kafka: ApacheKafka) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, request_timeout_ms=2_000) as producer:
        with pytest.raises(KafkaError):
            await producer.send_and_wait("brokers-typo", b"x")


async def test_records_outlive_a_stop_and_a_kill() -> None:
    if problem := missing_tools():
        pytest.skip(problem)
    with ApacheKafka() as node:
        node.create_topics({"outage": 1})
        await send(node.bootstrap_servers, "outage", [b"1"])
        node.stop()
        assert node.pid is None
        node.start()
        await send(node.bootstrap_servers, "outage", [b"2"])
        node.kill()
        node.start()
        assert await read(node.bootstrap_servers, "outage", 2) == [b"1", b"2"]
        directory = node.directory
    assert not directory.exists()


async def test_only_users_with_the_right_password_are_let_in() -> None:
    if problem := missing_tools():
        pytest.skip(problem)
    with ApacheKafka(sasl={"alice": "secret"}) as node:
        node.create_topics({"private": 1})
        client = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_plain_username": "alice"}
        await send(node.bootstrap_servers, "private", [b"1"], **client, sasl_plain_password="secret")
        intruder = AIOKafkaProducer(bootstrap_servers=node.bootstrap_servers, **client, sasl_plain_password="wrong")
        try:
            with pytest.raises(KafkaError):
                await intruder.start()
        finally:
            await intruder.stop()


def test_it_dies_with_its_parent() -> None:
    if problem := missing_tools():
        pytest.skip(problem)
    program = (
        "import time\n"
        "from anomaly_app.testing.kafka import ApacheKafka\n"
        "node = ApacheKafka()\n"
        "print(node.pid, node.directory, flush=True)\n"
        "time.sleep(120)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, directory = parent.stdout.readline().split()
        guard = psutil.Process(int(pid))
        family = [guard, *guard.children(recursive=True)]
        os.kill(parent.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(family, timeout=10)
    subprocess.run(["rm", "-rf", directory], check=True)
    assert len(family) == 2 and not alive


def test_the_command_line_starts_reports_and_stops_one(tmp_path: Path) -> None:
    if problem := missing_tools():
        pytest.skip(problem)
    state = tmp_path / "state.json"

    def run(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "anomaly_app.testing.kafka", "--state", str(state), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90)
        return done.returncode, done.stdout.strip()

    assert run("status") == (1, "Apache Kafka does not run")
    started = run("start", "--port", "0", "--partitions", "2")
    assert started[0] == 0
    known = json.loads(state.read_text())
    process = psutil.Process(known["pid"])
    try:
        assert run("start", "--port", "0") == started
        assert run("status") == (0, f"Apache Kafka runs on 127.0.0.1:{known['port']}")
    finally:
        assert run("stop") == (0, "Apache Kafka stopped")
    _, alive = psutil.wait_procs([process], timeout=10)
    assert not alive
    assert not Path(known["directory"]).exists()
    assert run("stop") == (0, "Apache Kafka does not run")
