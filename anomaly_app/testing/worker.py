"""A worker in a process of its own, and topics as lists: for tests of whole runs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from anomaly_app.testing.ports import free_port


class Sent(NamedTuple):
    """A record to send."""

    key: bytes | None
    value: bytes | None
    timestamp_ms: int | None = None
    partition: int | None = None


class WorkerProcess:
    """``anomaly run``, or another command that serves a page, as a child process.

    Args:
        settings: dotted key and value.
        jobs: job files; none for the packaged one.
        options: more of the command line, such as ``--bounded``.
        command: of ``anomaly``.
        port: key of the setting for the port of its page.
    """

    def __init__(
        self, settings: Mapping[str, object], *jobs: Path, options: Iterable[str] = (), command: str = "run",
        port: str = "web.port",
    ) -> None:  # fmt: skip
        self.port = free_port()
        given = {port: self.port, **settings}
        sets = [part for key, value in given.items() for part in ("--set", f"{key}={value}")]
        self._output = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "anomaly_app.cli", command, *map(str, jobs), *sets, *options],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={name: value for name, value in os.environ.items() if not name.startswith("ANOMALY_")},
            start_new_session=True,
        )

    @property
    def output(self) -> str:
        """What it has printed so far."""
        self._output.seek(0)
        return self._output.read()

    def get(self, path: str) -> Any:
        """The JSON that the worker's web answers; None while it does not listen."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return json.load(error)
        except OSError:
            return None

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until it processes rows; raises ``AssertionError`` with its output if it does not."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self.process.poll() is None:
            answer = self.get("/ready")
            if answer is not None and answer.get("ok"):
                return
            time.sleep(0.1)
        raise AssertionError(f"the worker did not become ready:\n{self.output}")

    def wait(self, timeout_s: float = 60.0) -> int:
        """Its exit status; raises ``AssertionError`` with its output if it does not end in time."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the worker did not end:\n{self.output}") from None

    def kill(self) -> None:
        """End it as a crash would: kill -9."""
        self.process.kill()
        self.process.wait()

    def stop(self, timeout_s: float = 20.0) -> int:
        """End it in order; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def close(self) -> None:
        """End it in any case."""
        if self.process.poll() is None:
            self.kill()
        self._output.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


async def send(bootstrap_servers: str, topic: str, records: Iterable[Sent]) -> None:
    """Send records and wait until they are stored."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap_servers, linger_ms=5) as producer:
        sent = [
            await producer.send(topic, value, key, partition=partition, timestamp_ms=timestamp)
            for key, value, timestamp, partition in records
        ]
        await asyncio.gather(*sent)


async def read(bootstrap_servers: str, topic: str) -> list[Any]:
    """All records of a topic, by partition and offset."""
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest") as consumer:
        await consumer._client.set_topics([topic])
        partitions = consumer.partitions_for_topic(topic) or set()
        places = [TopicPartition(topic, partition) for partition in sorted(partitions)]
        if not places:
            return []
        consumer.assign(places)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(places)
        records: list[Any] = []
        for place in places:
            while await consumer.position(place) < ends[place]:
                for batch in (await consumer.getmany(place, timeout_ms=1000)).values():
                    records += batch
    return sorted(records, key=lambda record: (record.partition, record.offset))
