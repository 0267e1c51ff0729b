"""InfluxDB, Alertmanager and Prometheus as the other tests run them."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from monitoring_programs import alertmanager, influxdb

from anomaly_app.testing.alertmanager import Alertmanager
from anomaly_app.testing.influxdb import InfluxDB
from anomaly_app.testing.program import Program, ProgramError
from anomaly_app.testing.prometheus import Prometheus

__all__ = ["alertmanager", "influxdb"]


def _need(program: type[Program]) -> None:
    if problem := program.missing():
        pytest.skip(problem)


def _until(holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "does not come to hold"
        time.sleep(0.1)


def test_influxdb_keeps_points_over_an_outage() -> None:
    _need(InfluxDB)
    with InfluxDB(databases=["alerts"]) as influxdb:
        influxdb.write("alerts", ['anomaly_alerts,job=a,type=x value=1i,message="one" 1000'])
        influxdb.kill()
        with pytest.raises(ProgramError, match="does not answer"):
            influxdb.query("alerts", "SELECT * FROM anomaly_alerts")
        influxdb.start()
        influxdb.write("alerts", ["anomaly_alerts,job=b value=2i 2000"])
        assert influxdb.query("alerts", "SELECT * FROM anomaly_alerts") == [
            {"time": 1000, "job": "a", "type": "x", "value": 1, "message": "one"},
            {"time": 2000, "job": "b", "value": 2},
        ]
        summed = influxdb.query("alerts", "SELECT sum(value) AS n FROM anomaly_alerts GROUP BY job")
        assert summed == [{"job": "a", "time": 0, "n": 1}, {"job": "b", "time": 0, "n": 2}]
        with pytest.raises(ProgramError, match="error parsing query"):
            influxdb.query("alerts", "SELEKT 1")
        with pytest.raises(ProgramError, match=r"400.*unable to parse"):
            influxdb.write("alerts", ["anomaly_alerts"])
        port, directory = influxdb.port, influxdb.directory
    assert not directory.exists()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_influxdb_with_a_user_answers_nobody_else() -> None:
    _need(InfluxDB)
    with InfluxDB(databases=["alerts"], user=("writer", "secret")) as influxdb:
        influxdb.write("alerts", ["m value=1i 1000"])
        assert influxdb.query("alerts", "SELECT value FROM m") == [{"time": 1000, "value": 1}]
        with pytest.raises(ProgramError, match="401"):
            influxdb.request("/query", parameters={"q": "SHOW DATABASES"})


def test_alertmanager_shows_alerts_and_silences_them(alertmanager: Alertmanager) -> None:
    labels = {"alertname": "of_this_test", "severity": "high", "key": 'a"b'}
    alertmanager.post({"labels": labels, "annotations": {"summary": "so"}})
    matcher = 'alertname="of_this_test"'
    _until(lambda: len(alertmanager.alerts(matcher)) == 1)
    assert alertmanager.alerts(matcher)[0]["labels"] == labels
    assert alertmanager.alerts(matcher, 'severity="low"') == []
    silence = alertmanager.silence(alertname="of_this_test")
    _until(lambda: alertmanager.alerts(matcher)[0]["status"]["silencedBy"] == [silence])
    alertmanager.expire(silence)
    _until(lambda: alertmanager.alerts(matcher)[0]["status"]["silencedBy"] == [])


def test_a_program_that_refuses_its_settings_says_why() -> None:
    _need(Alertmanager)
    with pytest.raises(ProgramError, match=r"(?s)not ready.*undefined receiver"):
        Alertmanager(configuration="route: {receiver: missing}\nreceivers: [{name: other}]\n")


def test_prometheus_scrapes_and_alerts(alertmanager: Alertmanager, influxdb: InfluxDB, tmp_path: Path) -> None:
    _need(Prometheus)
    rules = tmp_path / "rules.yml"
    rules.write_text("groups: [{name: g, rules: [{alert: Seen, expr: 'up == 1', labels: {severity: low}}]}]")
    targets = {"influx": f"127.0.0.1:{influxdb.port}"}
    with Prometheus.of(targets, rules=[rules], alertmanager=f"127.0.0.1:{alertmanager.port}") as prometheus:
        up = prometheus.wait_for('up{job="influx"} == 1')
        assert up[0]["metric"]["instance"] == f"127.0.0.1:{influxdb.port}"
        _until(lambda: [alert["state"] for alert in prometheus.alerts()] == ["firing"])
        _until(lambda: len(alertmanager.alerts('alertname="Seen"')) == 1)
        with pytest.raises(ProgramError, match="parse error"):
            prometheus.query("up{")
