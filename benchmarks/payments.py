"""Payments and their devices on Apache Kafka: Avro of 119 fields, an interval join and a model, on one core.

    python -m benchmarks.payments [--rows 50000] [--memory-rows 20000] [--servers HOST:PORT] [--output FILE]

A model is trained first, as ``anomaly demo payments`` does. Topic to topic: both topics are filled, then the payments
are read by a bare aiokafka consumer that decodes each record with fastavro (the reference), and both topics to their
ends by a worker with ``fraud.sql``. By the clock it counts from the first changelog record, written before any row is
read, to the last; per second of processor time without what the same worker takes over empty topics.

In memory, by processor time: decoding payments into the columns that the job reads and into all that there are, both
beside fastavro; the join with the features, and what the model takes more than that. Worker and reference have one
core, broker and generator the other. Prints JSON; ratios are to the reference in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
import orjson
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition
from confluent_kafka import Producer

from anomaly_app.cli.demo_scenes import payments_scene
from anomaly_app.cli.generate_payments import encoded
from anomaly_app.formats.records import RecordDecoder
from anomaly_app.formats.registry import Registry
from anomaly_app.generators import payments as stream
from anomaly_app.generators.encode import RegistryAccess
from anomaly_app.generators.stream import Generated
from anomaly_app.jobs.binder import bind_job
from anomaly_app.jobs.joint_task import JointSlot, JointTask
from anomaly_app.jobs.model import Plan
from anomaly_app.operators import Layout
from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.ports import free_port
from anomaly_app.testing.worker import read
from benchmarks.end_to_end import PARTITIONS, pin
from benchmarks.retail import PRODUCER, bounded, create, jobs_of

TOPICS = (stream.TRANSACTIONS, stream.IDENTITIES)
RATE = 100.0
"""Payments a second of event time."""
BATCH = 1_000
HEADER = 5


class Message(NamedTuple):
    """A record of a topic in memory."""

    topic: str
    key: bytes
    value: bytes
    offset: int
    timestamp: int
    partition: int = 0
    timestamp_type: int = 0
    headers: None = None


@contextlib.contextmanager
def registry_server() -> Iterator[str]:
    """The test kit's registry in a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "anomaly_app.testing.registry", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def made(count: int, registry: str, rate: float = RATE) -> Iterator[Generated]:
    """Records of both topics, all of the past."""
    start = int((time.time() - count / rate - 300) * 1000)
    return encoded(stream.payments(5, count, start, rate), RegistryAccess(registry, "", "", ""))


async def raw_consumer(servers: str, topic: str, rows: int) -> float:
    """Rows a second of a bare consumer that decodes each record with fastavro."""
    schema = fastavro.parse_schema(stream.avro_schema(stream.TRANSACTIONS))
    count = 0
    async with AIOKafkaConsumer(
        bootstrap_servers=servers, auto_offset_reset="earliest", fetch_max_wait_ms=20
    ) as consumer:
        consumer.assign([TopicPartition(topic, number) for number in range(PARTITIONS)])
        await consumer.seek_to_beginning()
        begin = time.perf_counter()
        while count < rows:
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                for record in records:
                    fastavro.schemaless_reader(io.BytesIO(record.value[HEADER:]), schema, None)
                count += len(records)
        return rows / (time.perf_counter() - begin)


