"""The packaged jobs over alerts on the worker: by the clock, and without feeding each other."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from sales_run import until

from anomaly_app.alerts.values import iso_time
from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.worker import Sent, WorkerProcess, read, send

ALERTS = "anomaly.alerts"


def packaged(folder: Path, name: str, *changes: tuple[str, str]) -> Path:
    text = files("anomaly_app.jobs").joinpath(f"{name}.sql").read_text()
    for old, new in (("latest-offset", "earliest-offset"), *changes):
        assert old in text
        text = text.replace(old, new)
    path = folder / f"{name}.sql"
    path.write_text(text)
    return path


def sent(number: int, at_ms: int) -> Sent:
    value = {
        "id": f"{number:032x}", "job": "cards", "type": "window", "severity": "high", "key": {"userId": "ann"},
        "detected_at": iso_time(at_ms), "source": {"topic": "transactions", "partition": 0, "offset": number},
    }  # fmt: skip
    return Sent(b"ann", json.dumps(value).encode(), None, number % 4)


def alerts_of(servers: str) -> list[dict[str, Any]]:
    return [json.loads(record.value) for record in asyncio.run(read(servers, ALERTS))]


def settings(servers: str, folder: Path) -> dict[str, object]:
    return {
        "kafka.bootstrap_servers": servers,
        "worker.app_id": f"watching-{time.time_ns()}",
        "worker.data_dir": folder / "state",
        "worker.idle_timeout_s": 1,
        "kafka.session_timeout_s": 6,
    }


@pytest.mark.timeout(120)
def test_an_alarm_comes_by_the_clock_and_makes_no_other(tmp_path: Path) -> None:
    """No alert comes behind those of the alarm, which would end their window."""
    short = (("INTERVAL '5' SECOND", "INTERVAL '1' SECOND"), ("'5 s'", "'1 s'"))
    # Every rate is unusual, and one alert an alarm: if alerts about alerts counted, they would never end.
    alarm = packaged(tmp_path, "alert_alarm", *short, ("'alerts.alarm.most' = '1'", "'alerts.alarm.most' = '0'"))
    rate = packaged(
        tmp_path, "alert_rate", *short, ("INSERT INTO", "SET 'anomaly.alerts' = 'all';\nINSERT INTO"),
        ("WHERE rate.is_anomaly AND alerts > rate.upper_bound", "WHERE rate.is_anomaly IS NULL"),
    )  # fmt: skip
    with EmbeddedBroker() as embedded:
        servers = embedded.bootstrap_servers
        embedded.touch(ALERTS)
        given = settings(servers, tmp_path) | {
            "parameters.alerts.alarm.window": "2 s", "parameters.alerts.rate.window": "2 s"
        }  # fmt: skip

        def about_alerts() -> Counter[str]:
            return Counter(each["job"] for each in alerts_of(servers) if each["job"] != "cards")

        with WorkerProcess(given, alarm, rate) as worker:
            worker.wait_ready()
            now = time.time_ns() // 1_000_000
            asyncio.run(send(servers, ALERTS, [sent(number, now) for number in range(5)]))
            until(lambda: len(about_alerts()) == 2, worker, "the alarm")
            time.sleep(5)  # more than two windows
            once = about_alerts()
            worker.kill()
        with WorkerProcess(given, alarm, rate) as worker:
            worker.wait_ready()
            time.sleep(5)
            assert about_alerts() == once == {"alert_alarm": 1, "alert_rate": 1}, worker.output
        assert asyncio.run(read(servers, f"{ALERTS}.late")) == []
        (alarmed,) = asyncio.run(read(servers, "alert.alarms"))
        said = json.loads(alarmed.value)["alarm"]
        assert said.startswith("ALARM: 5 alerts from ") and said.endswith(" UTC, of cards")
        told = next(each for each in alerts_of(servers) if each["job"] == "alert_alarm")
        assert (told["severity"], told["type"], told["source"]["topic"]) == ("high", "window", ALERTS)


def test_a_rate_that_was_never_seen_is_an_alert(tmp_path: Path) -> None:
    counts = [3 + window % 3 for window in range(40)]
    counts[35] = 40
    at = [
        1_767_258_000_000 + window * 300_000 + number * 5_000
        for window, count in enumerate(counts)
        for number in range(count)
    ]
    with EmbeddedBroker() as embedded:
        servers = embedded.bootstrap_servers
        embedded.touch(ALERTS)
        in_order = [sent(number, at_ms)._replace(partition=0) for number, at_ms in enumerate(at)]
        asyncio.run(send(servers, ALERTS, in_order))
        jobs = packaged(tmp_path, "alert_rate"), packaged(tmp_path, "alert_alarm")
        with WorkerProcess({**settings(servers, tmp_path), "worker.bounded": "true"}, *jobs) as worker:
            assert worker.wait() == 0, worker.output
        found = [each for each in alerts_of(servers) if each["job"] != "cards"]
    (rate,) = [each for each in found if each["job"] == "alert_rate"]
    assert (rate["type"], rate["key"], rate["payload"]["alerts"]) == ("anomaly", {"alert_job": "cards"}, 40)
    assert sum(each["job"] == "alert_alarm" for each in found) == 40
