"""Tables of several topics, in workers of their own on the embedded broker."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sales_run import Broker, until

from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.worker import Sent, WorkerProcess, read, send

START = 1_767_225_600_000
JOB = """
CREATE TABLE readings (device STRING, v INT, topic STRING METADATA, at_ TIMESTAMP(3) METADATA FROM 'timestamp',
    WATERMARK FOR at_ AS at_ - INTERVAL '1' SECOND) WITH (
    'connector' = 'kafka', {topics}, 'format' = 'json', 'scan.startup.mode' = '{startup}');
CREATE TABLE rises (device STRING, a INT, b INT, topic STRING) WITH (
    'connector' = 'kafka', 'topic' = '{name}.rises', 'format' = 'json');
CREATE TABLE large (device STRING, v INT, topic STRING) WITH (
    'connector' = 'kafka', 'topic' = '{name}.large', 'format' = 'json');
INSERT INTO rises SELECT * FROM readings MATCH_RECOGNIZE (
    PARTITION BY device ORDER BY at_ MEASURES A.v AS a, B.v AS b, B.topic AS topic
    AFTER MATCH SKIP TO NEXT ROW PATTERN (A B) DEFINE B AS B.v > A.v);
INSERT INTO large SELECT device, v, topic FROM readings WHERE v > 90;
"""


@pytest.fixture(scope="module", params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    if request.param == "kafka":
        kafka: ApacheKafka = request.getfixturevalue("kafka")
        numbers = {"a": 4, "b": 2, "c": 7}  # the number of partitions may differ
        yield Broker(kafka.bootstrap_servers, {}, lambda topic: kafka.create_topics({topic: numbers[topic[-1]]}))
        return
    with EmbeddedBroker() as embedded:
        yield Broker(embedded.bootstrap_servers, {}, lambda topic: embedded.touch(topic), mock=True)


class Run:
    """A job over topics of its own, whose rows alternate between them."""

    def __init__(self, broker: Broker, folder: Path, topics: str, startup: str = "earliest-offset") -> None:
        self.broker, self.name = broker, f"topics-{time.time_ns()}"
        self.job = folder / "job.sql"
        self.job.write_text(JOB.format(name=self.name, topics=topics.format(name=self.name), startup=startup))
        self.sent: list[tuple[int, str, str, int]] = []
        self.topics: set[str] = set()
        self.settings: dict[str, object] = {
            "kafka.bootstrap_servers": broker.servers,
            "worker.app_id": self.name,
            "worker.data_dir": folder / "state",
            "worker.idle_timeout_s": 1,
            "kafka.session_timeout_s": 6,
            "alerts.topic": f"{self.name}.alerts",
        }

    def start(self, **settings: object) -> WorkerProcess:
        return WorkerProcess({**self.settings, **settings}, self.job)

    def finish(self) -> None:
        with self.start(**{"worker.bounded": "true"}) as worker:
            assert worker.wait() == 0, worker.output

    def send(self, topics: list[str], count: int, first: int) -> None:
        records: dict[str, list[Sent]] = {topic: [] for topic in topics}
        for number in range(first, first + count):
            topic, device, v = topics[number % len(topics)], f"d{number % 7}", number * 37 % 100
            self.sent.append((number, topic, device, v))
            value = json.dumps({"device": device, "v": v}).encode()
            records[topic].append(Sent(str(number).encode(), value, START + number * 10))
        for topic, own in records.items():
            if topic not in self.topics:
                self.topics.add(topic)
                self.broker.create(f"{self.name}.{topic}")
            asyncio.run(send(self.broker.servers, f"{self.name}.{topic}", own))

    def read(self, suffix: str) -> list[dict[str, Any]]:
        records = asyncio.run(read(self.broker.servers, f"{self.name}.{suffix}"))
        return [json.loads(record.value) for record in records]

    def rises(self) -> Counter[tuple[str, int, int, str]]:
        found: Counter[tuple[str, int, int, str]] = Counter()
        last: dict[str, int] = {}
        for _, topic, device, v in sorted(self.sent):
            if v > last.get(device, v):
                found[device, last[device], v, f"{self.name}.{topic}"] += 1
            last[device] = v
        return found

    def check(self) -> None:
        """Every row of both queries, once, and each with the topic that it is from."""
        assert Counter((r["device"], r["a"], r["b"], r["topic"]) for r in self.read("rises")) == self.rises()
        large = Counter((device, v, f"{self.name}.{topic}") for _, topic, device, v in self.sent if v > 90)
        assert Counter((r["device"], r["v"], r["topic"]) for r in self.read("large")) == large
        alerts = self.read("alerts")
        assert len({alert["id"] for alert in alerts}) == len(alerts) == sum(self.rises().values())
        assert {alert["source"]["topic"] for alert in alerts} == {topic for *_, topic in self.rises()}


def test_a_list_of_topics_is_one_table(broker: Broker, tmp_path: Path) -> None:
    run = Run(broker, tmp_path, "'topic' = '{name}.a;{name}.b'")
    run.send(["a", "b"], 3_000, 0)
    asyncio.run(send(broker.servers, f"{run.name}.b", [Sent(b"x", b"no JSON", START)]))
    run.finish()
    run.check()
    dead = asyncio.run(read(broker.servers, f"{run.name}.b.dlq"))
    assert [record.value for record in dead] == [b"no JSON"]
    assert asyncio.run(read(broker.servers, f"{run.name}.a.dlq")) == []


@pytest.mark.timeout(120)
def test_a_new_topic_of_a_pattern_is_read_by_the_worker_that_runs_and_kill_9_loses_nothing(
    broker: Broker, tmp_path: Path
) -> None:
    topics = "'topic-pattern' = '{name}[.]in[.].*', 'scan.topic-partition-discovery.interval' = '2 s'"
    run = Run(broker, tmp_path, topics)
    run.send(["in.a", "in.b"], 2_000, 0)
    with run.start() as worker:
        worker.wait_ready()
        until(lambda: len(run.read("rises")) > 100, worker, "rises")
        run.send(["in.c"], 2_000, 2_000)  # it comes to be with these
        until(lambda: "new topics" in worker.output, worker, "the new topic is found")
        until(lambda: any(r["topic"].endswith("in.c") for r in run.read("large")), worker, "rows of the new topic")
        assert worker.get("/ready")["ok"]
        worker.kill()
    run.send(["in.b", "in.c"], 1_000, 4_000)
    run.finish()
    run.check()


@pytest.mark.kafka
@pytest.mark.timeout(150)
def test_two_workers_of_a_group_take_a_new_topic_together(kafka: ApacheKafka, tmp_path: Path) -> None:
    own = Broker(kafka.bootstrap_servers, {}, lambda topic: kafka.create_topics({topic: 4}))
    topics = "'topic-pattern' = '{name}[.]in[.].*', 'scan.topic-partition-discovery.interval' = '3 s'"
    run = Run(own, tmp_path, topics)
    run.send(["in.a", "in.b"], 1_000, 0)
    with run.start() as first, run.start(**{"worker.data_dir": tmp_path / "other"}) as second:
        for worker in (first, second):
            worker.wait_ready()
        until(lambda: len(run.read("rises")) > 100, first, "rises")
        run.send(["in.c"], 1_000, 1_000)
        for worker in (first, second):
            until(lambda worker=worker: "new topics" in worker.output, worker, "the new topic is found")
        until(lambda: any(r["topic"].endswith("in.c") for r in run.read("large")), first, "rows of the new topic")
        for worker in (first, second):
            worker.wait_ready()
            assert worker.stop() == 0, worker.output
    run.send(["in.a", "in.c"], 1_000, 2_000)
    run.finish()
    run.check()
