"""Topic to durable alerts on Apache Kafka, one core, against a raw consumer of the same topic.

    python -m benchmarks.end_to_end [--rows 400000] [--seconds 60] [--output FILE]

Throughput: a topic of sales is filled, then read by a bare aiokafka consumer that decodes each record with orjson (the
reference), and by a worker with the sales rule: reorder buffer, pattern, alerts, sink, changelog, RocksDB. Worker and
reference have one core, broker and producer the other. Keyed: the topic's key is the PARTITION BY column. Not keyed:
rows go through a repartition topic first. Latency: from the moment the watermark has passed the last row of a match
(its time plus the delay of the DDL) to the alert's timestamp in the topic.

Prints JSON; ratios are to the reference in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import psutil
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition
from confluent_kafka import Producer

from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.worker import WorkerProcess, read

PARTITIONS = 8
DELAY_MS, WITHIN_MS = 1_000, 10_000
SHAPES = {5: 20_000, 100: 1_000}
"""Rows of a user in one window of WITHIN, and users: both make 10,000 rows a second of event time."""

JOB = """
CREATE TABLE sales (
    user_id STRING, invoice_id STRING, quantity STRING, purchase_time TIMESTAMP(3),
    WATERMARK FOR purchase_time AS purchase_time - INTERVAL '1' SECOND
) WITH (
    'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = 'localhost:9092',
    'scan.startup.mode' = 'earliest-offset', {format}
);
CREATE TABLE unusual (
    user_id STRING, unusual_invoice_id STRING, unusual_quantity INT, unusual_tstamp TIMESTAMP(3), avg_quantity INT,
    avg_first_sale_tstamp TIMESTAMP(3), avg_last_sale_tstamp TIMESTAMP(3), PRIMARY KEY (user_id) NOT ENFORCED
) WITH (
    'connector' = 'upsert-kafka', 'topic' = '{topic}.unusual', 'properties.bootstrap.servers' = 'localhost:9092',
    'key.format' = 'csv', 'value.format' = 'csv', 'value.fields-include' = 'ALL'
);
INSERT INTO unusual SELECT * FROM sales MATCH_RECOGNIZE (
    PARTITION BY user_id ORDER BY purchase_time
    MEASURES U.invoice_id AS unusual_invoice_id, CAST(U.quantity AS INT) AS unusual_quantity,
        U.purchase_time AS unusual_tstamp, AVG(CAST(T.quantity AS INT)) AS avg_quantity,
        FIRST(T.purchase_time) AS avg_first_sale_tstamp, LAST(T.purchase_time) AS avg_last_sale_tstamp
    ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW
    PATTERN (T+? U) WITHIN INTERVAL '10' SECOND
    DEFINE U AS U.quantity > AVG(CAST(T.quantity AS INT)) * 3
);
"""
NOT_KEYED = "'format' = 'json'"
KEYED = "'key.format' = 'raw', 'key.fields' = 'user_id', 'value.format' = 'json', 'value.fields-include' = 'ALL'"
KEYED = KEYED.replace("'ALL'", "'EXCEPT_KEY'")


def text(ms: int) -> str:
    """A time as SQL writes it."""
    seconds, millis = divmod(ms, 1000)
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds)) + f".{millis:03d}"


def sale(draw: random.Random, users: int, number: int, ms: int, rare: float) -> tuple[bytes, bytes]:
    """User and JSON value of a sale."""
    user = f"user-{draw.randrange(users)}"
    quantity = draw.randint(1, 3) * (10 if draw.random() < rare else 1)
    value = {"user_id": user, "invoice_id": str(number), "quantity": str(quantity), "purchase_time": text(ms)}
    return user.encode(), orjson.dumps(value)


def fill(servers: str, topic: str, rows: int, users: int, keyed: bool) -> None:
    """A topic with the sales of the past, 10,000 a second of event time."""
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 50, "queue.buffering.max.messages": 1_000_000})
    draw, start = random.Random(1), int(time.time() * 1000) - rows // 10
    for number in range(rows):
        user, value = sale(draw, users, number, start + number // 10, 0.002)
        producer.produce(topic, value, user if keyed else b"%d" % number)
        if number % 10_000 == 0:
            producer.poll(0)
    producer.flush()


async def raw_consumer(servers: str, topic: str, rows: int) -> float:
    """Rows a second of a bare consumer."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest", fetch_max_wait_ms=20)
    await consumer.start()
    consumer.assign([TopicPartition(topic, number) for number in range(PARTITIONS)])
    await consumer.seek_to_beginning()
    count, begin = 0, time.perf_counter()
    while count < rows:
        for records in (await consumer.getmany(timeout_ms=1000)).values():
            for record in records:
                orjson.loads(record.value)
            count += len(records)
    seconds = time.perf_counter() - begin
    await consumer.stop()
    return rows / seconds


