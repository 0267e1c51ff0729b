"""Tables that change, in workers of their own on the embedded broker: the last record of each key is what is left."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sales_run import until

from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.worker import Sent, WorkerProcess, read, send

UPSERT = "'connector' = 'upsert-kafka', 'key.format' = 'json', 'value.format' = 'json'"
JOB = """
CREATE TABLE stock (id INT, qty INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts, PRIMARY KEY (id) NOT ENFORCED)
WITH ({upsert}, 'topic' = '{name}');
CREATE TABLE events (id INT, qty INT) WITH (
    'connector' = 'kafka', 'topic' = '{name}', 'format' = 'debezium-json', 'scan.startup.mode' = 'earliest-offset'
    {more}
);
CREATE TABLE plain (id INT) WITH (
    'connector' = 'kafka', 'topic' = '{name}', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset' {more}
);
CREATE TABLE latest (id INT, qty INT, PRIMARY KEY (id) NOT ENFORCED) WITH ({upsert}, 'topic' = '{name}.latest');
CREATE TABLE shown (id INT) WITH ('connector' = 'print');
INSERT INTO {insert};
"""


class Run:
    """A job over a topic of its own."""

    def __init__(self, servers: str, folder: Path, insert: str, more: str = "") -> None:
        self.servers, self.name = servers, f"changing-{time.time_ns()}"
        self.job = folder / "job.sql"
        self.job.write_text(JOB.format(name=self.name, insert=insert, upsert=UPSERT, more=more))
        self.settings: dict[str, object] = {
            "kafka.bootstrap_servers": servers,
            "worker.app_id": self.name,
            "worker.data_dir": folder / "state",
            "worker.idle_timeout_s": 1,
            "kafka.session_timeout_s": 6,
            "alerts.topic": f"{self.name}.alerts",
        }

    def start(self, **settings: object) -> WorkerProcess:
        return WorkerProcess({**self.settings, **settings}, self.job)

    def finish(self) -> str:
        with self.start(**{"worker.bounded": "true"}) as worker:
            assert worker.wait() == 0, worker.output
            return worker.output

    def send(self, records: Sequence[Sent]) -> None:
        asyncio.run(send(self.servers, self.name, records))

    def read(self, suffix: str) -> list[Any]:
        return asyncio.run(read(self.servers, f"{self.name}.{suffix}"))

    def left(self) -> dict[int, int]:
        """The last record of each key; all records of a key are in one partition, in order."""
        found: dict[int, int] = {}
        for record in self.read("latest"):
            key = json.loads(record.key)["id"]
            found.pop(key, None)
            if record.value is not None:
                found[key] = json.loads(record.value)["qty"]
        return found


@pytest.fixture(scope="module")
def servers() -> Iterator[str]:
    with EmbeddedBroker() as broker:
        yield broker.bootstrap_servers


def key(id_: int) -> bytes:
    return json.dumps({"id": id_}).encode()


def upserts(count: int, seed: int) -> tuple[list[Sent], dict[int, int]]:
    """Records of an upsert table, and which of its rows are left that a filter lets through."""
    draw, left, sent = random.Random(seed), {}, []  # type: ignore[var-annotated]
    for number in range(count):
        id_, qty = draw.randrange(200), draw.choice([None, *range(1, 10)])
        left.pop(id_, None)
        if qty is not None and qty > 3:
            left[id_] = qty
        at = f"2026-01-01 00:{number // 600 % 60:02}:{number // 10 % 60:02}"
        value = None if qty is None else json.dumps({"id": id_, "qty": qty, "ts": at}).encode()
        sent.append(Sent(key(id_), value, 1_767_225_600_000 + number))
    return sent, left


@pytest.mark.timeout(150)
@pytest.mark.parametrize("broker", ["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def test_kill_9_leaves_an_upsert_table_as_an_undisturbed_run_would(
    request: pytest.FixtureRequest, tmp_path: Path, broker: str
) -> None:
    given = request.getfixturevalue("servers" if broker == "embedded" else "kafka")
    servers = given if isinstance(given, str) else given.bootstrap_servers
    run = Run(servers, tmp_path, "latest SELECT id, qty FROM stock WHERE qty > 3")
    if not isinstance(given, str):
        given.create_topics({run.name: 4})
    records, want = upserts(30_000, seed=3)
    slow = {"worker.batch_rows": 100, "worker.flush_interval_ms": 20}
    run.send(records[:10_000])
    for kill, part in enumerate((records[10_000:20_000], records[20_000:])):
        if kill:
            shutil.rmtree(tmp_path / "state")  # the disk is gone too
        before = len(run.read("latest"))  # before it starts: it may be done by the time that it is asked
        with run.start(**slow) as worker:
            worker.wait_ready()
            until(lambda before=before: len(run.read("latest")) > before, worker, f"a record before kill {kill}")
            worker.kill()
        run.send(part)
    run.finish()
    assert run.left() == want
    written = run.read("latest")
    assert any(record.value is None for record in written) and len(written) < len(records)
    assert run.read("dlq") == run.read("late") == run.read("alerts") == []


@pytest.mark.timeout(150)
def test_kill_9_leaves_groups_that_do_not_fit_into_memory_as_an_undisturbed_run_would(
    servers: str, tmp_path: Path
) -> None:
    run = Run(servers, tmp_path, "latest SELECT id, CAST(COUNT(*) AS INT) FROM plain GROUP BY id")
    draw, want, records = random.Random(7), dict[int, int](), []
    for number in range(60_000):
        id_ = draw.randrange(12_000)
        want[id_] = want.get(id_, 0) + 1
        records.append(Sent(None, b'{"id": %d}' % id_, 1_767_225_600_000 + number))
    slow = {"worker.batch_rows": 200, "worker.flush_interval_ms": 20, "worker.state_mb": 1}
    run.send(records[:20_000])
    for kill, part in enumerate((records[20_000:40_000], records[40_000:])):
        if kill:
            shutil.rmtree(tmp_path / "state")  # the disk is gone too
        before = len(run.read("latest"))  # before it starts: it may be done by the time that it is asked
        with run.start(**slow) as worker:
            worker.wait_ready()
            until(lambda before=before: len(run.read("latest")) > before, worker, f"a group before kill {kill}")
            worker.kill()
        run.send(part)
    run.finish()
    assert run.left() == want
    assert run.read("dlq") == run.read("late") == run.read("alerts") == []


def test_an_upsert_table_is_read_from_its_beginning_though_the_group_was_further(servers: str, tmp_path: Path) -> None:
    run = Run(servers, tmp_path, "latest SELECT id, qty FROM stock WHERE qty > 3")
    records, _ = upserts(500, seed=4)
    run.send(records)
    run.finish()
    # Another plan of the same group, of which there is no state.
    text = (
        run.job.read_text()
        .replace("stock", "goods")
        .replace("id, qty FROM goods WHERE qty > 3", "id, qty + 100 FROM goods")
    )
    run.job.write_text(text)
    run.finish()
    last: dict[int, int] = {}
    for record in records:
        id_ = json.loads(record.key or b"")["id"]
        last.pop(id_, None)
        if record.value is not None:
            last[id_] = json.loads(record.value)["qty"] + 100
    assert {id_: qty for id_, qty in run.left().items() if qty > 100} == last


def test_events_of_a_database(servers: str, tmp_path: Path) -> None:
    run = Run(servers, tmp_path, "latest SELECT id, qty FROM events")
    draw = random.Random(6)
    left: dict[int, int] = {}
    sent = []
    for number in range(3_000):
        id_ = draw.randrange(50)
        before = left.get(id_)
        after = None if before is not None and draw.random() < 0.3 else draw.randrange(1_000)
        op = "d" if after is None else "c" if before is None else "u"
        images = [None if qty is None else {"id": id_, "qty": qty} for qty in (before, after)]
        event = {"before": images[0], "after": images[1], "op": op if number % 7 or op != "c" else "r"}
        sent.append(Sent(key(id_), json.dumps(event).encode()))
        if after is None:
            del left[id_]
            sent.append(Sent(key(id_), None))  # as Debezium follows a deletion
        else:
            left[id_] = after
    sent.append(Sent(key(99), b'{"before": null, "after": {"id": 99}, "op": "u"}'))
    run.send(sent)
    run.finish()
    assert run.left() == left
    (letter,) = run.read("dlq")
    assert b"REPLICA IDENTITY FULL" in dict(letter.headers)["anomaly-error"]


def test_null_values_of_a_table_that_only_grows_are_counted_if_it_says_so(servers: str, tmp_path: Path) -> None:
    run = Run(servers, tmp_path, "shown SELECT id FROM plain", ", 'value.null' = 'skip'")
    run.send([Sent(b"a", b'{"id": 1}', None, 0), Sent(b"a", None, None, 0), Sent(b"b", b'{"id": 2}', None, 0)])
    with run.start() as worker:
        worker.wait_ready()
        until(lambda: "+I[2]" in worker.output, worker, "the rows are printed")
        counters = worker.get("/api/status")
        assert "+I[1]" in worker.output
        assert worker.stop() == 0
    assert run.read("dlq") == []
    assert "tombstones" in json.dumps(counters)


@pytest.mark.parametrize(
    ("more", "ids"),
    [
        ("'scan.bounded.mode' = 'specific-offsets', 'scan.bounded.specific-offsets' = '{ends}'", [0, 1, 2]),
        ("'scan.bounded.mode' = 'latest-offset'", list(range(10))),
    ],
    ids=["offsets", "latest"],
)
def test_a_table_ends_where_it_says(servers: str, tmp_path: Path, more: str, ids: list[int]) -> None:
    _ends(servers, tmp_path, more, ids)


@pytest.mark.kafka
def test_a_table_ends_in_front_of_a_time(kafka: ApacheKafka, tmp_path: Path) -> None:
    more = "'scan.bounded.mode' = 'timestamp', 'scan.bounded.timestamp-millis' = '1004'"
    _ends(kafka.bootstrap_servers, tmp_path, more, [0, 1, 2, 3], kafka)


def _ends(servers: str, tmp_path: Path, more: str, ids: list[int], kafka: ApacheKafka | None = None) -> None:
    ends = ";".join(f"partition:{number},offset:{3 if number == 0 else 0}" for number in range(4))
    run = Run(servers, tmp_path, "shown SELECT id FROM plain", ", " + more.format(ends=ends))
    if kafka is not None:
        kafka.create_topics({run.name: 4})
    run.send([Sent(None, json.dumps({"id": number}).encode(), 1_000 + number, 0) for number in range(10)])
    with run.start() as worker:
        assert worker.wait() == 0, worker.output
        printed = [line for line in worker.output.splitlines() if line.startswith("+I[")]
    assert printed == [f"+I[{id_}]" for id_ in ids]


def test_a_table_begins_at_an_offset(servers: str, tmp_path: Path) -> None:
    more = ", 'scan.startup.specific-offsets' = 'partition:0,offset:7'"
    run = Run(servers, tmp_path, "shown SELECT id FROM plain", more)
    run.job.write_text(run.job.read_text().replace("'earliest-offset'", "'specific-offsets'"))
    run.send([Sent(None, json.dumps({"id": number}).encode(), None, 0) for number in range(10)])
    run.send([Sent(None, b'{"id": 77}', None, 1)])
    printed = [line for line in run.finish().splitlines() if line.startswith("+I[")]
    assert sorted(printed) == ["+I[77]", "+I[7]", "+I[8]", "+I[9]"]


def test_an_end_that_says_nothing_of_a_partition_is_no_end(servers: str, tmp_path: Path) -> None:
    more = ", 'scan.bounded.mode' = 'specific-offsets', 'scan.bounded.specific-offsets' = 'partition:0,offset:3'"
    run = Run(servers, tmp_path, "shown SELECT id FROM plain", more)
    run.send([Sent(None, b'{"id": 1}', None, 0)])
    with run.start() as worker:
        assert worker.wait() == 2
        assert "says nothing of partition" in worker.output
