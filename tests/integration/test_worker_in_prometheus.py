"""A worker as Prometheus sees it, with the project's own settings and rules."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import yaml
from dashboards import GRAFANA, filled, queries
from sales_run import Broker, Run, sale_rows, until

from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.prometheus import Prometheus

PROMETHEUS = GRAFANA.parent / "prometheus"
OF_THE_WORKER = ["Rows flow", "Lag", "Rows", "Watermark delay", "Alerts raised", "Flush time", "Waiting for event time"]


def settings(worker: str) -> str:
    """Of the project, without the delivery, looking each second."""
    document = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))
    document["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    document["rule_files"] = [str(PROMETHEUS / "rules/worker.yml")]
    document["scrape_configs"] = [one for one in document["scrape_configs"] if one["job_name"] == "anomaly-worker"]
    document["scrape_configs"][0]["static_configs"] = [{"targets": [worker]}]
    del document["alerting"]
    return json.dumps(document)


def rules_of(prometheus: Prometheus) -> dict[str, str]:
    return {alert["labels"]["alertname"]: alert["state"] for alert in prometheus.alerts()}


@pytest.mark.timeout(150)
def test_a_worker_fills_the_dashboard_and_what_goes_wrong_fires_a_rule(tmp_path: Path) -> None:
    if problem := Prometheus.missing():
        pytest.skip(problem)
    rows = sale_rows(6_000)
    with EmbeddedBroker() as embedded:
        broker = Broker(embedded.bootstrap_servers, {}, lambda topic: embedded.touch(topic), mock=True)
        run = Run(broker, tmp_path, "watched")
        run.send(rows[:2_000])
        with run.start() as worker, Prometheus(settings(f"127.0.0.1:{worker.port}")) as prometheus:
            worker.wait_ready()
            prometheus.wait_for('sum(anomaly_rows_total{stage="source"}) == 2000')
            run.send(rows[2_000:])
            prometheus.wait_for('sum(anomaly_rows_total{stage="source"}) == 6000')
            prometheus.wait_for("sum(anomaly_lag_records) == 0")
            assert prometheus.query("sum(anomaly_alerts_total) > 10")
            of_title = {query.title: query for query in queries(GRAFANA / "dashboards/operations.json")}
            for title in OF_THE_WORKER:
                text = filled(of_title[title].text, {"job": "watched"}, interval="60s", span="60s")
                values = [float(series["value"][1]) for series in prometheus.query(text)]
                assert values and any(map(math.isfinite, values)), title
            # What was pending while it started is over; the rows are old, and one rule would say so if that lasted.
            until(lambda: rules_of(prometheus) == {"AnomalyWatermarkDelayed": "pending"}, worker, "the rules are calm")
            worker.kill()
            prometheus.wait_for('ALERTS{alertname="AnomalyWorkerDown"}')
            (series,) = prometheus.query('up{job="anomaly-worker"}')
            assert series["value"][1] == "0"
