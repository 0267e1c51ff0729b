"""Our worker and Flink 2.3 on the same topics of Apache Kafka, one core each: rows a second, and latency.

    python -m benchmarks.against_flink [--rows 100000] [--seconds 30] [--output FILE]

Three jobs, each as the same SQL text for both: the sales pattern at 5 and at 100 rows per user and window of WITHIN,
and counts and sums in tumbling windows of ten seconds. Both have core 0, one after the other; the producer has core 1,
the broker may use both. The topic has eight partitions, keyed by user. Flink runs in one JVM with one slot, state on
the heap, a checkpoint each second, at least once; our worker writes its state to a changelog and RocksDB, and alerts
beside the sink.

Throughput: the worker from its first changelog record, written before any row is read, to the last; Flink from the
deployment of the job to its end, in the first run of the JVM and in the second, when the code is warm. Latency: the
sink topic's append time less the moment at which the watermark passes the row that completes a result (its time, or the
end of its window, plus the delay of the DDL). Matches that an earlier open start held back until WITHIN had run out are
left out, as is the first third of the time, in which both warm up.

Needs Java and Maven. Prints JSON with the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import psutil
from aiokafka import AIOKafkaConsumer
from confluent_kafka import Producer

from anomaly_app.testing.flink import FlinkRun, statements_for_flink
from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.worker import WorkerProcess, read
from benchmarks.end_to_end import DELAY_MS, KEYED, PARTITIONS, WITHIN_MS, live, pin, quantile, sale, worker

TABLE = """
CREATE TABLE sales (
    user_id STRING, invoice_id STRING, quantity STRING, purchase_time TIMESTAMP(3),
    WATERMARK FOR purchase_time AS purchase_time - INTERVAL '1' SECOND
) WITH (
    'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = 'localhost:9092',
    'scan.startup.mode' = 'earliest-offset', {format}
);
"""
SINK = "WITH ('connector' = 'kafka', 'topic' = '{topic}.{system}', 'format' = 'json')"
PATTERN = f"""{TABLE}
CREATE TABLE results (
    user_id STRING, unusual_quantity INT, done TIMESTAMP(3), average INT, first TIMESTAMP(3), last TIMESTAMP(3)
) {SINK};
INSERT INTO results SELECT * FROM sales MATCH_RECOGNIZE (
    PARTITION BY user_id ORDER BY purchase_time
    MEASURES CAST(U.quantity AS INT) AS unusual_quantity, U.purchase_time AS done,
        AVG(CAST(T.quantity AS INT)) AS average, FIRST(T.purchase_time) AS first, LAST(T.purchase_time) AS last
    ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW
    PATTERN (T+? U) WITHIN INTERVAL '10' SECOND
    DEFINE U AS U.quantity > AVG(CAST(T.quantity AS INT)) * 3
);
"""
WINDOWS = f"""{TABLE}
CREATE TABLE results (user_id STRING, done TIMESTAMP(3), sales BIGINT, quantity BIGINT) {SINK};
INSERT INTO results SELECT user_id, window_end, COUNT(*), SUM(CAST(quantity AS BIGINT))
FROM TABLE(TUMBLE(TABLE sales, DESCRIPTOR(purchase_time), INTERVAL '10' SECOND))
GROUP BY user_id, window_start, window_end;
"""


class Shape(NamedTuple):
    """What is measured.

    Args:
        sql: the job.
        rate: rows a second of event time; in the live run of wall time.
        users: how many.
        share: of --rows, since Flink is slow on some.
    """

    sql: str
    rate: int
    users: int
    share: float


SHAPES = {
    "sales, 5 rows per window": Shape(PATTERN, 2_000, 4_000, 1.0),
    "sales, 100 rows per window": Shape(PATTERN, 500, 50, 0.3),
    "tumbling windows": Shape(WINDOWS, 2_000, 4_000, 2.0),
}


def fill(servers: str, topic: str, rows: int, shape: Shape) -> None:
    """A topic with the sales of the past."""
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 50, "queue.buffering.max.messages": 1_000_000})
    draw, start = random.Random(1), int(time.time()) * 1000 - rows * 1000 // shape.rate
    for number in range(rows):
        user, value = sale(draw, shape.users, number, start + number * 1000 // shape.rate, 0.005)
        producer.produce(topic, value, user)
        if number % 10_000 == 0:
            producer.poll(0)
    producer.flush()


class Bench:
    """One broker, both systems, one topic for each job and purpose."""

    def __init__(self, kafka: ApacheKafka, folder: str) -> None:
        self.kafka, self.folder = kafka, Path(folder)

    def topics(self, shape: Shape, name: str) -> dict[str, str]:
        """Topics of a job, and its text for each system: they differ in the topic of the sink."""
        self.kafka.create_topics({name: PARTITIONS})
        sinks = {f"{name}.{system}": 1 for system in ("worker", "flink")}
        self.kafka.create_topics(sinks, message_timestamp_type="LogAppendTime")
        return {system: shape.sql.format(topic=name, format=KEYED, system=system) for system in ("worker", "flink")}

    def start_worker(self, name: str, text: str, **settings: object) -> WorkerProcess:
        """Our worker on core 0."""
        job = self.folder / f"{name}.sql"
        job.write_text(text)
        return worker(self.kafka.bootstrap_servers, job, str(self.folder), name, **settings)

    def start_flink(self, text: str, *, bounded: bool, runs: int = 1) -> FlinkRun:
        """Flink on core 0."""
        statements = statements_for_flink(text, servers=self.kafka.bootstrap_servers, bounded=bounded)
        run = FlinkRun(statements, runs=runs)
        while not (family := psutil.Process(run.pid).children(recursive=True)):
            time.sleep(0.01)
        # Early: what the JVM counts its processors by, and what its threads inherit.
        for process in family:
            pin(process.pid, 0)
        return run

    def throughput(self, shape: Shape, rows: int) -> dict[str, Any]:
        """One topic read by both."""
        name = f"rows-{time.time_ns() // 1_000_000}"
        texts = self.topics(shape, name)
        fill(self.kafka.bootstrap_servers, name, rows, shape)
        with self.start_worker(name, texts["worker"], **{"worker.bounded": "true"}) as process:
            if process.wait(600):
                raise RuntimeError(process.output)
        ours = self.changelog_seconds(name)
        with self.start_flink(texts["flink"], bounded=True, runs=2) as run:
            first, warm = run.wait(1_800)
        results = {system: len(self.results(name, system)) for system in ("worker", "flink")}
        if results["flink"] != 2 * results["worker"]:
            raise RuntimeError(f"other rows: {results}, and Flink ran twice")
        return {
            "rows": rows,
            "results": results["worker"],
            "worker_rows_per_s": round(rows / ours),
            "flink_first_run_rows_per_s": round(rows / first),
            "flink_rows_per_s": round(rows / warm),
            "ratio": round(warm / ours, 1),
        }

    def changelog_seconds(self, name: str) -> float:
        """How long the worker took, by the records of its changelogs."""
        names = asyncio.run(topic_names(self.kafka.bootstrap_servers))
        changelogs = [topic for topic in names if topic.startswith(f"{name}-") and topic.endswith("-changelog")]
        written = [record for topic in changelogs for record in asyncio.run(read(self.kafka.bootstrap_servers, topic))]
        stamps = sorted(record.timestamp for record in written)
        # The first flush of each partition notes where it begins, before any row.
        return float(stamps[-1] - stamps[PARTITIONS * len(changelogs) - 1]) / 1000

    def results(self, name: str, system: str) -> list[Any]:
        """Records of a sink."""
        return asyncio.run(read(self.kafka.bootstrap_servers, f"{name}.{system}"))

    def latency(self, shape: Shape, seconds: int) -> dict[str, Any]:
        """Both at a steady rate, one after the other, over topics that are made alike."""
        return {
            "rows_per_s": shape.rate,
            "seconds": seconds,
            **{system: self.live(shape, system, seconds) for system in ("worker", "flink")},
        }

    def live(self, shape: Shape, system: str, seconds: int) -> dict[str, float]:
        """One system at a steady rate."""
        name = f"live-{time.time_ns() // 1_000_000}"
        text = self.topics(shape, name)[system]
        if system == "worker":
            with self.start_worker(name, text) as process:
                process.wait_ready()
                pin(process.process.pid, 0)
                self.produce(name, shape, seconds)
                process.stop()
        else:
            with self.start_flink(text, bounded=False) as run:
                run.wait_running()
                self.produce(name, shape, seconds)
        delays = sorted(self.delays(name, system, seconds))
        return {"results": len(delays), "p50_ms": quantile(delays, 0.5), "p99_ms": quantile(delays, 0.99)}

    def produce(self, name: str, shape: Shape, seconds: int) -> None:
        """Sales as they happen, from a process of their own, and some seconds for the results."""
        command = [sys.executable, "-m", "benchmarks.against_flink", "--live", self.kafka.bootstrap_servers, name]
        time.sleep(2)
        subprocess.run([*command, str(shape.rate), str(seconds), str(shape.users)], check=True)
        time.sleep(5)

    def delays(self, name: str, system: str, seconds: int) -> list[float]:
        """From the watermark to the sink, of the last two thirds."""
        rows_of: dict[str, list[int]] = {}
        begin = None
        for record in asyncio.run(read(self.kafka.bootstrap_servers, name)):
            at = millis(orjson.loads(record.value)["purchase_time"])
            rows_of.setdefault(record.key.decode(), []).append(at)
            begin = at if begin is None else min(begin, at)
        assert begin is not None
        found: list[float] = []
        consumed: dict[str, int] = {}
        decoded = [(orjson.loads(record.value), record.timestamp) for record in self.results(name, system)]
        for row, appended in sorted(decoded, key=lambda pair: millis(pair[0]["done"])):
            user, done = row["user_id"], millis(row["done"])
            held = "first" in row and any(
                max(done - WITHIN_MS, consumed.get(user, 0)) < ms < millis(row["first"]) for ms in rows_of[user]
            )
            consumed[user] = done
            if not held and done >= begin + seconds * 1000 / 3:
                found.append(appended - done - DELAY_MS)
        return found


async def topic_names(servers: str) -> set[str]:
    """Names of the topics that there are."""
    async with AIOKafkaConsumer(bootstrap_servers=servers) as consumer:
        return set(await consumer.topics())


def millis(text: str) -> int:
    """A timestamp of JSON, in milliseconds."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def main() -> None:
    """Run it all."""
    if sys.argv[1:2] == ["--live"]:
        pin(os.getpid(), 1)
        servers, topic, rate, seconds, users = sys.argv[2:]
        for _ in live(servers, topic, int(rate), int(seconds), int(users), True):
            pass
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--only", choices=["throughput", "latency"])
    parser.add_argument("--shape", choices=SHAPES, action="append")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    document: dict[str, Any] = {"load": os.getloadavg()[0]}
    shapes: Mapping[str, Shape] = {name: SHAPES[name] for name in options.shape or SHAPES}
    with tempfile.TemporaryDirectory() as folder, ApacheKafka(partitions=PARTITIONS) as kafka:
        bench = Bench(kafka, folder)
        for name, shape in shapes.items():
            result = document[name] = {}
            if options.only != "latency":
                result["throughput"] = bench.throughput(shape, int(options.rows * shape.share))
                print(name, json.dumps(result), file=sys.stderr, flush=True)
            if options.only != "throughput":
                result["latency"] = bench.latency(shape, options.seconds)
                print(name, json.dumps(result), file=sys.stderr, flush=True)
    text = json.dumps(document, indent=2)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
