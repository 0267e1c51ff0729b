"""What the stages of a partition have in common."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from anomaly_app.alerts.silence import SilenceWatch
from anomaly_app.jobs.model import Format, Job, Source
from anomaly_app.runtime.stage import SILENCE_KEY, Flush, Stage
from anomaly_app.schema import Schema


class Quiet(Stage):
    def fill(self, flush: Flush, now_ms: int) -> None:
        flush.changes = [(b"operator", b"state")]


def watching() -> Quiet:
    pipeline: Any = SimpleNamespace(idle_timeout_s=10.0, alert_topic="alerts")
    stage = Quiet(pipeline, "orders", 0, 1, None)
    source = Source("sales", Schema(()), "orders", Format("json"))
    stage.silence = SilenceWatch(Job("job", "1", "", "", ()), source, 60_000)
    return stage


def test_a_silence_is_flushed_with_the_state_and_only_when_there_is_news() -> None:
    stage = watching()
    stage.observe([4, 7], 0)
    assert stage.dirty
    first = stage.gather(0)
    assert [key for key, _ in first.changes] == [b"operator", SILENCE_KEY] and not first.records
    stage.observe([4, 7], 59_999)
    assert not stage.dirty
    stage.observe([4, 7], 60_000)
    told = stage.gather(60_000)
    assert [key for key, _ in told.changes] == [b"operator", SILENCE_KEY]
    assert [(record.topic, record.id) for record in told.records] == [("alerts", told.alerts[0].id)]
    stage.touch()
    assert [key for key, _ in stage.gather(60_001).changes] == [b"operator"]


def test_rows_of_other_partitions_do_not_keep_a_partition_from_being_idle() -> None:
    stage = watching()
    stage.tick(0.0)
    stage.tick(10.0)
    assert stage.idle
    stage.observe([4, 8], 11_000)
    stage.tick(11.0)
    assert stage.dirty and stage.idle
