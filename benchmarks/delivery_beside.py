"""Detection's throughput with and without delivery beside it, whose receivers are dead.

    python -m benchmarks.delivery_beside [--rows 200000] [--times 3] [--nice 19]

On Apache Kafka: a topic of sales is read by a worker with the sales rule on core 0; broker and delivery have core 1,
where the broker comes first (nice 19, or what ``--nice`` says): what is asked is whether dead receivers hold up
detection, not what a core is worth. Delivery has four receivers, of which three are dead: one hangs, one refuses
connections, one is another cluster that is away. Rows a second of the worker's clock and of its CPU, the best of the
runs, which take turns: on a machine with other work the best is the least disturbed.

Prints JSON; ``ratio`` is with delivery to without.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.receivers import HANG, FailingReceiver, in_thread
from anomaly_app.testing.worker import WorkerProcess
from benchmarks.end_to_end import JOB, KEYED, PARTITIONS, _cpu_seconds, fill, pin, worker

SETTINGS = """
[kafka]
bootstrap_servers = "{servers}"
[alerts]
topic = "{name}.alerts"
[delivery]
name = "{name}-delivery"
startup = "earliest"
[delivery.route]
receiver = "good"
group_by = ["user_id"]
group_wait = "100ms"
[[delivery.route.routes]]
receiver = "hangs"
matchers = ["job=~.+"]
continue = true
[[delivery.route.routes]]
receiver = "refuses"
matchers = ["job=~.+"]
continue = true
[[delivery.route.routes]]
receiver = "away"
matchers = ["job=~.+"]
continue = true
[[delivery.route.routes]]
receiver = "good"
[[delivery.receivers]]
name = "good"
[[delivery.receivers.webhook]]
url = "{url}/good"
[[delivery.receivers]]
name = "hangs"
[[delivery.receivers.webhook]]
url = "{url}/hangs"
[[delivery.receivers]]
name = "refuses"
[[delivery.receivers.influxdb]]
url = "http://127.0.0.1:1"
[[delivery.receivers]]
name = "away"
[[delivery.receivers.kafka]]
topic = "centre"
bootstrap_servers = "127.0.0.1:1"
"""


def measure(kafka: ApacheKafka, folder: str, url: str, rows: int, nice: int | None) -> dict[str, float]:
    """One topic read by a worker."""
    name = f"beside-{time.time_ns() // 1_000_000}"
    kafka.create_topics({name: PARTITIONS, f"{name}.alerts": PARTITIONS})
    fill(kafka.bootstrap_servers, name, rows, 20_000, True)
    job = Path(folder, f"{name}.sql")
    job.write_text(JOB.format(topic=name, format=KEYED))
    delivery = None
    if nice is not None:
        config = Path(folder, f"{name}.toml")
        config.write_text(SETTINGS.format(servers=kafka.bootstrap_servers, name=name, url=url))
        delivery = WorkerProcess({}, options=["--config", str(config)], command="deliver", port="delivery.port")
        delivery.wait_ready()
        pin(delivery.process.pid, 1)
        os.setpriority(os.PRIO_PROCESS, delivery.process.pid, nice)
    begin, seconds = 0.0, 0.0
    with worker(kafka.bootstrap_servers, job, folder, name) as process:
        while not seconds:
            time.sleep(0.05)
            parts = (process.get("/api/status") or {}).get("partitions", [])
            done = sum(part["rows"] for part in parts)
            if process.process.poll() is not None:
                raise RuntimeError(process.output)
            if done and not begin:
                pin(process.process.pid, 0)
                begin, first, cpu = time.perf_counter(), done, _cpu_seconds(process.process.pid)
            if done >= rows:
                seconds, cpu = time.perf_counter() - begin, _cpu_seconds(process.process.pid) - cpu
        process.stop()
    result: dict[str, float] = {"rows_per_s": (rows - first) / seconds, "rows_per_cpu_second": (rows - first) / cpu}
    if delivery is not None:
        fates = delivery.get("/api/status")["fates"]
        result["alerts_taken"] = sum(fates.values())
        delivery.stop()
        delivery.close()
    return result


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--nice", type=int, default=19, help="of the delivery; 0 for equal priority")
    options = parser.parse_args()
    found: dict[bool, list[dict[str, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, ApacheKafka(partitions=PARTITIONS) as kafka:
        if kafka.pid is not None:
            pin(kafka.pid, 1)
        pin(os.getpid(), 1)
        with in_thread(FailingReceiver()) as receiver:
            receiver["/hangs"].always = HANG
            for _ in range(options.times):
                for with_delivery in (False, True):
                    nice = options.nice if with_delivery else None
                    found[with_delivery].append(measure(kafka, folder, receiver.url, options.rows, nice))
                    print(json.dumps(found[with_delivery][-1]), file=sys.stderr)
    document: dict[str, Any] = {"rows": options.rows, "times": options.times}
    for key in ("rows_per_s", "rows_per_cpu_second"):
        without, beside = (max(one[key] for one in found[which]) for which in (False, True))
        document[key] = {"without": round(without), "with": round(beside), "ratio": round(beside / without, 3)}
    document["alerts_taken"] = min(one["alerts_taken"] for one in found[True])
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
