"""Workers with lookup joins: thresholds in a file and in a compacted topic that change while rows flow."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from registry_thread import RegistryThread

from anomaly_app.formats.records import RecordEncoder
from anomaly_app.formats.registry import Registry
from anomaly_app.jobs.tables import bind_sink
from anomaly_app.sql import parse_statements
from anomaly_app.sql.statements import CreateTable
from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.worker import Sent, WorkerProcess, read, send

READINGS = """
CREATE TABLE readings (
    sensor STRING, reading DOUBLE, n INT, pt AS PROCTIME(),
    ts TIMESTAMP(3) METADATA FROM 'timestamp', WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'kafka', 'topic' = '{topic}', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
CREATE TABLE alarms (n INT, sensor STRING, reading DOUBLE, most DOUBLE) WITH (
    'connector' = 'kafka', 'topic' = '{topic}-alarms', 'format' = 'json');
"""
JOINED = """
INSERT INTO alarms SELECT r.n, r.sensor, r.reading, t.most
FROM readings AS r JOIN thresholds FOR SYSTEM_TIME AS OF r.pt AS t ON r.sensor = t.sensor
WHERE r.reading > t.most;
"""
FILE = """
CREATE TABLE thresholds (sensor STRING, most DOUBLE) WITH (
    'connector' = 'filesystem', 'path' = '{path}', 'format' = 'csv', 'source.monitor-interval' = '100 ms');
"""

pytestmark = pytest.mark.timeout(180)  # a killed worker is a member of its group for a while


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as embedded:
        yield embedded


def settings(broker: EmbeddedBroker, topic: str, folder: Path) -> dict[str, object]:
    return {
        "kafka.bootstrap_servers": broker.bootstrap_servers, "worker.app_id": topic,
        "worker.data_dir": folder / "state", "alerts.topic": f"{topic}-alerts", "kafka.session_timeout_s": 6,
    }  # fmt: skip


def put(broker: EmbeddedBroker, topic: str, first: int, count: int, reading: float = 5.0) -> None:
    """Readings of two sensors in turn, numbered."""
    begin = 1_767_258_000_000
    records = [
        Sent(None, json.dumps({"sensor": "ab"[n % 2], "reading": reading, "n": n}).encode(), begin + n, n % 4)
        for n in range(first, first + count)
    ]
    asyncio.run(send(broker.bootstrap_servers, topic, records))


def alarms(broker: EmbeddedBroker, topic: str) -> list[dict[str, Any]]:
    return [json.loads(record.value) for record in asyncio.run(read(broker.bootstrap_servers, f"{topic}-alarms"))]


def more_alarms(broker: EmbeddedBroker, topic: str, than: int) -> bool:
    return len(alarms(broker, topic)) > than


def until(done: Callable[[], Any], worker: WorkerProcess, what: str, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline and worker.process.poll() is None, f"no {what}:\n{worker.output}"
        time.sleep(0.05)


def rows(worker: WorkerProcess) -> int:
    return int(worker.get("/api/status")["rows"])


def looked_up(worker: WorkerProcess) -> dict[str, Any]:
    (job,) = worker.get("/api/jobs")["jobs"]
    (table,) = job["lookups"]
    return dict(table)


def replace(path: Path, text: str) -> None:
    """As editors and deployments do it: the file is never half there."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    os.replace(fresh, path)


def test_a_file_that_changes_while_the_job_runs(broker: EmbeddedBroker, tmp_path: Path) -> None:
    topic, path, job = "in-file", tmp_path / "thresholds.csv", tmp_path / "job.sql"
    broker.touch(topic)
    path.write_text("sensor,most\na,3\nb,9\n")
    job.write_text(READINGS.format(topic=topic) + FILE.format(path=path) + JOINED)
    put(broker, topic, 0, 100)
    with WorkerProcess(settings(broker, topic, tmp_path), job) as worker:
        worker.wait_ready()
        until(lambda: rows(worker) == 100, worker, "100 rows")
        assert looked_up(worker) | {"changes": 0} == {
            "table": "thresholds", "source": str(path), "rows": 2, "changes": 0, "rejected": 0, "problem": "",
        }  # fmt: skip
        replace(path, "sensor,most\na,9\nb,4\nc,many\n")
        until(lambda: looked_up(worker)["changes"] == 2, worker, "second version")
        assert looked_up(worker)["rejected"] == 1
        put(broker, topic, 100, 100)
        until(lambda: rows(worker) == 200, worker, "200 rows")
        path.unlink()
        until(lambda: "cannot be read" in looked_up(worker)["problem"], worker, "problem")
        put(broker, topic, 200, 100)  # the rows that it has are kept
        until(lambda: rows(worker) == 300, worker, "300 rows")
        replace(path, "sensor,most\na,9\nb,9\n")
        until(lambda: looked_up(worker)["problem"] == "", worker, "file again")
        put(broker, topic, 300, 100)
        until(lambda: rows(worker) == 400, worker, "400 rows")
        assert worker.get("/api/status")["counters"]["lookup_rows_rejected"] == 1
        assert worker.stop() == 0, worker.output
        assert "Traceback" not in worker.output
    expected = {(n, 3.0) for n in range(0, 100, 2)} | {(n, 4.0) for n in range(101, 300, 2)}
    found = alarms(broker, topic)
    assert {(row["n"], row["most"]) for row in found} == expected
    assert len(found) == len(expected)


def test_after_a_crash_results_that_are_out_stay_as_they_are(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Rows that are taken again meet another version; their results are known by their ids and not written twice."""
    topic, path, job = "crash", tmp_path / "thresholds.csv", tmp_path / "job.sql"
    broker.touch(topic)
    path.write_text("sensor,most\na,3\nb,3\n")
    job.write_text(READINGS.format(topic=topic) + FILE.format(path=path) + JOINED)
    given = settings(broker, topic, tmp_path)
    sent = 0
    for round_ in range(3):
        replace(path, f"sensor,most\na,{round_}\nb,{round_}\n")
        with WorkerProcess(given, job) as worker:
            worker.wait_ready()
            before = len(alarms(broker, topic))  # before they come: they may be there by the time that it is asked
            put(broker, topic, sent, 2_000)
            sent += 2_000
            until(partial(more_alarms, broker, topic, before), worker, "alarms")
            worker.kill()
    replace(path, "sensor,most\na,4\nb,4\n")
    with WorkerProcess(given, job, options=["--bounded"]) as worker:
        assert worker.wait() == 0, worker.output
        assert "Traceback" not in worker.output
    found = alarms(broker, topic)
    assert sorted(row["n"] for row in found) == list(range(sent))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "cannot be read: No such file or directory"),
        ("sensor,mots\na,3\n", "its first line has no column 'most'; it has sensor, mots"),
        ("sensor,most\na,x\n", "no row can be read; the first: line 2: column most: 'x' (str) is not a DOUBLE"),
    ],
)
def test_a_file_that_cannot_be_read_ends_the_start(
    broker: EmbeddedBroker, tmp_path: Path, text: str | None, problem: str
) -> None:
    path, job = tmp_path / "thresholds.csv", tmp_path / "job.sql"
    broker.touch("bad-file")
    if text is not None:
        path.write_text(text)
    job.write_text(READINGS.format(topic="bad-file") + FILE.format(path=path) + JOINED)
    with WorkerProcess(settings(broker, "bad-file", tmp_path), job) as worker:
        assert worker.wait() == 2
        assert f"table thresholds: {path}" in worker.output
        assert problem in worker.output
        assert "'path' = " in worker.output and "^^^" in worker.output


def test_a_table_with_too_many_rows_ends_the_start(broker: EmbeddedBroker, tmp_path: Path) -> None:
    path, job = tmp_path / "thresholds.csv", tmp_path / "job.sql"
    broker.touch("large-file")
    path.write_text("sensor,most\na,3\nb,4\nc,5\n")
    job.write_text(READINGS.format(topic="large-file") + FILE.format(path=path) + JOINED)
    with WorkerProcess({**settings(broker, "large-file", tmp_path), "limits.lookup_rows": 2}, job) as worker:
        assert worker.wait() == 2
        assert "table thresholds has 3 rows: limits.lookup_rows allows 2 for a lookup" in worker.output


TOPIC = """
CREATE TABLE thresholds (sensor STRING, most DOUBLE, PRIMARY KEY (sensor) NOT ENFORCED) WITH (
    'connector' = 'upsert-kafka', 'topic' = '{topic}-thresholds', 'key.format' = 'json', 'value.format' = 'json');
"""


def set_thresholds(broker: EmbeddedBroker, topic: str, **most: float | None) -> None:
    """Of each sensor; None deletes it."""
    records = [
        Sent(
            json.dumps({"sensor": sensor}).encode(),
            None if value is None else json.dumps({"sensor": sensor, "most": value}).encode(),
        )
        for sensor, value in most.items()
    ]
    asyncio.run(send(broker.bootstrap_servers, f"{topic}-thresholds", records))


def test_a_compacted_topic_that_changes_while_the_job_runs_and_between_two_runs(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    topic, job = "in-topic", tmp_path / "job.sql"
    broker.touch(topic, f"{topic}-thresholds")
    job.write_text(READINGS.format(topic=topic) + TOPIC.format(topic=topic) + JOINED)
    set_thresholds(broker, topic, a=1.0, c=1.0)
    set_thresholds(broker, topic, a=3.0, b=9.0, c=None)
    put(broker, topic, 0, 100)
    given = settings(broker, topic, tmp_path)
    with WorkerProcess(given, job) as worker:
        worker.wait_ready()
        until(lambda: rows(worker) == 100, worker, "100 rows")
        assert looked_up(worker) | {"changes": 0} == {
            "table": "thresholds", "source": f"topic {topic}-thresholds", "rows": 2, "changes": 0, "rejected": 0,
            "problem": "",
        }  # fmt: skip
        before = looked_up(worker)["changes"]
        set_thresholds(broker, topic, a=None, b=4.0)
        until(lambda: looked_up(worker)["changes"] == before + 2, worker, "changes")
        put(broker, topic, 100, 100)
        until(lambda: rows(worker) == 200, worker, "200 rows")
        asyncio.run(send(broker.bootstrap_servers, f"{topic}-thresholds", [Sent(b"no JSON", b"{}")]))
        until(lambda: looked_up(worker)["rejected"] == 1, worker, "a bad record")
        worker.kill()
    set_thresholds(broker, topic, a=2.0)  # while nobody is there
    put(broker, topic, 200, 100)
    with WorkerProcess(given, job, options=["--bounded"]) as worker:
        assert worker.wait() == 0, worker.output
        assert "Traceback" not in worker.output
    found = alarms(broker, topic)
    expected = {(n, 3.0) for n in range(0, 100, 2)} | {(n, 4.0) for n in range(101, 300, 2)}
    expected |= {(n, 2.0) for n in range(200, 300, 2)}
    # Rows between the last checkpoint and the crash are looked up again, in the table of then.
    again = {(n, 2.0) for n in range(0, 200, 2)}
    assert expected <= {(row["n"], row["most"]) for row in found} <= expected | again
    assert len({row["n"] for row in found}) == len(found)


def test_a_topic_with_more_rows_than_allowed(broker: EmbeddedBroker, tmp_path: Path) -> None:
    topic, job = "large-topic", tmp_path / "job.sql"
    broker.touch(topic, f"{topic}-thresholds")
    job.write_text(READINGS.format(topic=topic) + TOPIC.format(topic=topic) + JOINED)
    set_thresholds(broker, topic, a=3.0, b=3.0)
    put(broker, topic, 0, 10)
    given = {**settings(broker, topic, tmp_path), "limits.lookup_rows": 2}
    with WorkerProcess(given, job) as worker:
        worker.wait_ready()
        set_thresholds(broker, topic, c=1.0, a=4.0)
        until(lambda: "limits.lookup_rows" in looked_up(worker)["problem"], worker, "problem")
        assert worker.get("/api/status")["counters"]["lookup_rows_over_limit"] == 1
        assert looked_up(worker)["rows"] == 2
        assert worker.stop() == 0
    with WorkerProcess(given, job) as worker:
        assert worker.wait() == 2
        assert "table thresholds has more than 2 rows, which is what limits.lookup_rows allows" in worker.output


def test_a_topic_that_is_not_there_ends_the_start(broker: EmbeddedBroker, tmp_path: Path) -> None:
    job = tmp_path / "job.sql"
    broker.touch("no-topic")
    text = READINGS.format(topic="no-topic") + TOPIC.format(topic="no-topic") + JOINED
    job.write_text(text.replace("no-topic-thresholds", "no topic"))
    with WorkerProcess(settings(broker, "no-topic", tmp_path), job) as worker:
        assert worker.wait() == 2
        assert "'no topic' is not a topic name" in worker.output


def test_a_live_query_of_the_shell(broker: EmbeddedBroker, tmp_path: Path) -> None:
    topic, path = "in-shell", tmp_path / "thresholds.csv"
    broker.touch(topic, f"{topic}-thresholds")
    path.write_text("a,3\nb,9\n")
    set_thresholds(broker, topic, a=9.0, b=4.0)
    put(broker, topic, 0, 10)
    tables = "SET 'execution.runtime-mode' = 'batch';" + READINGS.format(topic=topic) + FILE.format(path=path)
    tables += TOPIC.format(topic=topic).replace("TABLE thresholds", "TABLE others")
    join = "SELECT r.n, t.most FROM readings AS r JOIN {} FOR SYSTEM_TIME AS OF r.pt AS t ON r.sensor = t.sensor"
    where = "WHERE r.reading > t.most"
    queries = f"{join.format('thresholds')} {where}; {join.format('others')} {where}"
    command = [sys.executable, "-m", "anomaly_app.cli", "sql", "--json", "--broker", broker.bootstrap_servers]
    environ = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    done = subprocess.run([*command, "-e", tables, "-e", queries], capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line)["row"] for line in done.stdout.splitlines()]
    assert sorted((row["n"], row["most"]) for row in rows) == [(n, (3.0, 4.0)[n % 2]) for n in range(10)]


def test_a_compacted_topic_in_avro(broker: EmbeddedBroker, tmp_path: Path) -> None:
    topic, job = "in-avro", tmp_path / "job.sql"
    broker.touch(topic, f"{topic}-thresholds")
    table = TOPIC.format(topic=topic).replace("'json'", "'avro-confluent'")
    job.write_text(READINGS.format(topic=topic) + table + JOINED)
    (create,) = parse_statements(table)
    assert isinstance(create, CreateTable)
    sink = bind_sink(create, table, [])

    async def set_them(url: str) -> None:
        registry = Registry(url)
        encoder = RecordEncoder(sink, registry)
        await encoder.prepare()
        records = [Sent(*encoder.encode(row)) for row in (("a", 9.0), ("b", 4.0), ("a", 3.0))]
        records.append(Sent(encoder.encode(("b", 4.0))[0], None))
        await send(broker.bootstrap_servers, sink.topic, records)
        await registry.close()

    with RegistryThread() as registry:
        asyncio.run(set_them(registry.url))
        put(broker, topic, 0, 100)
        given = {**settings(broker, topic, tmp_path), "registry.url": registry.url}
        with WorkerProcess(given, job, options=["--bounded"]) as worker:
            assert worker.wait() == 0, worker.output
    assert sorted((row["n"], row["most"]) for row in alarms(broker, topic)) == [(n, 3.0) for n in range(0, 100, 2)]
