"""``anomaly deliver`` with the settings of docker-compose.yml: InfluxDB, Alertmanager, mail, files, and Prometheus."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest
import yaml
from dashboards import GRAFANA, filled, queries
from delivery_run import DeliveryRun, alerts_of, until
from mail_server import mail_server
from monitoring_programs import alertmanager, influxdb

from anomaly_app.testing.alertmanager import Alertmanager
from anomaly_app.testing.broker import ALONE_MS, EmbeddedBroker
from anomaly_app.testing.influxdb import InfluxDB
from anomaly_app.testing.prometheus import Prometheus
from anomaly_app.testing.worker import WorkerProcess

__all__ = ["alertmanager", "influxdb"]

DEPLOY = GRAFANA.parent
OF_THE_DELIVERY = {
    "operations": {
        "Receivers reached", "Waiting notifications", "Notifications", "What became of alerts", "Time to tell",
        "Outbox", "Receivers", "Processes that deliver", "Delivery's lag", "Groups", "Archive waits", "Archive files",
    },
    "transactions": {
        "AnomalyCount", "In five minutes", "AnomalyCount by severity", "AnomalyAmount by severity", "Tenants",
        "Amounts", "Highest usual amount", "Duration", "Invocations",
    },
}  # fmt: skip


def replaced(addresses: dict[str, str]) -> str:
    """The settings of compose behind ``[delivery]``, with other addresses."""
    text = (DEPLOY / "anomaly.toml").read_text("utf-8").partition("[delivery]\n")[2]
    for written, other in addresses.items():
        assert text.count(written) == 1, written
        text = text.replace(written, other)
    return text


def watching(delivery: WorkerProcess) -> Prometheus:
    document = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text("utf-8"))
    document["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    document["rule_files"] = [str(DEPLOY / f"prometheus/rules/{name}.yml") for name in ("delivery", "findings")]
    document["scrape_configs"] = [one for one in document["scrape_configs"] if one["job_name"] == "anomaly-deliver"]
    document["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{delivery.port}"]}]
    del document["alerting"]
    return Prometheus(json.dumps(document))


@pytest.mark.timeout(180)
def test_alerts_arrive_everywhere_and_the_dashboards_show_it(
    influxdb: InfluxDB, alertmanager: Alertmanager, tmp_path: Path
) -> None:
    if problem := Prometheus.missing():
        pytest.skip(problem)
    influxdb.execute("DROP DATABASE alerts; CREATE DATABASE alerts")
    with EmbeddedBroker(rebalance_delay_ms=ALONE_MS) as broker, mail_server() as mailbox:
        settings = replaced(
            {
                'startup = "earliest"\n': "",
                "http://influxdb:8086": influxdb.url,
                "http://alertmanager:9093": alertmanager.url,
                'host = "mail"\nport = 1025': f'host = "127.0.0.1"\nport = {mailbox.port}',
                'path = "/data/archive"': f'path = "{tmp_path / "archive"}"\nroll_after = "2 s"',
                'group_wait = "10 s"': 'group_wait = "1 s"\ngroup_interval = "1 s"',
            }
        )
        run = DeliveryRun(broker.bootstrap_servers, tmp_path, "monitored", settings, broker.touch)
        with run.start() as delivery, watching(delivery) as prometheus:
            delivery.wait_ready()
            high, low = alerts_of(40, severity="high"), alerts_of(80, severity="low")[40:]
            run.send([*high, *low], tenant="eu")

            def points() -> int:
                rows = influxdb.query("alerts", 'SELECT sum("value") FROM anomaly_alerts')
                return int(rows[0]["sum"]) if rows else 0

            until(lambda: points() == 80, delivery, "points in InfluxDB")
            until(lambda: len(alertmanager.alerts('tenant="eu"')) == 80, delivery, "alerts in Alertmanager")
            until(lambda: mailbox.mails, delivery, "mail")
            files = tmp_path / "archive"
            until(lambda: [*files.rglob("*.parquet")], delivery, "a file in the archive")
            prometheus.wait_for("sum(anomaly_count_total) == 80 and on() sum(anomaly_archive_files_total) > 0")
            # Again, so that there is a rate of everything.
            run.send(alerts_of(120, severity="high")[80:], tenant="eu")
            until(lambda: points() == 120, delivery, "more points in InfluxDB")
            until(lambda: len(mailbox.mails) > 1, delivery, "more mail")
            prometheus.wait_for("sum(anomaly_count_total) == 120")
            severities = prometheus.query("sum by (severity, tenant) (anomaly_count_total)")
            counted = {series["metric"]["severity"]: series["value"][1] for series in severities}
            assert counted == {"high": "80", "low": "40"} and severities[0]["metric"]["tenant"] == "eu"
            for board, titles in OF_THE_DELIVERY.items():
                found: Counter[str] = Counter()
                for query in queries(GRAFANA / f"dashboards/{board}.json"):
                    if query.title in titles:
                        text = filled(query.text, {}, interval="30s", span="60s")
                        values = [float(series["value"][1]) for series in prometheus.query(text)]
                        found[query.title] += any(map(math.isfinite, values))
                assert titles == {title for title, number in found.items() if number}, board
            prometheus.wait_for('ALERTS{alertname="AnomalyDetectionAlarm", alertstate="firing"}')
            firing = {alert["labels"]["alertname"] for alert in prometheus.alerts() if alert["state"] == "firing"}
            assert firing == {"AnomalyDetectionAlarm"}
