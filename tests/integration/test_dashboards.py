"""Every query of every dashboard, on InfluxDB and Prometheus themselves: each gives data, and variables narrow it."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from dashboards import FILES, GRAFANA, Query, filled, load, queries, variables
from metrics_target import delivery_target, worker_target
from monitoring_programs import influxdb
from notifications import an_alert, incoming

from anomaly_app.alerts import Severity
from anomaly_app.delivery.notification import Incoming
from anomaly_app.settings.delivery import InfluxdbSink
from anomaly_app.sinks.influxdb import Influxdb
from anomaly_app.testing.influxdb import InfluxDB
from anomaly_app.testing.prometheus import Prometheus

__all__ = ["influxdb"]

DEPLOY = GRAFANA.parent
DATABASE = "dashboards"
KINDS = ("REFUND_PATTERN", "SHRINKAGE", "SECURITY_CORRELATION")
SEVERITIES: tuple[Severity, ...] = ("low", "medium", "high", "critical")
EVERY = [query for file in FILES for query in queries(file)]


def found(now_ms: int) -> Iterator[Incoming]:
    """24 alerts of a retail job, 6 of one of transactions."""
    for number in range(24):
        payload = {
            "type": KINDS[number % 3],
            "storeId": f"store-{number % 5}",
            "employId": f"e{number % 4}",
            "riskScore": 4.0 * number,
            "message": f'{KINDS[number % 3]}, "so"',
        }
        yield from incoming(
            an_alert(
                number,
                key={"employId": payload["employId"]},
                severity=SEVERITIES[number % 4],
                payload=payload,
                at_ms=now_ms - 60_000 * number - 1_000,
                job="retail",
                query=f"q{number % 3}",
                type="pattern",
                score=number / 24,
                id=f"r{number}",
            )
        )
    for number in range(6):
        at_ms = now_ms - 60_000 * number - 2_000
        severity = SEVERITIES[number % 4]
        alert = an_alert(number, severity=severity, at_ms=at_ms, job="transactions", type="sigma", id=f"t{number}")
        yield from incoming(alert, tenant="eu")


@pytest.fixture(scope="module")
def alerts(influxdb: InfluxDB) -> InfluxDB:
    influxdb.execute(f'DROP DATABASE "{DATABASE}"; CREATE DATABASE "{DATABASE}"')

    async def write() -> None:
        sink = Influxdb(InfluxdbSink(url=influxdb.url, database=DATABASE))
        assert list(await sink.write([*found(int(time.time() * 1_000))], 0)) == []
        await sink.close()

    asyncio.run(write())
    return influxdb


@pytest.fixture(scope="module")
def prometheus() -> Iterator[Prometheus]:
    """With the project's own settings, but for the addresses and how often it looks."""
    if problem := Prometheus.missing():
        pytest.skip(problem)
    settings = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text("utf-8"))
    settings["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    settings["rule_files"] = [str(DEPLOY / "prometheus" / name) for name in settings["rule_files"]]
    del settings["alerting"]
    with worker_target() as worker, delivery_target() as delivery:
        targets = {"anomaly-worker": worker, "anomaly-deliver": delivery}
        settings["scrape_configs"] = [
            {**one, "static_configs": [{"targets": [targets[one["job_name"]]]}]}
            for one in settings["scrape_configs"]
            if one["job_name"] in targets
        ]
        with Prometheus(json.dumps(settings)) as program:
            program.wait_for("anomaly_notifications_total > 5")
            program.wait_for("anomaly_rows_total > 500")
            program.wait_for('ALERTS{alertname="AnomalyDetectionAlarm", alertstate="firing"}')
            yield program


def of_influxdb(influxdb: InfluxDB, text: str, **values: str) -> list[dict[str, Any]]:
    """Rows of a query as Grafana sends it, of the last hour; a column without any value is left out."""
    now = int(time.time() * 1_000)
    time_filter = f"time >= {now - 3_600_000}ms AND time <= {now}ms"
    return influxdb.query(DATABASE, filled(text, values, time_filter=time_filter, interval="1m"))


@pytest.mark.parametrize(
    "query", [q for q in EVERY if q.kind == "influxdb"], ids=lambda q: f"{q.board}-{q.title}".replace(" ", "_")
)
def test_every_query_of_influxdb_gives_data(alerts: InfluxDB, query: Query) -> None:
    rows = of_influxdb(alerts, query.text)
    columns = set().union(*rows)
    selected = query.text.removeprefix("SELECT ").partition(" FROM ")[0].split(", ")
    wanted = {part.split('"')[-2] for part in selected if part.startswith('"') or " AS " in part}
    assert wanted <= columns
    assert any(value not in ("", None) for row in rows for name, value in row.items() if name != "time")


@pytest.mark.parametrize("name", ["anomalies", "retail"])
def test_the_variables_of_influxdb_give_values(alerts: InfluxDB, name: str) -> None:
    asked = variables(load(GRAFANA / f"dashboards/{name}.json"))
    values = {name: {row["value"] for row in alerts.query(DATABASE, text)} for name, text in asked.items()}
    known = {
        "job": {"retail", "transactions"},
        "type": {"pattern", "sigma"},
        "severity": set(SEVERITIES),
        "store": {f"store-{number}" for number in range(5)},
    }
    assert values == {name: known[name] for name in values}


def test_totals_are_right_and_variables_narrow_them(alerts: InfluxDB) -> None:
    text = {(query.board, query.title): query.text for query in EVERY}
    total = text["anomalies", "Total"]

    def number(text: str, **values: str) -> int:
        (row,) = of_influxdb(alerts, text, **values)
        return int(row["sum"])

    assert number(total) == 30, "alerts without a store are among them"
    assert number(total, job="retail") == 24
    assert number(total, job="(retail|transactions)", severity="(high|critical)") == 12 + 2
    assert number(total, store="store-4") == 4
    assert number(total, type="sigma") == 6
    assert number(text["anomalies", "High and critical"]) == 14
    assert of_influxdb(alerts, text["anomalies", "Stores with alerts"])[0]["count"] == 5
    for kind in ("Refund", "Shrinkage", "Security Correlation"):
        assert number(text["retail", f"Total {kind}"]) == 8
    risky = of_influxdb(alerts, text["anomalies", "Highest risk"])
    assert len(risky) == 20 and max(row["riskScore"] for row in risky) == 92
    stores = of_influxdb(alerts, text["anomalies", "Stores"])
    assert {row["storeId"]: row["alerts"] for row in stores} == {f"store-{n}": 5 - (n == 4) for n in range(5)}
    latest = of_influxdb(alerts, text["anomalies", "Latest alerts"])
    assert [row["id"] for row in latest[:3]] == ["r0", "t0", "r1"] and len(latest) == 30


@pytest.mark.parametrize(
    "query", [q for q in EVERY if q.kind == "prometheus"], ids=lambda q: f"{q.board}-{q.title}".replace(" ", "_")
)
def test_every_query_of_prometheus_gives_data(prometheus: Prometheus, query: Query) -> None:
    text = filled(query.text, {}, interval="10s", span="60s")
    if query.instant:
        values = [series["value"][1] for series in prometheus.query(text)]
    else:
        values = [value for series in prometheus.query_range(text) for _, value in series["values"]]
    assert values and any(math.isfinite(float(value)) for value in values)


@pytest.mark.parametrize("name", ["operations", "transactions"])
def test_the_variables_of_prometheus_give_values(prometheus: Prometheus, name: str) -> None:
    known = {"job": ["unusual_sales"], "receiver": ["oncall", "systems"]}
    for variable, text in variables(load(GRAFANA / f"dashboards/{name}.json")).items():
        metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", text).groups()  # type: ignore[union-attr] # else it fails
        assert prometheus.ask(f"/api/v1/label/{label}/values", **{"match[]": metric})["data"] == known[variable]


def test_a_receiver_and_a_job_narrow_what_is_shown(prometheus: Prometheus) -> None:
    text = {(query.board, query.title): query.text for query in EVERY}
    receivers = text["operations", "Receivers"]
    assert len(prometheus.query(filled(receivers, {}))) == 3
    assert len(prometheus.query(filled(receivers, {"receiver": "oncall"}))) == 2
    lag = text["operations", "Lag"]
    assert prometheus.query(filled(lag, {"job": "unusual_sales"})) and not prometheus.query(
        filled(lag, {"job": "other"})
    )


def test_the_job_of_a_metric_is_the_job_file(prometheus: Prometheus) -> None:
    (series,) = prometheus.query("anomaly_job_info")
    assert series["metric"]["job"] == "unusual_sales" and "exported_job" not in series["metric"]
    assert prometheus.query('up{job="anomaly-worker"} == 1') and prometheus.query('anomaly_ready{job="anomaly-worker"}')
