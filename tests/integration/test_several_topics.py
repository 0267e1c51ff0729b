"""A job whose queries read several topics: one fragment, durable, the rows of query()."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sales_run import Broker, iso, until

from anomaly_app import Rows, query
from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.worker import Sent, WorkerProcess, read, send

COLUMNS = [("id", "INT"), ("user_id", "STRING"), ("quantity", "INT"), ("ts", "TIMESTAMP(3)")]
RETURNED = [("id", "INT"), ("customer", "STRING"), ("quantity", "BIGINT"), ("ts", "TIMESTAMP(3)")]
PARTITIONS = {"sales": 2, "returns": 3}
JOB = """
CREATE TABLE sales (id INT, user_id STRING, quantity INT, ts TIMESTAMP(3),
    WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH (
    'connector' = 'kafka', 'topic' = '{run}.sales', 'properties.bootstrap.servers' = 'elsewhere:9092',
    'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE `returns` (id INT, customer STRING, quantity BIGINT, ts TIMESTAMP(3),
    WATERMARK FOR ts AS ts - INTERVAL '2' SECOND) WITH (
    'connector' = 'kafka', 'topic' = '{run}.returns', 'properties.bootstrap.servers' = 'elsewhere:9092',
    'scan.startup.mode' = 'earliest-offset', 'format' = 'json');
CREATE TABLE rates (user_id STRING, sold BIGINT, returned BIGINT) WITH (
    'connector' = 'kafka', 'topic' = '{run}.rates', 'properties.bootstrap.servers' = 'elsewhere:9092',
    'format' = 'json');
CREATE TABLE totals (n BIGINT, users BIGINT) WITH (
    'connector' = 'kafka', 'topic' = '{run}.totals', 'properties.bootstrap.servers' = 'elsewhere:9092',
    'format' = 'json');
{matched};
INSERT INTO rates {joined};
INSERT INTO totals {counted};
"""
MATCHED = """SELECT * FROM (SELECT id, user_id, quantity, ts FROM sales UNION ALL
        SELECT id, customer, quantity, ts FROM `returns`) MATCH_RECOGNIZE (
    PARTITION BY user_id ORDER BY ts MEASURES U.id AS id, COUNT(T.id) AS before ONE ROW PER MATCH
    AFTER MATCH SKIP PAST LAST ROW PATTERN (T+? U) WITHIN INTERVAL '10' SECOND
    DEFINE U AS U.quantity > AVG(T.quantity) * 3)"""
COUNTS = """(SELECT {key}, window_start, window_end, SUM(quantity) AS n FROM TABLE(
    TUMBLE(TABLE {table}, DESCRIPTOR(ts), INTERVAL '5' SECOND)) GROUP BY {key}, window_start, window_end)"""
JOINED = f"""SELECT a.user_id, a.n AS sold, b.n AS returned FROM {COUNTS.format(key="user_id", table="sales")} a
    LEFT JOIN {COUNTS.format(key="customer", table="`returns`")} b
    ON a.user_id = b.customer AND a.window_start = b.window_start AND a.window_end = b.window_end"""

COUNTED = """SELECT n, COUNT(*) AS users FROM TABLE(TUMBLE((
        SELECT a.user_id, a.ts, b.quantity AS n FROM sales a JOIN `returns` b
        ON a.user_id = b.customer AND b.ts BETWEEN a.ts - INTERVAL '1' SECOND AND a.ts + INTERVAL '1' SECOND),
    DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY n, window_start, window_end"""
"""Joined by user, then counted by quantity: rows go from one fragment to another."""

EventRow = tuple[str, int, str, int, int]
"""Table, id, user, quantity, time in ms."""


def event_rows(count: int, seed: int) -> list[EventRow]:
    """Sales and returns 10 ms apart, somewhat shuffled."""
    draw = random.Random(seed)
    rows = [
        (
            "sales" if draw.random() < 0.7 else "returns",
            n,
            f"user-{draw.randrange(60)}",
            draw.randint(1, 3) * (10 if draw.random() < 0.02 else 1),
            1_760_000_000_000 + n * 10,
        )
        for n in range(count)
    ]
    for first in range(0, count, 20):
        part = rows[first : first + 20]
        draw.shuffle(part)
        rows[first : first + 20] = part
    return rows


class Run:
    """The job over topics of its own."""

    def __init__(self, broker: Broker, folder: Path, name: str) -> None:
        self.broker, self.name = broker, f"{name}-{time.time_ns()}"
        self.job = folder / f"{name}.sql"
        self.job.write_text(JOB.format(run=self.name, matched=MATCHED, joined=JOINED, counted=COUNTED))
        for table in PARTITIONS:
            broker.create(f"{self.name}.{table}")
        self.settings: dict[str, object] = {
            "kafka.bootstrap_servers": broker.servers,
            "worker.app_id": self.name,
            "worker.data_dir": folder / "state",
            "worker.idle_timeout_s": 0,  # what comes while nobody reads would be late
            "worker.repartition_partitions": 4,
            "kafka.session_timeout_s": 6,
            "alerts.topic": f"{self.name}.alerts",
            **broker.settings,
        }

    def send(self, rows: list[EventRow]) -> None:
        for table in PARTITIONS:
            sent = []
            for own, number, user, quantity, ms in rows:
                if own == table:
                    who = "user_id" if table == "sales" else "customer"
                    value: dict[str, Any] = {"id": number, who: user, "quantity": quantity, "ts": iso(ms)}
                    sent.append(Sent(str(number).encode(), json.dumps(value).encode(), ms))
            asyncio.run(send(self.broker.servers, f"{self.name}.{table}", sent))

    def start(self, **settings: object) -> WorkerProcess:
        return WorkerProcess({**self.settings, **settings}, self.job)

    def finish(self) -> None:
        with self.start(**{"worker.bounded": "true"}) as worker:
            assert worker.wait() == 0, worker.output

    def read(self, suffix: str) -> list[Any]:
        return [
            json.loads(record.value)
            for record in asyncio.run(read(self.broker.servers, f"{self.name}.{suffix}"))
            if record.value is not None
        ]

    def check(self, rows: list[EventRow]) -> None:
        """The rows of query(), each once."""
        alerts, rates = self.read("alerts"), self.read("rates")
        assert [self.read(f"{table}.{what}") for table in PARTITIONS for what in ("late", "dlq")] == [[]] * 4
        own = {table: [(*row[1:4], iso(row[4])) for row in rows if row[0] == table] for table in PARTITIONS}
        tables = {
            "sales": Rows(COLUMNS, own["sales"], rowtime="ts", watermark_delay_ms=1_000),
            "returns": Rows(RETURNED, own["returns"], rowtime="ts", watermark_delay_ms=2_000),
        }
        matched, joined = query(MATCHED, tables).rows, query(JOINED, tables).rows
        assert len(matched) > 50 and len(joined) > 50
        assert Counter(tuple(alert["payload"].values()) for alert in alerts) == Counter(matched)
        assert len({alert["id"] for alert in alerts}) == len(alerts)
        assert Counter(tuple(row.values()) for row in rates) == Counter(joined)
        totals, counted = self.read("totals"), query(COUNTED, tables).rows
        assert len(counted) > 20
        assert Counter(tuple(row.values()) for row in totals) == Counter(counted)
        sources = {alert["source"]["topic"].rpartition(".")[2] for alert in alerts}
        assert sources == set(PARTITIONS)
        of = {row[1]: row[0] for row in rows}
        for alert in alerts:
            assert alert["source"]["topic"].endswith(of[alert["payload"]["id"]])
            assert alert["rows"][-1]["topic"] == alert["source"]["topic"]


@pytest.fixture(scope="module", params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    if request.param == "kafka":
        node: ApacheKafka = request.getfixturevalue("kafka")
        yield kafka_broker(node)
        return
    with EmbeddedBroker() as embedded:
        yield Broker(embedded.bootstrap_servers, {}, lambda topic: embedded.touch(topic), mock=True)


def kafka_broker(node: ApacheKafka) -> Broker:
    return Broker(
        node.bootstrap_servers, {}, lambda topic: node.create_topics({topic: PARTITIONS[topic.rpartition(".")[2]]})
    )


@pytest.mark.timeout(90)
def test_a_bounded_run_gives_the_rows_of_the_query(broker: Broker, tmp_path: Path) -> None:
    run, rows = Run(broker, tmp_path, "joint"), event_rows(6_000, seed=1)
    run.send(rows)
    run.finish()
    run.check(rows)


@pytest.mark.kafka
@pytest.mark.timeout(240)
def test_two_workers_kill_9_and_restart_give_each_row_once(kafka: ApacheKafka, tmp_path: Path) -> None:
    run, rows = Run(kafka_broker(kafka), tmp_path, "killed"), event_rows(18_000, seed=3)
    slow = {"worker.batch_rows": 200, "worker.flush_interval_ms": 20}
    for round_ in range(3):
        part = rows[round_ * 6_000 : (round_ + 1) * 6_000]
        folders = [tmp_path / "one", tmp_path / "two"]
        if round_ == 2:
            shutil.rmtree(folders[0])  # the disk is gone too: the changelog has it all
        with (
            run.start(**slow, **{"worker.data_dir": folders[0]}) as one,
            run.start(**slow, **{"worker.data_dir": folders[1]}) as two,
        ):
            for worker in (one, two):
                worker.wait_ready()
            before = len(run.read("alerts")) + len(run.read("rates")) if round_ else 0
            run.send(part)
            until(lambda: len(run.read("alerts")) + len(run.read("rates")) > before, one, "rows come")  # noqa: B023 (called at once)
            one.kill()
            two.kill()
    run.finish()
    run.check(rows)


@pytest.mark.timeout(90)
def test_the_status_says_which_table_holds_time_back(broker: Broker, tmp_path: Path) -> None:
    run, rows = Run(broker, tmp_path, "behind"), event_rows(3_000, seed=4)
    run.send([row for row in rows if row[0] == "sales" or row[1] < 1_000])
    with run.start() as worker:
        worker.wait_ready()

        def tables() -> list[dict[str, Any]]:
            status = worker.get("/api/status")
            return [one for part in status["partitions"] for one in part.get("inputs", []) if one["watermark_ms"]]

        def waits() -> bool:
            found = tables()
            return len(found) > 8 and all(one["holds"] is (one["table"] == "returns") for one in found)

        until(waits, worker, "returns hold time back")
        topics = {part["topic"] for part in worker.get("/api/status")["partitions"]}
        assert {f"{run.name}.sales", f"{run.name}.returns"} < topics
        assert worker.stop() == 0, worker.output