def pin(pid: int, core: int) -> None:
    """Keep a process, its threads and those that it has started on one core: Kafka is a child of its guard."""
    if (os.cpu_count() or 1) > 1:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            for thread in process.threads():
                os.sched_setaffinity(thread.id, {core})


def reference(servers: str, topic: str, rows: int) -> float:
    """The bare consumer in a process of its own, on the worker's core."""
    command = [sys.executable, "-m", "benchmarks.end_to_end", "--reference", servers, topic, str(rows)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def worker(servers: str, job: Path, folder: str, name: str, **settings: object) -> WorkerProcess:
    """A worker on core 0."""
    process = WorkerProcess(
        {
            "kafka.bootstrap_servers": servers,
            "worker.app_id": name,
            "worker.data_dir": f"{folder}/{name}",
            "alerts.topic": f"{name}.alerts",
            "worker.idle_timeout_s": 0,
            **settings,
        },
        job,
        options=["--log-level", "error"],
    )
    pin(process.process.pid, 0)
    return process


def throughput(kafka: ApacheKafka, folder: str, rows: int, per_window: int, keyed: bool) -> dict[str, Any]:
    """One topic read by both."""
    name = f"bench-{per_window}-{'keyed' if keyed else 'notkeyed'}-{time.time_ns() // 1_000_000}"
    kafka.create_topics({name: PARTITIONS})
    servers = kafka.bootstrap_servers
    fill(servers, name, rows, SHAPES[per_window], keyed)
    raw = statistics.median(reference(servers, name, rows) for _ in range(3))
    job = Path(folder, f"{name}.sql")
    job.write_text(JOB.format(topic=name, format=KEYED if keyed else NOT_KEYED))
    with worker(servers, job, folder, name) as process:
        while True:
            time.sleep(1.0)
            status = process.get("/api/status") or {}
            parts = status.get("partitions", [])
            done = sum(part["rows"] for part in parts if part["topic"].endswith("repartition") is not keyed)
            if process.process.poll() is not None:
                raise RuntimeError(process.output)
            if done >= rows and not any(part["lag"] for part in parts):
                break
        time.sleep(1.0)
        cpu = _cpu_seconds(process.process.pid)
        process.stop()
    topics = asyncio.run(all_topics(servers))
    changelogs = [topic for topic in topics if topic.startswith(f"{name}-{name}-") and topic.endswith("-changelog")]
    written = [record for topic in changelogs for record in asyncio.run(read(servers, topic))]
    stamps = sorted(record.timestamp for record in written)
    # The first flush of each partition notes where it begins, before any row.
    firsts = PARTITIONS * len(changelogs)
    seconds = (stamps[-1] - stamps[firsts - 1]) / 1000
    changelog_bytes = sum(len(record.key or b"") + len(record.value or b"") for record in written)
    alerts = len(asyncio.run(read(servers, f"{name}.alerts")))
    return {
        "rows": rows,
        "rows_per_user_and_window": per_window,
        "keyed": keyed,
        "raw_rows_per_s": round(raw),
        "rows_per_s": round(rows / seconds),
        "ratio": round(rows / seconds / raw, 3),
        "rows_per_cpu_second": round(rows / cpu),
        "alerts": alerts,
        "changelog_bytes_per_row": round(changelog_bytes / rows, 2),
        "changelog_records": len(written),
    }


async def all_topics(servers: str) -> set[str]:
    """Names of the topics that there are."""
    async with AIOKafkaConsumer(bootstrap_servers=servers) as consumer:
        return set(await consumer.topics())


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def live(servers: str, topic: str, rate: int, seconds: int, users: int, keyed: bool) -> Iterator[None]:
    """Sales as they happen, in slices of 5 ms."""
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 2, "queue.buffering.max.messages": 1_000_000})
    draw, begin, sent = random.Random(2), time.time(), 0
    while sent < rate * seconds:
        due = int((time.time() - begin) * rate)
        for number in range(sent, min(due, rate * seconds)):
            user, value = sale(draw, users, number, int(time.time() * 1000), 0.01)
            producer.produce(topic, value, user if keyed else b"%d" % number)
        sent = max(sent, due)
        producer.poll(0)
        time.sleep(0.005)
        yield
    producer.flush()


