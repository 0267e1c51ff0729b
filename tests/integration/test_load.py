"""``anomaly load``: every row of a file once, also if the load was killed; what cannot be read is told."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition
from fastavro import parse_schema, schemaless_reader
from registry_thread import RegistryThread

from anomaly_app.generators.payments import TRANSACTIONS, avro_schema, payments
from anomaly_app.testing.broker import EmbeddedBroker

ROWS = 3_000


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    with RegistryThread() as registry:
        yield registry.url


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("load")
    (folder / "t.avsc").write_text(json.dumps(avro_schema(TRANSACTIONS)))
    records = [record for record in payments(4, ROWS, 0) if record.topic == TRANSACTIONS]
    with (folder / "t.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        names = [name for name in records[0].value if name != "Timestamp"]
        writer.writerow(["TransactionID", "isFraud", *names])
        for record in records:
            writer.writerow([record.number, int(bool(record.fraud)), *(record.value[name] for name in names)])
    return folder


def command(
    folder: Path, broker: EmbeddedBroker, registry: str, topic: str, *more: str, file: str = "t.csv"
) -> list[str]:
    given = ["--topic", topic, "--schema", str(folder / "t.avsc"), "--key", "TransactionID", "--now", "Timestamp"]
    to = ["--broker", broker.bootstrap_servers, "--registry", registry]
    return [sys.executable, "-m", "anomaly_app.cli", "load", str(folder / file), *given, *to, *more]


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=50, check=False)


async def read(servers: str, topic: str) -> list[Any]:
    records: list[Any] = []
    async with AIOKafkaConsumer(bootstrap_servers=servers) as consumer:
        places = [TopicPartition(topic, number) for number in range(4)]
        consumer.assign(places)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(places)
        async with asyncio.timeout(20):
            while len(records) < sum(ends.values()):
                for found in (await consumer.getmany(timeout_ms=500)).values():
                    records += found
    return records


async def test_a_load_that_is_killed_goes_on_where_it_stopped(
    broker: EmbeddedBroker, registry: str, folder: Path
) -> None:
    broker.touch("killed")
    slow = command(folder, broker, registry, "killed", "--gaps", "TransactionDT", "--speed", "60")
    for _ in range(2):
        running = await asyncio.create_subprocess_exec(*slow, stderr=asyncio.subprocess.DEVNULL)
        there = len(await read(broker.bootstrap_servers, "killed"))
        while len(await read(broker.bootstrap_servers, "killed")) == there:
            assert running.returncode is None
            await asyncio.sleep(0.2)
        running.kill()
        await running.wait()
    before = len(await read(broker.bootstrap_servers, "killed"))
    assert 0 < before < ROWS
    ended = await asyncio.to_thread(run, command(folder, broker, registry, "killed"))
    assert ended.returncode == 0, ended.stderr
    assert f"{ROWS - before:,} rows to killed" in ended.stderr and f"{before:,} were there" in ended.stderr
    records = await read(broker.bootstrap_servers, "killed")
    schema = parse_schema(avro_schema(TRANSACTIONS))
    wanted = {record.number: record.value for record in payments(4, ROWS, 0) if record.topic == TRANSACTIONS}
    found: dict[int, dict[str, Any]] = {}
    for record in records:
        number = schemaless_reader(
            io.BytesIO(record.key[5:]), {"type": "record", "name": "k", "fields": [{"name": "n", "type": "int"}]}, None
        )["n"]
        assert number not in found
        found[number] = schemaless_reader(io.BytesIO(record.value[5:]), schema, None)
    assert set(found) == set(wanted)
    for number, value in found.items():
        same = {name: pytest.approx(wanted[number][name], rel=1e-6) for name in ("TransactionAmt", "D1")}
        assert {name: value[name] for name in same} == same
        assert (value["V3"] is None) == (wanted[number]["V3"] is None)
        assert value["R_emaildomain"] == wanted[number]["R_emaildomain"]
        assert abs(value["Timestamp"].timestamp() - time.time()) < 600
    once_more = await asyncio.to_thread(run, command(folder, broker, registry, "killed"))
    assert (
        once_more.stderr.startswith("0 rows to killed") and len(await read(broker.bootstrap_servers, "killed")) == ROWS
    )


def test_rows_that_cannot_be_read_are_told_and_left_out(broker: EmbeddedBroker, registry: str, folder: Path) -> None:
    broker.touch("bad")
    lines = (folder / "t.csv").read_text().splitlines()[:4]
    number = lines[0].split(",").index("TransactionAmt")
    wrong = lines[2].split(",")
    wrong[number] = "much"
    (folder / "bad.csv").write_text("\n".join([*lines[:2], ",".join(wrong), "1,2", lines[3]]) + "\n")
    ended = subprocess.run(
        command(folder, broker, registry, "bad", file="bad.csv"),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.startswith("2 rows to bad in ")
    assert "line 4: 2 values for" in ended.stderr and "line 3: column TransactionAmt: 'much'" in ended.stderr


def test_what_is_missing_is_named(broker: EmbeddedBroker, registry: str, folder: Path) -> None:
    (folder / "short.csv").write_text("TransactionID,card1\n1,2\n")
    ended = subprocess.run(
        command(folder, broker, registry, "short", file="short.csv"),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ended.returncode == 2 and "has no column TransactionDT" in ended.stderr
