"""Which rows of a job's statements are alerts, and which rows are late for which query."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiokafka.structs import ConsumerRecord
from sample_detector import use_sample_functions

from anomaly_app.errors import SqlValidationError
from anomaly_app.jobs.binder import bind_job
from anomaly_app.runtime.detect_stage import DetectStage
from anomaly_app.runtime.pipeline import Pipeline
from anomaly_app.runtime.registries import Registries
from anomaly_app.settings import LoadedSettings, Settings

TABLES = """
CREATE TABLE events (k STRING, v INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'events', 'format' = 'json');
CREATE TABLE found (k STRING, v INT) WITH ('connector' = 'kafka', 'topic' = 'found', 'format' = 'json');
"""
SELECTION = "SELECT k, v FROM events WHERE v > 1"
WINDOW = """SELECT k, SUM(v) AS v FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY k, window_start, window_end"""
HAVING = f"{WINDOW} HAVING SUM(v) > 1"
PATTERN = """SELECT k, v FROM events MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES B.v AS v
AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE B AS B.v > A.v)"""
DETECTOR = """SELECT k, v FROM (SELECT k, v, ML_DETECT_ANOMALIES(CAST(v AS DOUBLE), $rowtime)
OVER (PARTITION BY k ORDER BY $rowtime) AS r FROM events)"""
INSERT = "INSERT INTO found "
VALUES = [5, 1, 2, 3, 99, 4]
ROWS = [("a", value, f"2026-01-01 09:00:0{number}.000") for number, value in enumerate(VALUES)]


@pytest.fixture(autouse=True)
def sample_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    use_sample_functions(monkeypatch)


def run(statements: str, rows: list[tuple[str, int, str]] = ROWS) -> tuple[dict[str, list[Any]], list[Pipeline]]:
    """Records by topic; everything in one flush and at the end."""
    loaded = LoadedSettings(Settings())
    job = bind_job(TABLES + statements, name="job", partitions={"events": 1})
    topics: dict[str, list[Any]] = {}
    pipelines = []
    for plan in job.plans:
        pipeline = Pipeline(job, plan, loaded.settings, 1, Registries(loaded))
        pipelines.append(pipeline)
        stage = DetectStage(pipeline, "events", 0, 1, None, plan.create_task())
        records = []
        for offset, (k, v, ts) in enumerate(rows):
            value = json.dumps({"k": k, "v": v, "ts": ts}).encode()
            records.append(ConsumerRecord("events", 0, offset, 0, 0, None, value, None, -1, len(value), ()))
        stage.process(records, 1_800_000_000_000)
        flushes = [stage.gather(0)]
        stage.end_time()
        flushes.append(stage.finish(0))
        for flush in flushes:
            assert flush is not None
            for record in flush.records:
                topics.setdefault(record.topic, []).append(record.value)
    return topics, pipelines


AUTO = [
    ("a bare SELECT", SELECTION, 5),
    ("a bare SELECT over windows", WINDOW, 1),
    ("a filter into a table", INSERT + SELECTION, 0),
    ("windows into a table", INSERT + WINDOW, 0),
    ("windows that stand out, into a table", INSERT + HAVING, 1),
    ("a filter around windows is no HAVING", INSERT + f"SELECT k, v FROM ({WINDOW}) WHERE v > 1", 0),
    ("a HAVING below another query", INSERT + f"SELECT k, v FROM ({HAVING}) WHERE v > 1", 1),
    ("a pattern into a table", INSERT + PATTERN, 2),
    ("a detector into a table: flagged rows", INSERT + DETECTOR, 1),
    ("a bare detector: flagged rows", DETECTOR, 1),
]


@pytest.mark.parametrize(("sql", "alerts"), [case[1:] for case in AUTO], ids=[case[0] for case in AUTO])
@pytest.mark.parametrize("said", ["", "SET 'anomaly.alerts' = 'auto'; "])
def test_what_detects_gives_alerts(said: str, sql: str, alerts: int) -> None:
    topics, _ = run(said + sql)
    assert len(topics.get("anomaly.alerts", ())) == alerts
    if sql.startswith(INSERT):
        assert topics["found"]


@pytest.mark.parametrize("sql", [case[1] for case in AUTO], ids=[case[0] for case in AUTO])
def test_a_setting_decides_otherwise(sql: str) -> None:
    topics, _ = run(f"SET 'anomaly.alerts' = 'all'; {sql}")
    inserted = len(topics["found"]) if sql.startswith(INSERT) else len(topics["anomaly.alerts"])
    assert len(topics["anomaly.alerts"]) == inserted > 0
    topics, _ = run(f"SET 'anomaly.alerts' = 'none'; {sql}")
    assert "anomaly.alerts" not in topics


def test_a_setting_is_for_the_statements_behind_it() -> None:
    topics, _ = run(
        f"{INSERT}{SELECTION}; SET 'anomaly.alerts' = 'ALL'; {INSERT}{WINDOW}; SET 'anomaly.alerts' = 'auto'; "
        f"{INSERT}{SELECTION};"
    )
    assert [json.loads(alert)["payload"]["v"] for alert in topics["anomaly.alerts"]] == [sum(VALUES)]


def test_settings_are_checked_and_those_of_flink_are_passed_over() -> None:
    job = bind_job(TABLES + "SET 'execution.runtime-mode' = 'streaming'; " + SELECTION, name="job")
    assert job.warnings == ("SET 'execution.runtime-mode' has no meaning here and is ignored",)
    with pytest.raises(SqlValidationError, match="it must be 'all', 'none', 'auto' or 'where'"):
        bind_job(TABLES + "SET 'anomaly.alerts' = 'some'; " + SELECTION, name="job")
    with pytest.raises(SqlValidationError, match=r"did you mean anomaly\.alerts\?"):
        bind_job(TABLES + "SET 'anomaly.alert' = 'all'; " + SELECTION, name="job")
    job = bind_job(TABLES + "SET 'anomaly.alerts' = 'none'; " + SELECTION, name="job")
    assert "its rows go nowhere" in job.warnings[0] and job.warnings[0].startswith("line 5: ")


def test_a_row_may_be_late_for_one_query_and_in_time_for_another() -> None:
    rows = [
        ("a", 1, "09:00:05"),
        ("a", 9, "09:00:02"),
        ("a", 3, "09:00:15"),
        ("a", 4, "09:00:01"),
        ("a", 5, "09:00:16"),
    ]
    rows = [(k, v, f"2026-01-01 {time}.000") for k, v, time in rows]
    topics, pipelines = run(f"{INSERT}{SELECTION}; {INSERT}{WINDOW}; {INSERT}{PATTERN}", rows)
    late = {output.query.name: output.late for pipeline in pipelines for output in pipeline.outputs}
    assert late == {"found": 0, "found-2": 1, "found-3": 2}
    assert [json.loads(value)["v"] for value in topics["events.late"]] == [9, 4], "once for both queries of the key"
    found = [json.loads(value)["v"] for value in topics["found"]]
    assert sorted(found) == sorted([9, 3, 4, 5, 1 + 9, 3 + 5, 3])