def latency(
    kafka: ApacheKafka, folder: str, rate: int, seconds: int, keyed: bool, per_window: int = 5
) -> dict[str, Any]:
    """From watermark to alert at a steady rate."""
    name = f"live-{rate}-{'keyed' if keyed else 'notkeyed'}-{time.time_ns() // 1_000_000}"
    kafka.create_topics({name: PARTITIONS})
    servers = kafka.bootstrap_servers
    job = Path(folder, f"{name}.sql")
    job.write_text(JOB.format(topic=name, format=KEYED if keyed else NOT_KEYED))
    users = rate * WITHIN_MS // 1000 // per_window
    with worker(servers, job, folder, name) as process:
        process.wait_ready()
        pin(process.process.pid, 0)
        time.sleep(1)
        command = [sys.executable, "-m", "benchmarks.end_to_end", "--live", servers, name]
        command += [str(rate), str(seconds), str(users), str(int(keyed))]
        subprocess.run(command, check=True)
        time.sleep(3)
        status = process.get("/api/status") or {}
        lag = sum(part["lag"] or 0 for part in status.get("partitions", []))
        cpu = _cpu_seconds(process.process.pid)
        process.stop()
    delays: list[tuple[float, float]] = []
    held = 0
    consumed: dict[str, int] = {}
    rows_of: dict[str, list[int]] = {}
    for record in asyncio.run(read(servers, name)):
        row = orjson.loads(record.value)
        rows_of.setdefault(row["user_id"], []).append(_millis(row["purchase_time"]))
    for record in sorted(
        asyncio.run(read(servers, f"{name}.alerts")), key=lambda r: orjson.loads(r.value)["event_time"]
    ):
        alert = orjson.loads(record.value)
        user, last = alert["key"]["user_id"], _millis(alert["event_time"])
        first = _millis(alert["rows"][0]["event_time"])
        earlier = [ms for ms in rows_of[user] if max(last - WITHIN_MS, consumed.get(user, 0)) < ms < first]
        consumed[user] = last
        if earlier:
            held += 1  # an earlier start was open: held back until WITHIN has run out for it, by the standard
            continue
        delays.append((last, record.timestamp - last - DELAY_MS))
    delays.sort()
    values = sorted(delay for _, delay in delays)
    third = len(delays) // 3
    return {
        "rows_per_s": rate,
        "seconds": seconds,
        "keyed": keyed,
        "alerts": len(values),
        "held_back_by_an_earlier_start": held,
        "p50_ms": quantile(values, 0.5),
        "p99_ms": quantile(values, 0.99),
        "p50_first_third_ms": quantile(sorted(d for _, d in delays[:third]), 0.5),
        "p50_last_third_ms": quantile(sorted(d for _, d in delays[-third:]), 0.5),
        "lag_at_the_end": lag,
        "cpu_share": round(cpu / seconds, 2),
    }


def _millis(value: str) -> int:
    text_ = value.replace("T", " ").rstrip("Z")
    import calendar

    whole, _, fraction = text_.partition(".")
    return calendar.timegm(time.strptime(whole, "%Y-%m-%d %H:%M:%S")) * 1000 + int(fraction.ljust(3, "0")[:3] or 0)


def quantile(values: list[float], share: float) -> float:
    """The value below which a share of sorted values lies."""
    return round(values[min(len(values) - 1, int(len(values) * share))], 1) if values else float("nan")


def main() -> None:
    """Run it all."""
    if sys.argv[1:2] == ["--reference"]:
        pin(os.getpid(), 0)
        print(asyncio.run(raw_consumer(sys.argv[2], sys.argv[3], int(sys.argv[4]))))
        return
    if sys.argv[1:2] == ["--live"]:
        pin(os.getpid(), 1)
        servers, topic, rate, seconds, users, keyed = sys.argv[2:8]
        for _ in live(servers, topic, int(rate), int(seconds), int(users), keyed == "1"):
            pass
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--only", choices=["throughput", "latency"])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    results: dict[str, Any] = {"throughput": [], "latency": []}
    with tempfile.TemporaryDirectory() as folder, ApacheKafka(partitions=PARTITIONS) as kafka:
        if kafka.pid is not None:
            pin(kafka.pid, 1)
        if options.only != "latency":
            for per_window, keyed in ((5, True), (5, False), (100, True), (100, False)):
                results["throughput"].append(throughput(kafka, folder, options.rows, per_window, keyed))
                print(json.dumps(results["throughput"][-1]), file=sys.stderr)
        if options.only != "throughput":
            for rate, keyed in ((2_000, True), (10_000, True), (2_000, False), (10_000, False)):
                results["latency"].append(latency(kafka, folder, rate, options.seconds, keyed))
                print(json.dumps(results["latency"][-1]), file=sys.stderr)
    document = json.dumps(results, indent=2)
    print(document)
    if options.output:
        options.output.write_text(document + "\n")


if __name__ == "__main__":
    main()
