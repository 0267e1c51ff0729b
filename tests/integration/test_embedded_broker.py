"""The embedded broker: real records through a real socket, and no process left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from anomaly_app.errors import BrokerError
from anomaly_app.testing.broker import PARTITIONS, EmbeddedBroker


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


async def test_records_come_back_in_order_of_their_partition(broker: EmbeddedBroker) -> None:
    broker.touch("sales", "clicks")
    values = [f"{number}".encode() for number in range(100)]
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers) as producer:
        assert await producer.partitions_for("sales") == set(range(PARTITIONS))
        assert await producer.partitions_for("clicks") == set(range(PARTITIONS))
        for value in values:
            await producer.send("sales", value, key=b"k", partition=2, timestamp_ms=1_700_000_000_000)
        await producer.flush()
    consumer = AIOKafkaConsumer("sales", bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        records = [await consumer.getone() for _ in values]
    finally:
        await consumer.stop()
    assert [record.value for record in records] == values
    assert {(record.partition, record.timestamp) for record in records} == {(2, 1_700_000_000_000)}


def test_it_closes_twice() -> None:
    broker = EmbeddedBroker("sales")
    broker.close()
    broker.close()
    with pytest.raises(BrokerError, match="closed"):
        broker.touch("sales")


def test_a_topic_that_cannot_be_one_is_refused(broker: EmbeddedBroker) -> None:
    with pytest.raises(BrokerError, match="name of a topic"):
        broker.touch("two words")
    broker.touch("sales")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_dies_with_its_parent(how: signal.Signals) -> None:
    program = (
        "import time\n"
        "from anomaly_app.testing.broker import EmbeddedBroker\n"
        "with EmbeddedBroker('sales') as broker:\n"
        "    print(broker._process.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        os.kill(parent.pid, how)
        gone, alive = psutil.wait_procs([child], timeout=5)
    assert gone and not alive
