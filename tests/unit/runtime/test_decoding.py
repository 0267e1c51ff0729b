"""Plans of one source share the work of decoding, and get what each would have got by itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiokafka.structs import ConsumerRecord

from anomaly_app.formats.records import RecordDecoder
from anomaly_app.jobs.binder import bind_job
from anomaly_app.runtime.decoding import share_decoding
from anomaly_app.runtime.pipeline import Pipeline
from anomaly_app.runtime.registries import Registries
from anomaly_app.settings import LoadedSettings, Settings

TABLE = """CREATE TABLE {name} (k STRING, v INT, w {w}, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'events', 'format' = 'json'{options});"""
COUNT = """SELECT {key}, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE {table}, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
GROUP BY {key}, window_start, window_end;"""
THREE = "".join(COUNT.format(key=key, table="events") for key in ("k", "v", "w"))


def pipelines(statements: str = THREE, w: str = "STRING", options: str = "") -> list[Pipeline]:
    loaded = LoadedSettings(Settings())
    registries = Registries(loaded)
    text = TABLE.format(name="events", w=w, options=options) + statements
    job = bind_job(text, name="job", partitions={"events": 1})
    found = [Pipeline(job, plan, loaded.settings, 1, registries) for plan in job.plans]
    share_decoding(found, registries)
    return found


def record(offset: int, **fields: Any) -> Any:
    value = json.dumps(
        {"k": "a", "v": offset, "w": "x", "ts": f"2026-01-01 09:00:{offset % 60:02d}", **fields}
    ).encode()
    return ConsumerRecord("events", 0, offset, 0, 0, None, value, None, -1, len(value), ())


def raw(offset: int, value: bytes | None) -> Any:
    return ConsumerRecord("events", 0, offset, 0, 0, None, value, None, -1, len(value or b""), ())


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records each call of a decoder was about."""
    calls: list[int] = []
    decode = RecordDecoder.decode

    def count(self: RecordDecoder, records: Any, arrival_ms: int) -> Any:
        calls.append(len(records))
        return decode(self, records, arrival_ms)

    monkeypatch.setattr(RecordDecoder, "decode", count)
    return calls


def by_itself(pipeline: Pipeline, records: list[Any]) -> tuple[list[Any], list[int], int]:
    alone = RecordDecoder(pipeline.source, pipeline.plan.layout).decode(records, 5)
    return alone.rows, [bad.offset for bad, _ in alone.bad], alone.ignored


def together(pipeline: Pipeline, records: list[Any]) -> tuple[list[Any], list[int], int]:
    found = pipeline.feeds[0].decode(records, 5)
    return found.rows, [bad.offset for bad, _ in found.bad], found.ignored


def test_a_batch_is_decoded_once_for_all_plans(decoded: list[int]) -> None:
    plans = pipelines()
    assert len({pipeline.plan.layout for pipeline in plans}) == 3
    for first in (0, 100):
        batch = [record(offset) for offset in range(first, first + 50)]
        found = [together(pipeline, batch) for pipeline in plans]
        assert len(decoded) == 1
        decoded.clear()
        assert found == [by_itself(pipeline, batch) for pipeline in plans]
        decoded.clear()


def test_what_one_plan_cannot_read_another_one_may() -> None:
    plans = pipelines(w="ROW<a INT>")
    batch = [record(0, w={"a": 1}), record(1, w={"a": "hot"}), record(2, v="cold", w=None), record(3, w={})]
    batch += [raw(4, None), raw(5, b"{"), record(6, w={"a": 2})]
    found = [together(pipeline, batch) for pipeline in plans]
    assert found == [by_itself(pipeline, batch) for pipeline in plans]
    assert [bad for _, bad, _ in found] == [[4, 5], [2, 4, 5], [1, 4, 5]]
    assert [[row[1] for row in rows] for rows, _, _ in found] == [[0, 1, 2, 3, 6], [0, 1, 3, 6], [0, 2, 3, 6]]


def test_records_that_a_format_passes_over_are_passed_over_by_each_plan() -> None:
    plans = pipelines(w="INT NOT NULL", options=", 'json.ignore-parse-errors' = 'true'")
    batch = [record(0, w=1), record(1, w="hot"), raw(2, b"{"), record(3, v="cold", w=2)]
    found = [together(pipeline, batch) for pipeline in plans]
    assert found == [by_itself(pipeline, batch) for pipeline in plans]
    assert [ignored for _, _, ignored in found] == [1, 1, 1]


def test_a_plan_that_begins_further_on_or_stays_away_gets_its_own_records() -> None:
    plans = pipelines()
    batch = [record(offset) for offset in range(10)]
    assert together(plans[0], batch) == by_itself(plans[0], batch)
    assert together(plans[1], batch[4:]) == by_itself(plans[1], batch[4:])
    assert together(plans[2], batch) == by_itself(plans[2], batch)
    later = [record(offset) for offset in range(10, 20)]
    for pipeline in reversed(plans):
        assert together(pipeline, later) == by_itself(pipeline, later)


def test_tables_that_read_a_topic_in_different_ways_share_nothing(decoded: list[int]) -> None:
    other = TABLE.format(name="others", w="INT", options="") + COUNT.format(key="w", table="others")
    plans = pipelines(THREE + other)
    batch = [record(offset, w=str(offset)) for offset in range(5)]
    found = [together(pipeline, batch) for pipeline in plans]
    assert decoded == [5, 5]
    assert found == [by_itself(pipeline, batch) for pipeline in plans]
