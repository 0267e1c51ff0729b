"""The retail pack on Apache Kafka: four topics, all three rules in one worker, on one core.

    python -m benchmarks.retail [--rows 200000] [--seconds 60] [--rate 5000] [--servers HOST:PORT] [--output FILE]

Throughput: the topics are filled with receipts and what comes with them (shifts, gates, counts), then the receipts are
read by a bare aiokafka consumer that decodes each record with orjson (the reference), and all topics to their ends by
a worker with ``refunds.sql``, ``gates.sql`` and ``shrinkage.sql``: repartition topics, joins, windows and pattern,
alerts, sink, changelogs, RocksDB. By the clock it counts from the first changelog record, written before any row is
read, to the last; per second of processor time without what the same worker takes over empty topics.

Latency at a steady rate: from the moment the watermark of the receipts has passed an alert's event (its time plus the
5 s of the DDL) to the alert's timestamp in the topic, for each rule apart. Those that read a second topic do not wait
for it once it has been read to its end. State: what a compacted changelog would keep in the end, beside the sales, all
of which are open for 24 h.

Worker and reference have one core, broker and generator the other. Prints JSON; ratios are to the reference in the same
run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from anomaly_app.generators.retail import POS, TOPICS, RetailStream
from anomaly_app.generators.stream import Generated
from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.worker import WorkerProcess, read
from benchmarks.end_to_end import PARTITIONS, _cpu_seconds, all_topics, pin, quantile, reference

FILES = ("refunds.sql", "gates.sql", "shrinkage.sql")
RULES = ("refund_without_sale", "refund_burst", "gate_correlation", "shrinkage")
DELAY_MS = 5_000
RATE = 200.0
"""Sales a second of event time where they are read as fast as it goes."""
PRODUCER = {"linger.ms": 20, "queue.buffering.max.messages": 1_000_000, "enable.idempotence": True}
"""In order: what is sent again, as to a topic that has just been made, would come behind what followed, and be late."""


def create(servers: str, topics: dict[str, int]) -> None:
    """Create topics with so many partitions."""
    admin = AdminClient({"bootstrap.servers": servers})
    for made in admin.create_topics([NewTopic(name, count, 1) for name, count in topics.items()]).values():
        made.result()
    while not all(admin.list_topics(name, timeout=30).topics[name].partitions for name in topics):
        time.sleep(0.05)


def jobs_of(package: str, files: tuple[str, ...], topics: tuple[str, ...], prefix: str, folder: Path) -> list[Path]:
    """Copies of packaged job files whose topics have a prefix."""
    made = []
    for file in files:
        text = resources.files("anomaly_app").joinpath(f"jobs/{package}/{file}").read_text("utf-8")
        for topic in topics:
            text = text.replace(f"'topic' = '{topic}'", f"'topic' = '{prefix}.{topic}'")
        made.append(folder / f"{prefix}-{file}")
        made[-1].write_text(text, "utf-8")
    return made


def start(servers: str, jobs: list[Path], folder: Path, prefix: str, **settings: object) -> WorkerProcess:
    """A worker on core 0."""
    given = {
        "kafka.bootstrap_servers": servers,
        "worker.app_id": prefix,
        "worker.data_dir": folder / prefix,
        "alerts.topic": f"{prefix}.alerts",
        **settings,
    }
    process = WorkerProcess(given, *jobs, options=["--log-level", "error"])
    pin(process.process.pid, 0)
    return process


def changelogs(servers: str, prefix: str) -> list[Any]:
    """All records of a worker's changelogs."""
    names = sorted(name for name in asyncio.run(all_topics(servers)) if name.startswith(f"{prefix}-"))
    return [record for name in names if name.endswith("-changelog") for record in asyncio.run(read(servers, name))]


