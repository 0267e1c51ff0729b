"""Whole runs of the worker, in processes of their own, on the embedded broker and on Apache Kafka."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from sales_run import WITHIN, Broker, Run, as_csv, expected, records, sale_rows

from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.kafka import ApacheKafka


@pytest.fixture(scope="module", params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    if request.param == "kafka":
        kafka: ApacheKafka = request.getfixturevalue("kafka")
        yield Broker(kafka.bootstrap_servers, {}, lambda topic: kafka.create_topics({topic: 4}))
        return
    with EmbeddedBroker() as embedded:
        yield Broker(embedded.bootstrap_servers, {}, lambda topic: embedded.touch(topic), mock=True)


@pytest.mark.parametrize("keyed", [False, True], ids=["repartitioned", "keyed"])
def test_a_bounded_run_gives_the_rows_of_the_query(broker: Broker, tmp_path: Path, keyed: bool) -> None:
    run, rows = Run(broker, tmp_path, "bounded", keyed=keyed), sale_rows(8_000)
    run.send(rows)
    run.finish()
    want = expected(rows)
    assert len(want) > 100
    results = run.read("unusual")
    assert Counter(record.value.decode() for record in results) == Counter(map(as_csv, want))
    assert all(record.key.decode() == record.value.decode().partition(",")[0] for record in results)
    alerts = run.alerts()
    assert len({alert["id"] for alert in alerts}) == len(alerts) == len(want)
    assert {alert["payload"]["invoice_id"] for alert in alerts} == {row[1] for row in want}
    for alert in alerts[:20]:
        assert alert["key"]["user_id"] in alert["explanation"] and str(alert["payload"]["qty"]) in alert["explanation"]
    assert run.read("late") == run.read("dlq") == []


@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    ("keyed", "within"), [(False, WITHIN), (True, WITHIN), (True, "")], ids=["repartitioned", "keyed", "rows-stored"]
)
def test_kill_9_and_restart_give_each_alert_once(broker: Broker, tmp_path: Path, keyed: bool, within: str) -> None:
    if keyed and broker.mock:
        pytest.skip("enough on Apache Kafka: each takes half a minute")
    run, rows = Run(broker, tmp_path, "killed", keyed=keyed, within=within), sale_rows(40_000, seed=2)
    want = {row[1] for row in expected(rows, within)}
    run.send(rows[:15_000])
    # Small batches and a pause between flushes, so that the kills fall in the middle of the work.
    slow = {"worker.batch_rows": 200, "worker.flush_interval_ms": 20}
    for kill, part in enumerate((rows[15_000:25_000], rows[25_000:])):
        if kill:
            shutil.rmtree(tmp_path / "state")  # the disk is gone too: the changelog has it all
        before = len(run.read("alerts"))  # before it starts: it may be done by the time that it is asked
        with run.start(**slow) as worker:
            worker.wait_ready()
            deadline = time.monotonic() + 30
            while len(run.read("alerts")) == before and time.monotonic() < deadline:
                time.sleep(0.05)
            assert len(run.read("alerts")) > before, f"nothing came before kill {kill}:\n{worker.output}"
            worker.kill()
        run.send(part)
    run.finish()
    alerts = run.alerts()
    assert Counter(alert["payload"]["invoice_id"] for alert in alerts) == Counter(want)
    assert len({alert["id"] for alert in alerts}) == len(alerts)
    assert len(run.read("unusual")) == len(want)


@pytest.mark.kafka
def test_markers_of_transactions_do_not_hold_up_the_end(kafka: ApacheKafka, tmp_path: Path) -> None:
    broker = Broker(kafka.bootstrap_servers, {}, lambda topic: kafka.create_topics({topic: 4}))
    run, rows = Run(broker, tmp_path, "transactions"), sale_rows(2_000)

    async def send_in_transactions() -> None:
        async with AIOKafkaProducer(bootstrap_servers=broker.servers, transactional_id=run.topic) as producer:
            for first in range(0, len(rows), 500):
                async with producer.transaction():
                    for record in records(rows[first : first + 500], keyed=False):
                        await producer.send(run.topic, record.value, record.key)

    asyncio.run(send_in_transactions())
    run.finish()
    assert {alert["payload"]["invoice_id"] for alert in run.alerts()} == {row[1] for row in expected(rows)}


MANY = """
{table}
CREATE TABLE large (invoice_id STRING, quantity BIGINT) WITH (
    'connector' = 'kafka', 'topic' = '{topic}.large', 'properties.bootstrap.servers' = 'x:1', 'format' = 'json');
CREATE TABLE pairs (a STRING, b STRING) WITH (
    'connector' = 'kafka', 'topic' = '{topic}.pairs', 'properties.bootstrap.servers' = 'x:1', 'format' = 'csv');
EXECUTE STATEMENT SET BEGIN
INSERT INTO large {large};
INSERT INTO pairs {pairs};
{select};
END;
"""
LARGE = "SELECT invoice_id, quantity FROM sales WHERE quantity > 3"
PAIRS = """SELECT * FROM sales MATCH_RECOGNIZE (ORDER BY ts MEASURES A.invoice_id AS a, B.invoice_id AS b
    AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) WITHIN INTERVAL '1' MINUTE
    DEFINE A AS A.quantity = 20, B AS B.quantity = 2)"""


def test_queries_of_one_topic_take_their_own_ways(broker: Broker, tmp_path: Path) -> None:
    """A plain SELECT reads the topic as it is, a pattern by user goes by key, one without key goes to one place."""
    run, rows = Run(broker, tmp_path, "many"), sale_rows(3_000, seed=3)
    table, select = run.job.read_text().split("INSERT INTO unusual")
    insert = "INSERT INTO unusual" + select.rstrip().removesuffix(";")
    run.job.write_text(MANY.format(table=table, topic=run.topic, large=LARGE, pairs=PAIRS, select=insert))
    run.send(rows)
    run.finish()
    assert Counter(record.value.decode() for record in run.read("unusual")) == Counter(map(as_csv, expected(rows)))
    large = [json.loads(record.value) for record in run.read("large")]
    assert {sale["invoice_id"] for sale in large} == {row[1] for row in rows if row[2] > 3}
    assert all(type(sale["quantity"]) is int for sale in large)
    pairs = [record.value.decode() for record in run.read("pairs")]
    assert len(pairs) > 3
    assert sorted(pairs) == sorted(f"{a},{b}" for a, b in expected(rows, sql=PAIRS))
