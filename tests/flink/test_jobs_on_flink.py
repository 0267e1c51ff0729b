"""Job files on Flink itself, against the same topics of Apache Kafka as our worker: the rows must be the same.

Worker and Flink write the same sink topic, one after the other; what each has written is what came behind the end that
the topic had before.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from registry_thread import RegistryThread

from anomaly_app.jobs.binder import bind_job
from anomaly_app.testing.flink import FlinkError, FlinkRun, statements_for_flink
from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.worker import Sent, WorkerProcess, read, send

pytestmark = [pytest.mark.flink, pytest.mark.timeout(300)]

JOBS = resources.files("anomaly_app").joinpath("jobs")
START = 1_760_000_000_000
BOTH = {"table.exec.sink.require-on-conflict": "false"}
"""The one setting that the tutorial's file needs in Flink 2.3, see test_the_tutorial_as_written."""


def packaged(name: str) -> Path:
    return Path(str(JOBS.joinpath(f"{name}.sql")))


def written(kafka: ApacheKafka, topic: str, run: Callable[[], None]) -> list[Any]:
    """Records that a run has put behind those that were there."""
    before = Counter(record.partition for record in asyncio.run(read(kafka.bootstrap_servers, topic)))
    run()
    records = asyncio.run(read(kafka.bootstrap_servers, topic))
    return [record for record in records if record.offset >= before[record.partition]]


def by_worker(kafka: ApacheKafka, folder: Path, job: Path, registry: str = "") -> Callable[[], None]:
    def run() -> None:
        settings: dict[str, object] = {
            "kafka.bootstrap_servers": kafka.bootstrap_servers,
            "worker.app_id": f"flink-{job.stem}",
            "worker.data_dir": folder / "state",
            "alerts.topic": f"flink-{job.stem}.alerts",
        }
        if registry:
            settings["registry.url"] = registry
        with WorkerProcess(settings, job, options=["--bounded", "--startup", "earliest-offset"]) as worker:
            assert worker.wait() == 0, worker.output

    return run


def by_flink(kafka: ApacheKafka, job: Path, registry: str | None = None, **settings: str) -> Callable[[], None]:
    def run() -> None:
        text = job.read_text("utf-8")
        statements = statements_for_flink(
            text, servers=kafka.bootstrap_servers, registry=registry, settings={**BOTH, **settings}
        )
        with FlinkRun(statements) as flink:
            flink.wait()

    return run


def transactions(count: int) -> list[Sent]:
    """Amounts of 20 users over an hour, one of a hundred far too large, at most four seconds out of order."""
    draw = random.Random(7)
    sent = []
    for number in range(count):
        ms = START + number * 3_600_000 // count - draw.randrange(4_000)
        value = {
            "userId": f"user-{draw.randrange(20)}",
            "amount": round(draw.uniform(10, 100) * (50 if draw.random() < 0.01 else 1), 2),
            "timestamp": ms,
            "transactionId": str(number),
            "merchantId": "m",
        }
        sent.append(Sent(str(number).encode(), json.dumps(value).encode(), ms))
    return sent


def test_windows_give_the_rows_of_flink(kafka: ApacheKafka, tmp_path: Path) -> None:
    kafka.create_topics({"transactions": 3, "unusual.transactions": 2})
    asyncio.run(send(kafka.bootstrap_servers, "transactions", transactions(6_000)))
    job = packaged("unusual_transactions")
    ours = written(kafka, "unusual.transactions", by_worker(kafka, tmp_path, job))
    theirs = written(kafka, "unusual.transactions", by_flink(kafka, job))

    def rows(records: list[Any]) -> list[dict[str, Any]]:
        decoded = [json.loads(record.value) for record in records]
        return sorted(decoded, key=lambda row: (row["userId"], row["window_start"]))

    mine, others = rows(ours), rows(theirs)
    assert len(others) > 20
    for row, other in zip(mine, others, strict=True):
        assert row.keys() == other.keys()
        for name, value in other.items():
            # A deviation is a sum of many doubles: the order of adding shows in the last digits.
            assert row[name] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value)


def test_the_tutorial_gives_the_rows_of_flink(kafka: ApacheKafka, tmp_path: Path) -> None:
    """Avro from a registry, METADATA time, row pattern, CSV with key: byte for byte the records of Flink."""
    source, sink = "flink.sales.records", "flink.unusual.sales.records.interactive"
    kafka.create_topics({source: 3, sink: 2})
    with RegistryThread() as registry:
        command = [sys.executable, "-m", "anomaly_app.cli", "generate", "sales", "--records", "5000", "--rare", "0.02"]
        command += ["--rate", "0", "--start", "2026-01-01 09:00:00"]
        command += ["--broker", kafka.bootstrap_servers, "--registry", registry.url]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        job = packaged("unusual_sales")
        ours = written(kafka, sink, by_worker(kafka, tmp_path, job, registry.url))
        theirs = written(kafka, sink, by_flink(kafka, job, registry.url))
    assert len(theirs) > 20
    assert Counter((r.key, r.value) for r in ours) == Counter((r.key, r.value) for r in theirs)


