"""Joins and updated groups of our worker and of Flink 2.3, on the same topics of Apache Kafka, one core each.

    python -m benchmarks.joins_against_flink [--rows 100000] [--shape NAME] [--output FILE]

Two jobs, each as the same SQL text for both: an interval join of orders with their payments (one payment an order,
half a minute later), and count and average by user without a window, into an ``upsert-kafka`` table. Flink runs with
its state in RocksDB and on the heap, a checkpoint each second, at least once, in one JVM with one slot; the second run
of the JVM counts, when the code is warm. Our worker writes its state to a changelog and RocksDB. Both have core 0, one
after the other; the broker may use both cores. What is left in the sink must be the same.

Throughput: the worker from its first changelog record, written before any row is read, to the last; Flink from the
deployment of the job to its end. Needs Java and Maven. Prints JSON with the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import psutil
from confluent_kafka import Producer

from anomaly_app.testing.flink import FlinkRun, statements_for_flink
from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.worker import read
from benchmarks.against_flink import topic_names
from benchmarks.end_to_end import PARTITIONS, pin, text, worker

STATES = {"rocksdb": {"state.backend.type": "rocksdb"}, "hashmap": {"state.backend.type": "hashmap"}}

ORDERS = """
CREATE TABLE orders (
    id STRING, user_id STRING, price INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH (
    'connector' = 'kafka', 'topic' = '{topic}.orders', 'properties.bootstrap.servers' = 'localhost:9092',
    'scan.startup.mode' = 'earliest-offset', 'key.format' = 'raw', 'key.fields' = 'id', 'value.format' = 'json',
    'value.fields-include' = 'EXCEPT_KEY'
);
"""
JOIN = f"""{ORDERS}
CREATE TABLE payments (
    order_id STRING, amount INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH (
    'connector' = 'kafka', 'topic' = '{{topic}}.payments', 'properties.bootstrap.servers' = 'localhost:9092',
    'scan.startup.mode' = 'earliest-offset', 'key.format' = 'raw', 'key.fields' = 'order_id',
    'value.format' = 'json', 'value.fields-include' = 'EXCEPT_KEY'
);
CREATE TABLE results (id STRING, user_id STRING, price INT, amount INT, paid TIMESTAMP(3))
WITH ('connector' = 'kafka', 'topic' = '{{topic}}.{{system}}', 'format' = 'json');
INSERT INTO results SELECT o.id, o.user_id, o.price, p.amount, CAST(p.ts AS TIMESTAMP(3))
FROM orders o JOIN payments p ON o.id = p.order_id AND p.ts BETWEEN o.ts AND o.ts + INTERVAL '60' SECOND;
"""
GROUPS = f"""{ORDERS}
CREATE TABLE results (user_id STRING, orders BIGINT, price INT, PRIMARY KEY (user_id) NOT ENFORCED)
WITH ('connector' = 'upsert-kafka', 'topic' = '{{topic}}.{{system}}', 'key.format' = 'json', 'value.format' = 'json');
INSERT INTO results SELECT user_id, COUNT(*), AVG(price) FROM orders GROUP BY user_id;
"""
USERS = 20_000
RATE = 5_000
"""Orders a second of event time."""


def order(number: int, draw: random.Random, start: int) -> tuple[str, bytes, bytes]:
    """An order: suffix of its topic, key, value."""
    value = {"user_id": f"user-{draw.randrange(USERS)}", "price": draw.randint(1, 500)}
    return "orders", b"%d" % number, orjson.dumps({**value, "ts": text(start + number * 1000 // RATE)})


def orders(rows: int, start: int) -> Iterator[tuple[str, bytes, bytes]]:
    """Orders only."""
    draw = random.Random(1)
    return (order(number, draw, start) for number in range(rows))


def orders_and_payments(rows: int, start: int) -> Iterator[tuple[str, bytes, bytes]]:
    """As many rows of both: the payment of an order comes half a minute later, in the same order."""
    draw, later = random.Random(1), 30 * RATE
    for number in range(rows // 2 + later):
        if number < rows // 2:
            yield order(number, draw, start)
        if number >= later:
            paid = number - later
            value = {"amount": draw.randint(1, 500), "ts": text(start + number * 1000 // RATE)}
            yield "payments", b"%d" % paid, orjson.dumps(value)


class Shape(NamedTuple):
    """What is measured.

    Args:
        sql: the job.
        rows: makes the rows of its topics, given how many and their first time in ms.
        topics: suffixes of these topics.
        by_key: of the sink only the last record of a key counts.
    """

    sql: str
    rows: Callable[[int, int], Iterator[tuple[str, bytes, bytes]]]
    topics: tuple[str, ...]
    by_key: bool


SHAPES = {
    "interval join": Shape(JOIN, orders_and_payments, ("orders", "payments"), False),
    "unbounded GROUP BY": Shape(GROUPS, orders, ("orders",), True),
}


class Bench:
    """One broker, both systems, the same topics."""

    def __init__(self, kafka: ApacheKafka, folder: str) -> None:
        self.kafka, self.servers, self.folder = kafka, kafka.bootstrap_servers, Path(folder)

    def measure(self, shape: Shape, rows: int) -> dict[str, Any]:
        """All three over one set of topics."""
        name = f"rows-{time.time_ns() // 1_000_000}"
        systems = ("worker", *STATES)
        self.kafka.create_topics({f"{name}.{topic}": PARTITIONS for topic in shape.topics})
        self.kafka.create_topics({f"{name}.{system}": 1 for system in systems})
        self.fill(shape, name, rows)
        seconds = {"worker": self.ours(name, shape.sql.format(topic=name, system="worker"))}
        for state, settings in STATES.items():
            seconds[state] = self.flink(shape.sql.format(topic=name, system=state), settings)
        left = {system: self.left(f"{name}.{system}", shape.by_key) for system in systems}
        if any(left[system] != left["worker"] for system in systems):
            raise RuntimeError(f"other rows: { ({system: len(left[system]) for system in systems}) }")
        return {
            "rows": rows,
            "results": len(left["worker"]),
            **{f"{system}_rows_per_s": round(rows / seconds[system]) for system in systems},
            **{f"ratio_to_{state}": round(seconds[state] / seconds["worker"], 1) for state in STATES},
        }

    def fill(self, shape: Shape, name: str, rows: int) -> None:
        """The topics with rows of the past."""
        config = {"bootstrap.servers": self.servers, "linger.ms": 50, "queue.buffering.max.messages": 1_000_000}
        producer = Producer(config)
        start = int(time.time()) * 1000 - rows * 1000 // RATE - 60_000
        for number, (topic, key, value) in enumerate(shape.rows(rows, start)):
            producer.produce(f"{name}.{topic}", value, key)
            if number % 10_000 == 0:
                producer.poll(0)
        producer.flush()

    def ours(self, name: str, sql: str) -> float:
        """Seconds of the worker."""
        job = self.folder / f"{name}.sql"
        job.write_text(sql)
        with worker(self.servers, job, str(self.folder), name, **{"worker.bounded": "true"}) as process:
            if process.wait(900):
                raise RuntimeError(process.output)
        names = asyncio.run(topic_names(self.servers))
        changelogs = [topic for topic in names if topic.startswith(f"{name}-") and topic.endswith("-changelog")]
        stamps = sorted(record.timestamp for topic in changelogs for record in asyncio.run(read(self.servers, topic)))
        return float(stamps[-1] - stamps[0]) / 1000

    def flink(self, sql: str, settings: Mapping[str, str]) -> float:
        """Seconds of Flink, once it is warm."""
        statements = statements_for_flink(sql, servers=self.servers, bounded=True, settings=settings)
        with FlinkRun(statements, runs=2) as run:
            while not (family := psutil.Process(run.pid).children(recursive=True)):
                time.sleep(0.01)
            for process in family:
                pin(process.pid, 0)
            _, warm = run.wait(3_600)
        return warm

    def left(self, topic: str, by_key: bool) -> list[Any]:
        """What stands in a sink at the end; Flink wrote it twice."""
        records = asyncio.run(read(self.servers, topic))
        if by_key:
            last = {orjson.dumps(orjson.loads(record.key)): record.value for record in records}
            return sorted((key, value and orjson.dumps(orjson.loads(value))) for key, value in last.items())
        return sorted({orjson.dumps(orjson.loads(record.value)) for record in records})


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--shape", choices=SHAPES, action="append")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    document: dict[str, Any] = {"load": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as folder, ApacheKafka(partitions=PARTITIONS) as kafka:
        bench = Bench(kafka, folder)
        for name in options.shape or SHAPES:
            document[name] = bench.measure(SHAPES[name], options.rows)
            print(name, json.dumps(document[name]), file=sys.stderr, flush=True)
    written = json.dumps(document, indent=2)
    print(written)
    if options.output:
        options.output.write_text(written + "\n")


if __name__ == "__main__":
    main()
