"""Interval and temporal joins of a job over topics of unequal numbers of partitions, on Apache Kafka, with kill -9."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sales_run import iso, until

from anomaly_app import Rows, query
from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.worker import Sent, WorkerProcess, read, send

pytestmark = pytest.mark.kafka

PARTITIONS = {"orders": 2, "payments": 3, "rates": 3}
DELAYS_MS = {"orders": 1_000, "payments": 2_000, "rates": 1_000}
COLUMNS = {
    "orders": [("id", "INT"), ("currency", "STRING"), ("price", "INT"), ("ts", "TIMESTAMP(3)")],
    "payments": [("order_id", "INT"), ("amount", "INT"), ("ts", "TIMESTAMP(3)")],
    "rates": [("currency", "STRING"), ("rate", "INT"), ("ts", "TIMESTAMP(3)")],
}
KAFKA = "'properties.bootstrap.servers' = 'elsewhere:9092'"
JSON = f"WITH ('connector' = 'kafka', 'topic' = '{{run}}.{{name}}', {KAFKA}, 'format' = 'json'"
FROM_THE_FIRST = ", 'scan.startup.mode' = 'earliest-offset')"
UPSERT = (
    f"WITH ('connector' = 'upsert-kafka', 'topic' = '{{run}}.rates', {KAFKA}, "
    "'key.format' = 'json', 'value.format' = 'json')"
)
PAID = """SELECT o.id, o.currency, p.amount FROM orders o LEFT JOIN payments p
    ON o.id = p.order_id AND p.ts BETWEEN o.ts AND o.ts + INTERVAL '3' SECOND"""
CONVERTED = """SELECT o.id, o.price * r.rate AS total, r.rate FROM orders o
    LEFT JOIN rates FOR SYSTEM_TIME AS OF o.ts AS r ON o.currency = r.currency"""

Event = tuple[str, tuple[Any, ...], int]
"""Table, values but for the time, and time in ms."""


def declared(table: str) -> str:
    """Columns, key and watermark of a table."""
    columns = ", ".join(f"{name} {type_}" for name, type_ in COLUMNS[table])
    key = ", PRIMARY KEY (currency) NOT ENFORCED" if table == "rates" else ""
    return (
        f"CREATE TABLE {table} ({columns}, WATERMARK FOR ts AS ts - INTERVAL '{DELAYS_MS[table] // 1000}' SECOND{key})"
    )


def job(run: str) -> str:
    """The job over the topics of a run."""
    tables = [
        f"{declared(table)} {UPSERT if table == 'rates' else JSON + FROM_THE_FIRST}".format(run=run, name=table)
        for table in PARTITIONS
    ]
    sinks = {
        "paid": ("id INT, currency STRING, amount INT", PAID),
        "converted": ("id INT, total INT, rate INT", CONVERTED),
    }
    for name, (columns, sql) in sinks.items():
        tables += [f"CREATE TABLE {name} ({columns}) {JSON})".format(run=run, name=name), f"INSERT INTO {name} {sql}"]
    return ";\n".join(tables) + ";\n"


def events(count: int) -> list[Event]:
    """Orders, payments of most of them and rates, 10 ms apart and somewhat shuffled; no two rates have one time."""
    draw, found = random.Random(7), list[Event]()
    for n in range(count):
        ms = 1_760_000_000_000 + n * 10
        currency = f"c{draw.randrange(30)}"
        if n % 5 == 0:
            found.append(("rates", (currency, draw.randint(1, 99)), ms))
        else:
            found.append(("orders", (n, currency, draw.randint(1, 50)), ms))
            if draw.random() < 0.8:
                found.append(("payments", (n, draw.randint(1, 50)), ms + draw.randrange(4_000)))
    found.sort(key=lambda event: event[2] + draw.randrange(300))
    return found


def expected(rows: list[Event], sql: str) -> Counter[tuple[Any, ...]]:
    """The rows of query()."""
    tables = {
        table: Rows(
            rows=[(*values, iso(ms)) for name, values, ms in rows if name == table],
            changelog="upsert" if table == "rates" else "",
        )
        for table in PARTITIONS
        if f"{table} " in sql
    }
    return Counter(query(";\n".join([*map(declared, tables), sql]), tables).rows)


class Run:
    """The job over topics of its own."""

    def __init__(self, kafka: ApacheKafka, folder: Path) -> None:
        self.servers, self.name = kafka.bootstrap_servers, f"joins-{time.time_ns()}"
        self.job = folder / "joins.sql"
        self.job.write_text(job(self.name))
        kafka.create_topics({f"{self.name}.{table}": number for table, number in PARTITIONS.items()})

    def start(self, folder: Path, **settings: object) -> WorkerProcess:
        own = {
            "kafka.bootstrap_servers": self.servers,
            "worker.app_id": self.name,
            "worker.data_dir": folder,
            "worker.idle_timeout_s": 0,  # what comes while nobody reads would be late
            "worker.repartition_partitions": 4,
            "kafka.session_timeout_s": 6,
            "alerts.topic": f"{self.name}.alerts",
        }
        return WorkerProcess({**own, **settings}, self.job)

    def send(self, rows: list[Event]) -> None:
        for table in PARTITIONS:
            names = [name for name, _ in COLUMNS[table]]
            sent = []
            for own, values, ms in rows:
                if own == table:
                    value = dict(zip(names, (*values, iso(ms)), strict=True))
                    key = json.dumps({"currency": values[0]}) if table == "rates" else str(values[0])
                    sent.append(Sent(key.encode(), json.dumps(value).encode(), ms))
            asyncio.run(send(self.servers, f"{self.name}.{table}", sent))

    def rows(self, sink: str) -> list[tuple[Any, ...]]:
        records = asyncio.run(read(self.servers, f"{self.name}.{sink}"))
        return [tuple(json.loads(record.value).values()) for record in records]


@pytest.mark.timeout(240)
def test_joins_of_two_kinds_give_each_row_once(kafka: ApacheKafka, tmp_path: Path) -> None:
    run, rows = Run(kafka, tmp_path), events(9_000)
    slow = {"worker.batch_rows": 200, "worker.flush_interval_ms": 20}
    folders = [tmp_path / "one", tmp_path / "two"]
    for round_ in range(3):
        if round_ == 2:
            shutil.rmtree(folders[0])  # the disk is gone too: the changelog has it all
        with run.start(folders[0], **slow) as one, run.start(folders[1], **slow) as two:
            for worker in (one, two):
                worker.wait_ready()
            before = [len(run.rows(sink)) if round_ else 0 for sink in ("paid", "converted")]
            part = len(rows) // 3
            run.send(rows[round_ * part : (round_ + 1) * part if round_ < 2 else len(rows)])
            until(lambda: len(run.rows("paid")) > before[0] and len(run.rows("converted")) > before[1], one, "rows")  # noqa: B023 (called at once)
            one.kill()
            two.kill()
    with run.start(folders[0], **{"worker.bounded": "true"}) as worker:
        assert worker.wait() == 0, worker.output
    for sink, sql in (("paid", PAID), ("converted", CONVERTED)):
        wanted = expected(rows, sql)
        assert len(wanted) > 5_000
        assert Counter(run.rows(sink)) == wanted
