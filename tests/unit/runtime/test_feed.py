"""A table is decoded once for all plans of a job that read it, and a plan loses no row for another's columns."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiokafka.structs import ConsumerRecord

from anomaly_app.formats.records import RecordDecoder
from anomaly_app.jobs.binder import bind_job
from anomaly_app.runtime.feed import Feed, TableReader
from anomaly_app.runtime.pipeline import Pipeline
from anomaly_app.runtime.registries import Registries
from anomaly_app.settings import load_settings

JOB = """CREATE TABLE t (k STRING, n INT, v INT, w INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH (
    'connector' = 'kafka', 'topic' = 't', 'properties.bootstrap.servers' = 'x:1', 'format' = 'json');
    SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES B.v AS v PATTERN (A B)
        DEFINE B AS B.v > A.v);
    SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY n ORDER BY ts MEASURES B.w AS w PATTERN (A B)
        DEFINE B AS B.w > A.w);
    SELECT v, n FROM t"""


def feeds() -> list[Feed]:
    loaded = load_settings({}, environ={})
    job = bind_job(JOB, name="job")
    readers: dict[tuple[str, str], TableReader] = {}
    pipelines = [Pipeline(job, plan, loaded.settings, 4, Registries(loaded), readers=readers) for plan in job.plans]
    assert list(readers) == [("t", "t")]
    return [feed for pipeline in pipelines for feed in pipeline.feeds]


def record(offset: int, value: dict[str, Any]) -> Any:
    data = json.dumps({"ts": f"1970-01-01 00:00:0{offset}.000", **value}).encode()
    return ConsumerRecord("t", 0, offset, 0, 0, None, data, None, -1, len(data), ())


async def rows_of(feed: Feed, records: list[Any]) -> list[Any]:
    await feed.prepare(records, 0)
    decoded = feed.decode(records, 0)
    return [*decoded.rows, *(bad.offset for bad, _ in decoded.bad)]


async def test_three_keys_over_one_topic_decode_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    decode = RecordDecoder.decode
    monkeypatch.setattr(RecordDecoder, "decode", lambda *args: decoded.append(1) or decode(*args))
    records = [record(n, {"k": "a", "n": 1, "v": 2, "w": 3}) for n in range(3)]
    found = [await rows_of(feed, records) for feed in feeds()]
    assert found == [
        [(n * 1_000, n, "a", 2, n * 1_000) for n in range(3)],
        [(n * 1_000, n, 1, 3, n * 1_000) for n in range(3)],
        [(n * 1_000, n, 1, 2) for n in range(3)],
    ]
    assert len(decoded) == 1


async def test_a_record_is_bad_only_for_plans_that_read_its_bad_column() -> None:
    records = [record(0, {"k": "a", "n": 1, "v": 2, "w": "x"}), record(1, {"k": "b", "n": 1, "v": "y", "w": 3})]
    found = [await rows_of(feed, records) for feed in feeds()]
    assert found == [[(0, 0, "a", 2, 0), 1], [(1_000, 1, 1, 3, 1_000), 0], [(0, 0, 1, 2), 1]]