TABLES = """
CREATE TABLE s (u STRING, q INT, ts TIMESTAMP(3) METADATA FROM 'timestamp',
    WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH (
    'connector' = 'kafka', 'topic' = 'refused', 'format' = 'json');
CREATE TABLE two (a TIMESTAMP(3), b TIMESTAMP(3)) WITH (
    'connector' = 'kafka', 'topic' = 'refused.two', 'format' = 'json');
CREATE TABLE latest (u STRING, q INT, PRIMARY KEY (u) NOT ENFORCED) WITH (
    'connector' = 'upsert-kafka', 'topic' = 'refused.latest', 'key.format' = 'json', 'value.format' = 'json');
"""
PATTERN = """SELECT a, b FROM s MATCH_RECOGNIZE (ORDER BY ts MEASURES {measures}
    AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) WITHIN INTERVAL '1' MINUTE DEFINE B AS B.q > A.q)"""
ONE_TIME = PATTERN.format(measures="MATCH_ROWTIME() AS a, A.ts AS b")
LOOKUP = """
CREATE TABLE p (u STRING, pt AS PROCTIME()) WITH ('connector' = 'kafka', 'topic' = 'refused', 'format' = 'json');
CREATE TABLE o (u STRING) WITH ('connector' = 'kafka', 'topic' = 'refused.two', 'format' = 'json');
INSERT INTO o SELECT p.u FROM p JOIN latest FOR SYSTEM_TIME AS OF {time} ON latest.u = p.u"""
REFUSED = {
    "two event times": ("INSERT INTO two SELECT ts, ts AS b FROM s", "more than one rowtime attribute"),
    "no unique key": ("INSERT INTO latest SELECT u, q FROM s", "ON CONFLICT"),
    "a lookup in a topic": (LOOKUP.format(time="p.pt"), "Processing-time temporal join is not supported yet"),
    "a lookup without a column": (LOOKUP.format(time="PROCTIME()"), "Unsupported time travel expression"),
}
TAKEN = {
    "cast, measures, conflict": f"""INSERT INTO two SELECT ts, CAST(ts AS TIMESTAMP(3)) AS b FROM s;
        INSERT INTO two {ONE_TIME};
        INSERT INTO latest SELECT u, q FROM s ON CONFLICT DO DEDUPLICATE""",
    "told so": """SET 'table.exec.sink.rowtime-inserter' = 'DISABLED';
        SET 'table.exec.sink.require-on-conflict' = 'false';
        INSERT INTO two SELECT ts, ts AS b FROM s;
        INSERT INTO latest SELECT u, q FROM s""",
}


@pytest.fixture(scope="module")
def topics(kafka: ApacheKafka) -> ApacheKafka:
    kafka.create_topics({"refused": 1, "refused.two": 1, "refused.latest": 1})
    return kafka


@pytest.mark.parametrize("name", REFUSED)
def test_what_flink_refuses_is_said_by_check(name: str, topics: ApacheKafka) -> None:
    sql, reason = REFUSED[name]
    assert len(bind_job(TABLES + sql, name="job").refused_by_flink) == 1 + ("OF PROCTIME()" in sql)
    with (
        FlinkRun(statements_for_flink(TABLES + sql, servers=topics.bootstrap_servers)) as flink,
        pytest.raises(FlinkError, match=reason),
    ):
        flink.wait()


@pytest.mark.parametrize("name", TAKEN)
def test_what_flink_takes_is_not_warned_of(name: str, topics: ApacheKafka) -> None:
    text = TABLES + TAKEN[name]
    assert bind_job(text, name="job").refused_by_flink == ()
    with FlinkRun(statements_for_flink(text, servers=topics.bootstrap_servers)) as flink:
        assert len(flink.wait()) == 1


def test_the_tutorial_as_written(kafka: ApacheKafka) -> None:
    """Flink 2.3 wants to know what becomes of sales of one user; 2.2 did not ask."""
    text = packaged("unusual_sales").read_text("utf-8")
    (said,) = bind_job(text, name="job").refused_by_flink
    assert "require-on-conflict" in said
    with (
        FlinkRun(statements_for_flink(text, servers=kafka.bootstrap_servers)) as flink,
        pytest.raises(FlinkError, match="ON CONFLICT"),
    ):
        flink.wait()
    amended = text.rstrip().removesuffix(";") + "\nON CONFLICT DO DEDUPLICATE;"
    assert bind_job(amended, name="job").refused_by_flink == ()


def test_detectors_are_not_in_flink(kafka: ApacheKafka) -> None:
    text = packaged("unusual_orders").read_text("utf-8").replace("$rowtime", "order_time")
    assert bind_job(text, name="job").refused_by_flink == ("it has no ML_DETECT_ANOMALIES",)
    with (
        FlinkRun(statements_for_flink(text, servers=kafka.bootstrap_servers)) as flink,
        pytest.raises(FlinkError, match="ML_DETECT_ANOMALIES"),
    ):
        flink.wait()