def reference(servers: str, topic: str, rows: int) -> float:
    """The bare consumer in a process of its own, on the worker's core."""
    command = [sys.executable, "-m", "benchmarks.payments", "--reference", servers, topic, str(rows)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def topic_to_topic(servers: str, registry: str, model: Path, folder: Path, rows: int) -> dict[str, Any]:
    """Payments a second of the worker and of the reference."""
    settings = {"registry.url": registry, "parameters.payments.model.file": model}
    took, prefix = [], ""
    for count in (0, rows):
        prefix = f"payments-{time.time_ns() // 1_000_000}"
        create(servers, {f"{prefix}.{topic}": PARTITIONS for topic in TOPICS} | {f"{prefix}.scored-payments": 1})
        producer, others = Producer({"bootstrap.servers": servers, **PRODUCER}), 0
        for number, record in enumerate(made(count, registry) if count else ()):
            others += record.topic != stream.TRANSACTIONS
            producer.produce(f"{prefix}.{record.topic}", record.value, record.key, timestamp=record.timestamp_ms)
            if number % 1_000 == 0:
                producer.poll(0)
        producer.flush()
        jobs = jobs_of("payments", ("fraud.sql",), (*TOPICS, "scored-payments"), prefix, folder)
        took.append(bounded(servers, jobs, folder, prefix, **settings))
    raw = statistics.median(reference(servers, f"{prefix}.{stream.TRANSACTIONS}", rows) for _ in range(3))
    scored = [
        orjson.loads(record.value)["TransactionID"]
        for record in asyncio.run(read(servers, f"{prefix}.scored-payments"))
    ]
    assert len(scored) == len(set(scored)) == rows, f"{len(scored)} scored rows of {rows} payments"
    start, whole = took
    return {
        "payments": rows,
        "devices": others,
        "raw_rows_per_s": round(raw),
        "rows_per_s": round(rows / whole["seconds"]),
        "ratio": round(rows / whole["seconds"] / raw, 3),
        "rows_per_cpu_second": round(rows / max(0.001, whole["cpu_seconds"] - start["cpu_seconds"])),
    }


def best(work: Callable[[], Any], times: int = 3) -> float:
    """Processor time of the fastest of some runs."""
    found = []
    for _ in range(times):
        begin = time.process_time()
        work()
        found.append(time.process_time() - begin)
    return min(found)


def joined(model: Path, rows: str) -> Plan:
    """The first part of ``fraud.sql``, up to rows of one of its views."""
    text = resources.files("anomaly_app").joinpath("jobs/payments/fraud.sql").read_text("utf-8")
    views = text[: text.index("-- What a card's last")]
    (plan,) = bind_job(f"{views} {rows};", name="part", parameters={"payments.model.file": str(model)}).plans
    return plan


async def in_memory(registry_url: str, model: Path, rows: int) -> dict[str, Any]:
    """The parts apart."""
    messages: dict[str, list[Message]] = {topic: [] for topic in TOPICS}
    order: list[str] = []
    for record in made(rows, registry_url, stream.RATE):
        own = messages[record.topic]
        own.append(Message(record.topic, record.key, record.value, len(own), record.timestamp_ms))
        order.append(record.topic)
    scored = joined(model, "SELECT * FROM predicted")
    names = [column.name for one in scored.inputs for column in one.layout.columns if one.source.topic == TOPICS[0]]
    features = ", ".join(dict.fromkeys(_features()))
    unscored = joined(model, f"SELECT TransactionID, dist1, {features}, `Timestamp` AS ts FROM transformed_records")
    registry = Registry(registry_url)
    schema = fastavro.parse_schema(stream.avro_schema(stream.TRANSACTIONS))
    payments = messages[stream.TRANSACTIONS]

    def with_fastavro() -> None:
        for one in payments:
            fastavro.schemaless_reader(io.BytesIO(one.value[HEADER:]), schema, None)

    async def decoder(plan: Plan, topic: str, every: bool = False) -> RecordDecoder:
        (given,) = (one for one in plan.inputs if one.source.topic == topic)
        layout = Layout(given.source.schema.columns) if every else given.layout
        made_ = RecordDecoder(given.source, layout, registry)
        await made_.prepare(messages[topic])
        return made_

    def decoding(decoder_: RecordDecoder) -> Callable[[], None]:
        def work() -> None:
            for first in range(0, rows, BATCH):
                decoded = decoder_.decode(payments[first : first + BATCH], 0)
                assert len(decoded.rows) == len(payments[first : first + BATCH])

        return work

    raw = rows / best(with_fastavro)
    read_ = rows / best(decoding(await decoder(scored, TOPICS[0])))
    every = rows / best(decoding(await decoder(scored, TOPICS[0], every=True)))
    took, found = {}, 0
    for name, plan in (("join", unscored), ("join and model", scored)):
        decoders = {topic: await decoder(plan, topic) for topic in TOPICS}
        batches = _batches(plan, {topic: one.decode(messages[topic], 0).rows for topic, one in decoders.items()}, order)
        found = _run(plan, batches)
        took[name] = best(lambda: _run(plan, batches))  # noqa: B023
    await registry.close()
    return {
        "payments": rows,
        "scored": found,
        "fastavro_rows_per_s": round(raw),
        "columns_read": len(names),
        "decode_rows_per_s": {"columns that are read": round(read_), "all columns": round(every)},
        "decode_ratio": {"columns that are read": round(read_ / raw, 2), "all columns": round(every / raw, 2)},
        "join_rows_per_s": round(rows / took["join"]),
        "join_and_model_rows_per_s": round(rows / took["join and model"]),
        "model_rows_per_s": round(found / max(1e-9, took["join and model"] - took["join"])),
    }


def _features() -> Sequence[str]:
    """What the job gives the model."""
    text = resources.files("anomaly_app").joinpath("jobs/payments/fraud.sql").read_text("utf-8")
    return text.partition("ML_PREDICT(${payments.model},")[2].partition(")")[0].replace(" ", "").split(",")


def _batches(plan: Plan, rows: dict[str, list[Any]], order: list[str]) -> list[list[tuple[int, Any]]]:
    """Rows of both tables by arrival, with the numbers of their inputs."""
    inputs = {one.source.topic: number for number, one in enumerate(plan.inputs)}
    left = {topic: iter(own) for topic, own in rows.items()}
    numbered = []
    for place, topic in enumerate(order):
        time_, _, *values = next(left[topic])
        numbered.append((inputs[topic], (time_, place, *values)))
    return [numbered[first : first + BATCH] for first in range(0, len(numbered), BATCH)]


def _run(plan: Plan, batches: list[list[tuple[int, Any]]]) -> int:
    (query,) = plan.queries
    operator, _ = query.factory.create_over({one.source.name: one.layout for one in plan.inputs})
    scans = [scan.table for scan in query.factory.scans]
    places = tuple(next(n for n, one in enumerate(plan.inputs) if one.source.name == table) for table in scans)
    task = JointTask([JointSlot("query", operator, places)], [one.source.schema for one in plan.inputs])
    found = 0
    for batch in batches:
        task.process(batch)
        found += len(task.take().findings)
    return found


def main() -> None:
    """Run it all."""
    if sys.argv[1:2] == ["--reference"]:
        pin(os.getpid(), 0)
        print(asyncio.run(raw_consumer(sys.argv[2], sys.argv[3], int(sys.argv[4]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000, help="payments to read; 0: not from topic to topic")
    parser.add_argument("--memory-rows", type=int, default=20_000, help="payments in memory; 0: none")
    parser.add_argument("--servers", help="a broker that runs already")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    document: dict[str, Any] = {"load": round(os.getloadavg()[0], 1)}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        registry = stack.enter_context(registry_server())
        prepare = payments_scene(stream.FRAUD).prepare
        assert prepare is not None
        model = Path(prepare(folder)["parameters.payments.model.file"])
        if options.memory_rows:
            document["in_memory"] = asyncio.run(in_memory(registry, model, options.memory_rows))
            print(json.dumps(document["in_memory"]), file=sys.stderr, flush=True)
        if options.rows:
            servers = options.servers
            if servers is None:
                kafka = stack.enter_context(ApacheKafka(partitions=PARTITIONS))
                servers = kafka.bootstrap_servers
                if kafka.pid is not None:
                    pin(kafka.pid, 1)
            document["topic_to_topic"] = topic_to_topic(servers, registry, model, folder, options.rows)
    document["load_at_the_end"] = round(os.getloadavg()[0], 1)
    written = json.dumps(document, indent=2)
    print(written)
    if options.output:
        options.output.write_text(written + "\n", "utf-8")


if __name__ == "__main__":
    main()
