"""Event time from a number in the record: windows by it, and records without a time are set apart."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.worker import Sent, WorkerProcess, read, send

START = 1_767_258_000_000
"""2026-01-01 09:00:00 in UTC; the records are sent much later."""

JOB = """
CREATE TABLE readings (
    device STRING,
    temp DOUBLE,
    ms BIGINT,
    name AS UPPER(device),
    event_time AS TO_TIMESTAMP_LTZ(ms, 3),
    kind STRING METADATA FROM 'timestamp-type' VIRTUAL,
    h MAP<STRING, BYTES> METADATA FROM 'headers' VIRTUAL,
    WATERMARK FOR event_time AS event_time - INTERVAL '1' SECOND * 5
) WITH ('connector' = 'kafka', 'topic' = 'readings', 'format' = 'json', 'scan.startup.mode' = 'earliest-offset');
CREATE TABLE hottest (name STRING, at TIMESTAMP(3), temp DOUBLE, kind STRING, headers BIGINT) WITH (
    'connector' = 'kafka', 'topic' = 'hottest', 'format' = 'json'
);
INSERT INTO hottest
SELECT name, window_start, MAX(temp), MAX(kind), MAX(CARDINALITY(h))
FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(event_time), INTERVAL '1' MINUTE))
GROUP BY name, window_start, window_end;
"""


@pytest.mark.timeout(120)
def test_a_number_of_milliseconds_as_event_time(tmp_path: Path) -> None:
    job = tmp_path / "job.sql"
    job.write_text(JOB)
    times = [START, START + 10_000, None, START + 20_000, START * 1_000, START + 75_000]
    values = [{"device": "d1", "temp": 20.5 + number, "ms": ms} for number, ms in enumerate(times)]
    with EmbeddedBroker("readings") as broker:
        sent = [Sent(b"d1", json.dumps(value).encode()) for value in values]
        asyncio.run(send(broker.bootstrap_servers, "readings", sent))
        settings = {
            "kafka.bootstrap_servers": broker.bootstrap_servers,
            "worker.app_id": "event-time",
            "worker.data_dir": tmp_path / "state",
            "worker.bounded": "true",
        }
        with WorkerProcess(settings, job) as worker:
            assert worker.wait() == 0, worker.output
        rows = [json.loads(record.value) for record in asyncio.run(read(broker.bootstrap_servers, "hottest"))]
        letters = asyncio.run(read(broker.bootstrap_servers, "readings.dlq"))
        late = asyncio.run(read(broker.bootstrap_servers, "readings.late"))
    kind = {"kind": "CreateTime", "headers": 0}
    assert sorted(rows, key=lambda row: str(row["at"])) == [
        {"name": "D1", "at": "2026-01-01 09:00:00", "temp": 23.5, **kind},
        {"name": "D1", "at": "2026-01-01 09:01:00", "temp": 25.5, **kind},
    ]
    assert [json.loads(letter.value) for letter in letters] == [values[2], values[4]]
    reasons = {dict(letter.headers)["anomaly-error"] for letter in letters}
    assert reasons == {b"the event time event_time, TO_TIMESTAMP_LTZ(ms, 3), is NULL"}
    assert late == []