def bounded(servers: str, jobs: list[Path], folder: Path, prefix: str, **settings: object) -> dict[str, float]:
    """Seconds of a worker that reads its topics to their ends: by the clock, and of the processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with start(servers, jobs, folder, prefix, **{"worker.bounded": "true", **settings}) as process:
        if process.wait(1_800):
            raise RuntimeError(process.output)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    stamps = sorted(record.timestamp for record in changelogs(servers, prefix))
    return {
        "seconds": (stamps[-1] - stamps[0]) / 1000,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    }


def until(stream: RetailStream, receipts: int) -> Iterator[Generated]:
    """Records of all topics, to so many receipts."""
    left = receipts
    for record in stream.records():
        left -= record.topic == POS
        yield record
        if not left:
            return


def throughput(servers: str, folder: Path, rows: int) -> dict[str, Any]:
    """Receipts a second of the worker and of the reference."""
    stream = RetailStream(seed=1, start_ms=int((time.time() - rows / RATE - 120) * 1000), rate=RATE)
    took, prefix, others = [], "", 0
    for count in (0, rows):
        prefix = f"retail-{time.time_ns() // 1_000_000}"
        create(servers, {f"{prefix}.{topic}": PARTITIONS for topic in TOPICS} | {f"{prefix}.anomaly-alerts": 1})
        producer = Producer({"bootstrap.servers": servers, **PRODUCER})
        for number, record in enumerate(until(stream, count) if count else ()):
            others += record.topic != POS
            producer.produce(f"{prefix}.{record.topic}", orjson.dumps(record.value), record.key)
            if number % 1_000 == 0:
                producer.poll(0)
        producer.flush()
        jobs = jobs_of("retail", FILES, (*TOPICS, "anomaly-alerts"), prefix, folder)
        took.append(bounded(servers, jobs, folder, prefix))
    raw = statistics.median(reference(servers, f"{prefix}.{POS}", rows) for _ in range(3))
    empty, whole = took
    return {
        "receipts": rows,
        "others": others,
        "raw_rows_per_s": round(raw),
        "rows_per_s": round(rows / whole["seconds"]),
        "ratio": round(rows / whole["seconds"] / raw, 3),
        "rows_per_cpu_second": round(rows / max(0.001, whole["cpu_seconds"] - empty["cpu_seconds"])),
        "alerts": _by_rule(found := _alerts(servers, prefix)),
        "planted": len(stream.incidents),
        "found": len(found),
    }


def _alerts(servers: str, prefix: str) -> list[tuple[str, float]]:
    """Rule of each alert, and milliseconds from its watermark to the topic."""
    found = []
    for record in asyncio.run(read(servers, f"{prefix}.alerts")):
        alert = orjson.loads(record.value)
        payload = alert["payload"]
        rule = next(rule for rule in RULES if payload["message"].startswith(rule))
        event = _millis(payload["alertTime"])
        found.append((rule, record.timestamp - event - DELAY_MS))
    return found


def _by_rule(alerts: list[tuple[str, float]]) -> dict[str, int]:
    return {rule: sum(name == rule for name, _ in alerts) for rule in RULES}


def _millis(text: str) -> int:
    from anomaly_app.conversions import text_to_timestamp

    return text_to_timestamp(text.replace("T", " ").rstrip("Z"), 3)


def live(servers: str, prefix: str, rate: int, seconds: int) -> None:
    """Records as they happen, in slices of 5 ms."""
    producer = Producer({"bootstrap.servers": servers, **PRODUCER, "linger.ms": 2})
    stream = RetailStream(seed=2, start_ms=int(time.time() * 1000) + 200, rate=rate)
    for record in until(stream, rate * seconds):
        while (wait := record.timestamp_ms / 1000 - time.time()) > 0:
            producer.poll(0)
            time.sleep(max(wait, 0.005))
        producer.produce(f"{prefix}.{record.topic}", orjson.dumps(record.value), record.key)
    producer.flush()


def latency(servers: str, folder: Path, rate: int, seconds: int) -> dict[str, Any]:
    """From watermark to alert at a steady rate, lag, and bytes of state."""
    prefix = f"retail-live-{time.time_ns() // 1_000_000}"
    create(servers, {f"{prefix}.{topic}": PARTITIONS for topic in TOPICS} | {f"{prefix}.anomaly-alerts": 1})
    jobs = jobs_of("retail", FILES, (*TOPICS, "anomaly-alerts"), prefix, folder)
    lags: list[int] = []
    with start(servers, jobs, folder, prefix) as process:
        process.wait_ready(120)
        pin(process.process.pid, 0)
        command = [sys.executable, "-m", "benchmarks.retail", "--live", servers, prefix, str(rate), str(seconds)]
        before = _cpu_seconds(process.process.pid)
        with subprocess.Popen(command) as feed:
            while feed.poll() is None:
                time.sleep(1)
                parts = (process.get("/api/status") or {}).get("partitions", [])
                lags.append(sum(part["lag"] or 0 for part in parts))
        cpu = _cpu_seconds(process.process.pid) - before
        if feed.returncode:
            raise RuntimeError("the generator failed")
        time.sleep(DELAY_MS / 1000 + 3)
        if process.process.poll() is not None:
            raise RuntimeError(process.output)
        process.stop()
    third = max(1, len(lags) // 3)
    last = {(record.topic, record.partition, record.key): record for record in changelogs(servers, prefix)}
    sizes: defaultdict[str, int] = defaultdict(int)
    for (topic, _, key), record in last.items():
        if record.value is not None:
            sizes[topic.removeprefix(f"{prefix}-{prefix}-").partition("-")[0]] += len(key or b"") + len(record.value)
    alerts = _alerts(servers, prefix)
    delays = {rule: sorted(delay for name, delay in alerts if name == rule) for rule in RULES}
    sales = sum(
        orjson.loads(record.value)["eventType"] == "SALE" for record in asyncio.run(read(servers, f"{prefix}.{POS}"))
    )
    return {
        "rows_per_s": rate,
        "seconds": seconds,
        "latency": {
            rule: {"alerts": len(found), "p50_ms": quantile(found, 0.5), "p99_ms": quantile(found, 0.99)}
            for rule, found in delays.items()
        },
        "cpu_share": round(cpu / seconds, 2),
        "lag_first_third": round(statistics.mean(lags[:third] or [0])),
        "lag_last_third": round(statistics.mean(lags[-third:] or [0])),
        "state_bytes_per_open_sale": round(sum(sizes.values()) / sales),
        "state_bytes": sizes,
    }


def main() -> None:
    """Run it all."""
    if sys.argv[1:2] == ["--live"]:
        pin(os.getpid(), 1)
        live(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000, help="receipts to read; 0: no throughput")
    parser.add_argument("--seconds", type=int, default=60, help="of the steady rate; 0: no latency")
    parser.add_argument("--rate", type=int, default=5_000, help="sales per second")
    parser.add_argument("--servers", help="a broker that runs already")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    document: dict[str, Any] = {"load": round(os.getloadavg()[0], 1)}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = options.servers
        if servers is None:
            kafka = stack.enter_context(ApacheKafka(partitions=PARTITIONS))
            servers = kafka.bootstrap_servers
            if kafka.pid is not None:
                pin(kafka.pid, 1)
        if options.rows:
            document["throughput"] = throughput(servers, folder, options.rows)
            print(json.dumps(document["throughput"]), file=sys.stderr, flush=True)
        if options.seconds:
            document["latency"] = latency(servers, folder, options.rate, options.seconds)
    document["load_at_the_end"] = round(os.getloadavg()[0], 1)
    written = json.dumps(document, indent=2)
    print(written)
    if options.output:
        options.output.write_text(written + "\n", "utf-8")


if __name__ == "__main__":
    main()
