"""The packaged job of windows on the worker: every alert once, as if nothing had happened, though it was killed."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from importlib.resources import files
from pathlib import Path

import msgspec
from sales_run import Broker, Run, iso, until

from anomaly_app import Rows, query
from anomaly_app.generators import transactions
from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.worker import Sent, send

COLUMNS = [("userId", "STRING"), ("amount", "DOUBLE"), ("timestamp", "BIGINT"), ("transactionId", "STRING")]
COLUMNS += [("merchantId", "STRING"), ("ts", "TIMESTAMP_LTZ(3)")]


def test_every_window_gives_its_alert_once_across_a_kill(tmp_path: Path) -> None:
    text = files("anomaly_app.jobs").joinpath("unusual_transactions.sql").read_text()
    records = list(transactions().records(5, 4_000, 1_767_258_000_000, rate=0.5))
    rows = [(*record.value.values(), f"{iso(record.timestamp_ms)}Z") for record in records]
    want = {row[-1]: row for row in query(text, {"transactions": Rows(COLUMNS, rows, rowtime="ts")}).rows}
    assert len(want) > 40
    sent = [Sent(r.key.encode(), msgspec.json.encode(r.value), r.timestamp_ms) for r in records]
    with EmbeddedBroker() as embedded:
        broker = Broker(embedded.bootstrap_servers, {}, lambda topic: embedded.touch(topic))
        run = Run(broker, tmp_path, "transactions")
        job = text.replace("'topic' = 'transactions'", f"'topic' = '{run.topic}'")
        job = job.replace("'unusual.transactions'", f"'{run.topic}.unusual'").replace(
            "latest-offset", "earliest-offset"
        )
        run.job.write_text(job)
        asyncio.run(send(broker.servers, run.topic, sent[:2_000]))
        with run.start(**{"worker.batch_rows": 100, "worker.flush_interval_ms": 20}) as worker:
            worker.wait_ready()
            until(lambda: len(run.read("unusual")) > 5, worker, "the first windows")
            worker.kill()
        asyncio.run(send(broker.servers, run.topic, sent[2_000:]))
        run.finish()
        results, alerts = [json.loads(record.value) for record in run.read("unusual")], run.alerts()
        assert run.read("late") == run.read("dlq") == []
    assert Counter(result["alert"] for result in results) == Counter(want.keys())
    assert len({alert["id"] for alert in alerts}) == len(alerts) == len(want)
    for alert in alerts:
        row = want[alert["payload"]["alert"]]
        assert (alert["type"], alert["key"]["userId"], alert["severity"]) == ("window", row[0], row[-2])
        assert "in the window up to " in alert["explanation"] and row[-1][:30] in alert["explanation"]


PROCTIME = """
CREATE TABLE t (k STRING, v INT, p AS PROCTIME()) WITH (
    'connector' = 'kafka', 'topic' = '{topic}', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
SELECT k, COUNT(*) AS c, SUM(v) AS s FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(p), INTERVAL '1' SECOND))
GROUP BY k, window_start, window_end;
"""


def test_windows_over_processing_time_end_by_the_clock(tmp_path: Path) -> None:
    """No row comes that would end them; what is counted is each row once, in whichever window it came."""
    with EmbeddedBroker() as embedded:
        broker = Broker(embedded.bootstrap_servers, {}, lambda topic: embedded.touch(topic))
        run = Run(broker, tmp_path, "clock")
        run.job.write_text(PROCTIME.format(topic=run.topic))
        sent = [Sent(None, json.dumps({"k": "ab"[n % 2], "v": n}).encode(), None, n % 4) for n in range(40)]
        asyncio.run(send(broker.servers, run.topic, sent))
        with run.start() as worker:
            worker.wait_ready()

            def counted() -> dict[str, int]:
                counts: Counter[str] = Counter()
                for alert in run.alerts():
                    counts[alert["key"]["k"]] += alert["payload"]["c"]
                return dict(counts)

            until(lambda: counted() == {"a": 20, "b": 20}, worker, "the windows")
            assert sum(alert["payload"]["s"] for alert in run.alerts()) == sum(range(40))
