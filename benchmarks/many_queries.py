"""Ten rules with three different keys over one topic, from topic to alert, against one rule.

    python -m benchmarks.many_queries [--rows 200000] [--output FILE]

A topic of sales is filled whose key is no column, so the rows of every rule go through a repartition topic. A worker on
one core reads it to its end with all ten rules (four by user, three by item, three by shop; patterns and windows), and
with each of them alone. Broker and producer have the other core. The cost of rules is the processor time that their
worker needs beyond that of the same worker over an empty topic. Goal: ten rules cost at most 2.5 times one rule, which
is the mean of the ten.

Prints JSON. It takes some minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Producer

from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.worker import read
from benchmarks.end_to_end import PARTITIONS, _cpu_seconds, pin, text, worker

GOAL = 2.5
TABLE = """
CREATE TABLE sales (
    user_id STRING, item STRING, shop STRING, quantity INT, price DOUBLE, ts TIMESTAMP(3),
    WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH (
    'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = 'localhost:9092',
    'scan.startup.mode' = 'earliest-offset', 'format' = 'json'
);
"""
SPIKE = """SELECT * FROM sales MATCH_RECOGNIZE (PARTITION BY {key} ORDER BY ts
    MEASURES U.quantity AS quantity, AVG(T.quantity) AS average
    AFTER MATCH SKIP PAST LAST ROW PATTERN (T+? U) WITHIN INTERVAL '10' SECOND
    DEFINE U AS U.quantity > AVG(T.quantity) * 3)"""
RISE = """SELECT * FROM sales MATCH_RECOGNIZE (PARTITION BY {key} ORDER BY ts
    MEASURES A.price AS before, C.price AS price
    AFTER MATCH SKIP PAST LAST ROW PATTERN (A B C) WITHIN INTERVAL '10' SECOND
    DEFINE A AS A.quantity > 9, B AS B.quantity > 9, C AS C.quantity > 9)"""
WINDOW = """SELECT {key}, window_start, SUM(quantity) AS total, COUNT(*) AS sales
    FROM TABLE(TUMBLE(TABLE sales, DESCRIPTOR(ts), INTERVAL '{seconds}' SECOND))
    GROUP BY {key}, window_start, window_end HAVING SUM(quantity) > {bound}"""
RULES = {
    "user": [
        SPIKE.format(key="user_id"),
        WINDOW.format(key="user_id", seconds=10, bound=60),
        RISE.format(key="user_id"),
        WINDOW.format(key="user_id", seconds=30, bound=90),
    ],
    "item": [
        SPIKE.format(key="item"),
        WINDOW.format(key="item", seconds=10, bound=400),
        RISE.format(key="item"),
    ],
    "shop": [
        WINDOW.format(key="shop", seconds=5, bound=3_000),
        WINDOW.format(key="shop", seconds=10, bound=6_000),
        RISE.format(key="shop"),
    ],
}


def fill(servers: str, topic: str, rows: int) -> None:
    """Sales of 5,000 users, 500 items and 50 shops, 10,000 a second of event time."""
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 50, "queue.buffering.max.messages": 1_000_000})
    draw, start = random.Random(1), int(time.time() * 1000) - rows // 10
    for number in range(rows):
        quantity = draw.randint(1, 3) * (10 if draw.random() < 0.002 else 1)
        value = {
            "user_id": f"user-{draw.randrange(5_000)}",
            "item": f"item-{draw.randrange(500)}",
            "shop": f"shop-{draw.randrange(50)}",
            "quantity": quantity,
            "price": round(draw.uniform(1, 100), 2),
            "ts": text(start + number // 10),
        }
        producer.produce(topic, orjson.dumps(value), b"%d" % number)
        if number % 10_000 == 0:
            producer.poll(0)
    producer.flush()


def run(kafka: ApacheKafka, folder: str, topic: str, name: str, rules: list[str]) -> dict[str, Any]:
    """A worker with some rules over the whole topic."""
    name = f"{name}-{time.time_ns() // 1_000_000}"
    job = Path(folder, f"{name}.sql")
    job.write_text(TABLE.format(topic=topic) + ";\n".join(rules) + ";\n")
    begin = time.perf_counter()
    with worker(kafka.bootstrap_servers, job, folder, name, **{"worker.bounded": "true"}) as process:
        cpu = 0.0
        while process.process.poll() is None:
            try:
                cpu = _cpu_seconds(process.process.pid) or cpu
            except (FileNotFoundError, IndexError):
                break
            time.sleep(0.01)
        if process.wait():
            raise RuntimeError(process.output)
    alerts = len(asyncio.run(read(kafka.bootstrap_servers, f"{name}.alerts")))
    return {"cpu_s": round(cpu, 2), "seconds": round(time.perf_counter() - begin, 2), "alerts": alerts}


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ApacheKafka(partitions=PARTITIONS) as kafka:
        if kafka.pid is not None:
            pin(kafka.pid, 1)
        topics = f"sales-{time.time_ns()}", f"nothing-{time.time_ns()}"
        kafka.create_topics(dict.fromkeys(topics, PARTITIONS))
        fill(kafka.bootstrap_servers, topics[0], options.rows)
        full, empty = topics
        alone: dict[str, list[float]] = {}
        for key, rules in RULES.items():
            nothing = run(kafka, folder, empty, f"{key}-nothing", rules[:1])["cpu_s"]
            costs = [run(kafka, folder, full, f"{key}-alone", [rule])["cpu_s"] - nothing for rule in rules]
            alone[key] = [round(one, 2) for one in costs]
            print(json.dumps({key: alone[key]}), file=sys.stderr)
        everything = [rule for rules in RULES.values() for rule in rules]
        nothing = run(kafka, folder, empty, "ten-nothing", everything)["cpu_s"]
        together = run(kafka, folder, full, "ten", everything)
    one, ten = statistics.mean(cost for costs in alone.values() for cost in costs), together["cpu_s"] - nothing
    document = {
        "rows": options.rows,
        "one_rule_s": round(one, 2),
        "each_alone_s": alone,
        "ten_rules_s": round(ten, 2),
        "alerts": together["alerts"],
        "ratio": round(ten / one, 2),
        "goal": GOAL,
        "us_per_row_and_rule": round(ten / options.rows / 10 * 1e6, 2),
    }
    print(json.dumps(document, indent=2))
    if options.output:
        options.output.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
