"""The packaged jobs over alerts, in query() and on files."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from anomaly_app import Rows, query
from anomaly_app.alerts.values import iso_time
from anomaly_app.cli import main

ALARM = files("anomaly_app.jobs").joinpath("alert_alarm.sql").read_text()
RATE = files("anomaly_app.jobs").joinpath("alert_rate.sql").read_text()
START = 1_767_258_000_000
MINUTE = 60_000


def alert(minute: float, job: str = "cards", severity: str = "high", **changes: Any) -> dict[str, Any]:
    """As it stands in the topic, less what the jobs do not read."""
    return {
        "id": f"{job}-{minute}", "job": job, "type": "window", "severity": severity, "key": {"userId": "ann"},
        "event_time": iso_time(START), "detected_at": iso_time(START + round(minute * MINUTE)),
        "source": {"topic": "transactions", "partition": 0, "offset": 7},
    } | changes  # fmt: skip


def on_file(path: Path, job: str, alerts: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> list[Any]:
    file = path / "alerts.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in alerts))
    name = str(files("anomaly_app.jobs").joinpath(f"{job}.sql"))
    assert main(["query", name, "--table", f"anomaly_alerts={file}", "--json"]) == 0
    return list(json.loads(capsys.readouterr().out)["rows"])


def rows_of(sql: str, alerts: list[dict[str, Any]], **parameters: str) -> list[Any]:
    columns = [("job", "STRING"), ("type", "STRING"), ("severity", "STRING"), ("detected_at", "TIMESTAMP_LTZ(3)")]
    if sql is RATE:
        del columns[2]
    columns += [("source", "ROW<topic STRING>")]
    values = [
        (*(each[name] for name, _ in columns[:-2]), each["detected_at"], (each["source"]["topic"],)) for each in alerts
    ]
    return query(sql, {"anomaly_alerts": Rows(columns, values, rowtime="detected_at")}, parameters=parameters).rows


def test_two_alerts_in_five_minutes_are_an_alarm_and_one_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alerts = [alert(0), alert(4.9, "orders", "critical"), alert(5), alert(21), alert(24), alert(24.5)]
    found = on_file(tmp_path, "alert_alarm", alerts, capsys)
    assert [(row["window_start"][11:16], row["alerts"], row["severity"], row["alarm"]) for row in found] == [
        ("09:00", 2, "critical", "ALARM: 2 alerts from 09:00:00 to 09:05:00 UTC, of cards, orders"),
        ("09:20", 3, "high", "ALARM: 3 alerts from 09:20:00 to 09:25:00 UTC, of cards"),
    ]
    rows = rows_of(ALARM, alerts)
    assert [(row[2], row[4], row[5]) for row in rows] == [(r["alerts"], r["severity"], r["alarm"]) for r in found]


@pytest.mark.parametrize(
    "other",
    [
        {"job": "alert_alarm", "source": {"topic": "anomaly.alerts"}},
        {"job": "alert_rate", "source": {"topic": "anomaly.alerts"}},
        {"job": "alert_alarm", "source": {"topic": "alerts.by.another.name"}},
        {"job": "my_alarm", "source": {"topic": "anomaly.alerts"}},
        {"type": "silence"},
        {"type": "silence_over"},
    ],
    ids=str,
)
def test_alerts_about_alerts_and_silences_do_not_count(other: dict[str, Any]) -> None:
    assert rows_of(ALARM, [alert(0), alert(1, **other), alert(2, **other)]) == []
    assert len(rows_of(ALARM, [alert(0), alert(1, **other), alert(2)])) == 1
    burst = [alert(5 * window, **other) for window in range(30)] + [alert(150 + n / 100, **other) for n in range(200)]
    assert rows_of(RATE, sorted(burst, key=lambda each: each["detected_at"])) == []


def test_a_job_that_gives_more_alerts_than_it_does_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    usual = [alert(5 * window + n, "cards") for window in range(40) for n in range(2 + window % 3)]
    always_many = [alert(5 * window + n / 10, "orders") for window in range(40) for n in range(29 + window % 3)]
    burst = [alert(5 * 36 + n / 20, "cards") for n in range(20)]
    alerts = sorted([*usual, *always_many, *burst], key=lambda each: each["detected_at"])
    (row,) = on_file(tmp_path, "alert_rate", alerts, capsys)
    assert (row["alert_job"], row["window_start"][11:16], row["alerts"]) == ("cards", "12:00", 22)
    assert 2 < row["expected"] < 4 and row["upper_bound"] < 22
    assert [(found[0], found[3]) for found in rows_of(RATE, alerts)] == [("cards", 22)]


def test_fewer_alerts_than_usual_are_no_alarm() -> None:
    usual = [alert(5 * window + n / 10) for window in range(30) for n in range(20 + window % 3)]
    assert rows_of(RATE, [*usual, alert(150)]) == []


def test_the_alerts_may_stand_in_another_topic() -> None:
    about = alert(1, job="mine", source={"topic": "found"})
    assert len(rows_of(ALARM, [alert(0), about])) == 1
    assert rows_of(ALARM, [alert(0), about], **{"alerts.topic": "found"}) == []
    assert rows_of(ALARM, [alert(0), alert(1), alert(2)], **{"alerts.alarm.most": "3"}) == []


def test_they_can_be_checked_like_any_other_job(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("alert_alarm", "alert_rate"):
        assert main(["check", str(files("anomaly_app.jobs").joinpath(f"{name}.sql"))]) == 0
        assert "right" in capsys.readouterr().out
