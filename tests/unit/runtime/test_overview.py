"""What the web is told about a worker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from anomaly_app.formats.records import Decoded
from anomaly_app.jobs.task import PartitionTask
from anomaly_app.runtime.overview import Overview
from anomaly_app.runtime.stage import DetectStage


async def test_unreadable_records_that_are_let_go_are_counted() -> None:
    feed = SimpleNamespace(decode=lambda records, now: Decoded([], [], ignored=2), max_ahead_ms=0)
    pipeline: Any = SimpleNamespace(feeds=[feed], plan=SimpleNamespace(slots={}))
    stage = DetectStage(pipeline, "t", 0, 0, None, PartitionTask([]))
    stage.process([SimpleNamespace(offset=0), SimpleNamespace(offset=1)], 5)
    stage.process([SimpleNamespace(offset=2)], 5)
    writer, lookups = SimpleNamespace(repeated=3), SimpleNamespace(counters=lambda: {"lookup_rows_rejected": 2})
    worker: Any = SimpleNamespace(stages={("t", 0): [stage]}, writer=writer, lookups=lookups)
    assert Overview(worker).counters() == {"repeated_outputs": 3, "unreadable_ignored": 4, "lookup_rows_rejected": 2}
