"""A query with a detector on the worker: every row judged once as if nothing had happened, though it was killed."""

from __future__ import annotations

import json
from pathlib import Path

from sales_run import JOB, PLAIN, Broker, Run, expected, sale_rows, until

from anomaly_app.testing.broker import EmbeddedBroker

SELECT = """
SELECT user_id, invoice_id, r.forecast_value AS forecast, r.is_anomaly AS flag FROM (
    SELECT *, ML_DETECT_ANOMALIES(quantity, $rowtime, JSON_OBJECT('minTrainingSize' VALUE 16))
        OVER (PARTITION BY user_id ORDER BY $rowtime RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS r
    FROM sales)
"""
JUDGED = """
CREATE TABLE judged (user_id STRING, invoice_id STRING, forecast DOUBLE, flag BOOLEAN)
WITH ('connector' = 'kafka', 'topic' = '{source}.judged', 'format' = 'json');
INSERT INTO judged {select};
"""


def test_every_row_is_judged_once_across_a_kill(tmp_path: Path) -> None:
    rows = sale_rows(4_000, users=20)
    want = sorted(expected(rows, sql=SELECT))
    assert len(want) == len(rows) and 20 < sum(row[3] is True for row in want) < 300
    with EmbeddedBroker() as embedded:
        broker = Broker(embedded.bootstrap_servers, {}, lambda topic: embedded.touch(topic))
        run = Run(broker, tmp_path, "judged")
        table = JOB.partition("CREATE TABLE unusual")[0].format(source=run.topic, format=PLAIN)
        run.job.write_text(table + JUDGED.format(source=run.topic, select=SELECT))
        run.send(rows[:2_000])
        with run.start(**{"worker.batch_rows": 200, "worker.flush_interval_ms": 20}) as worker:
            worker.wait_ready()
            until(lambda: len(run.read("judged")) > 500, worker, "the first results")
            worker.kill()
        run.send(rows[2_000:])
        run.finish()
        results, alerts = [json.loads(record.value) for record in run.read("judged")], run.alerts()
        assert run.read("late") == run.read("dlq") == []
    found = sorted((row["user_id"], row["invoice_id"], row["forecast"], row["flag"]) for row in results)
    assert found == want
    assert {alert["payload"]["invoice_id"] for alert in alerts} == {row[1] for row in want if row[3]}
    assert len({alert["id"] for alert in alerts}) == len(alerts)
    assert all(alert["type"] == "anomaly" and ": quantity " in alert["explanation"] for alert in alerts)
