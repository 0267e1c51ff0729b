"""What a query with a detector writes: every row as a result, and an alert for each that is flagged."""

from __future__ import annotations

import json

import pytest
from sample_detector import use_sample_functions

from anomaly_app.alerts.severity import severity_of
from anomaly_app.jobs.binder import bind_job
from anomaly_app.runtime.detect_stage import DetectStage
from anomaly_app.runtime.pipeline import Pipeline
from anomaly_app.runtime.registries import Registries
from anomaly_app.settings import LoadedSettings, Settings

START = 1_767_258_000_000
JOB = """
CREATE TABLE orders (customer_id INT, price DOUBLE, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'orders', 'format' = 'json');
CREATE TABLE judged (price DOUBLE, flag BOOLEAN{more})
WITH ('connector' = 'kafka', 'topic' = 'judged', 'format' = 'json');
{insert} SELECT price, r.is_anomaly AS flag{select} FROM (
    SELECT *, ML_DETECT_ANOMALIES(price, $rowtime) OVER (PARTITION BY customer_id ORDER BY $rowtime) AS r FROM orders
) {where};
"""
PRICES = [50, 52, 48, 50, 99.5, 51, 5]


@pytest.fixture(autouse=True)
def sample_functions(monkeypatch):
    use_sample_functions(monkeypatch)


def written(insert="INSERT INTO judged", where="", select="", more=""):
    """Values of the results and alerts of some orders of one customer."""
    job = bind_job(JOB.format(insert=insert, where=where, select=select, more=more), name="unusual")
    (plan,) = job.plans
    loaded = LoadedSettings(Settings())
    pipeline = Pipeline(job, plan, loaded.settings, 1, Registries(loaded))
    stage = DetectStage(pipeline, "orders", 0, 1, None, plan.create_task())
    rows = [(START + 1_000 * number, number, 3020, price) for number, price in enumerate(PRICES)]
    assert [column.name for column in plan.layout.columns] == ["customer_id", "price"]
    stage.task.process(rows, end=len(rows))
    stage.task.finish()
    output = stage.task.take()
    stage.keep(output)
    flush = stage.gather(START)
    found = [(record.topic, json.loads(record.value), record.id) for record in flush.records]
    assert [alert.id for alert in flush.alerts] == [id_ for topic, _, id_ in found if topic == "anomaly.alerts"]
    return (
        [(value, id_) for topic, value, id_ in found if topic == "judged"],
        [value for topic, value, _ in found if topic == "anomaly.alerts"],
    )


def test_every_row_is_a_result_and_flagged_ones_are_alerts():
    results, alerts = written()
    assert [value["price"] for value, _ in results] == PRICES
    assert [value["flag"] for value, _ in results] == [None, None, None, False, True, False, False]
    (alert,) = alerts
    assert len({id_ for _, id_ in results}) == len(results)
    assert alert["id"] == results[4][1]
    assert (alert["type"], alert["key"], alert["rows"], alert["source"]["offset"]) == (
        "anomaly", {"customer_id": 3020}, [], 4,
    )  # fmt: skip
    assert alert["event_time"] == "2026-01-01T09:00:04.000Z"
    assert alert["payload"] == {"price": 99.5, "flag": True}
    assert alert["score"] == pytest.approx(49.5 / (3 * 2**0.5)) and alert["severity"] == "critical"
    assert alert["explanation"] == (
        "customer_id 3020 at 2026-01-01 09:00:04.000: price 99.5 is above the upper bound 54.24 (forecast 50.00). "
        "Rule: ML_DETECT_ANOMALIES(price) for each customer_id."
    )


def test_a_bare_select_makes_alerts_only():
    results, alerts = written(insert="")
    assert results == [] and [alert["payload"]["price"] for alert in alerts] == [99.5]


def test_a_filter_around_keeps_a_flagged_row_from_being_an_alert():
    results, alerts = written(where="WHERE r.actual_value < r.lower_bound")
    assert results == alerts == []


def test_the_query_may_say_how_bad_it_is():
    _, (alert,) = written(select=", 'low' AS severity, 0.95 AS score", more=", severity STRING, score DOUBLE")
    assert (alert["severity"], alert["score"]) == ("low", 0.95)


@pytest.mark.parametrize(
    ("score", "severity"),
    [
        (1.01, "low"),
        (1.25, "medium"),
        (2, "high"),
        (3, "critical"),
        (0.95, "critical"),
        (0.5, "medium"),
        (None, "medium"),
    ],
)
def test_severity_by_score_of_the_detector(score, severity):
    assert severity_of({}, score) == severity
    assert severity_of({"severity": "high"}, score) == "high"
    assert severity_of({"score": 1e6}, score) == "medium"
