"""What the stages of a partition have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from anomaly_app.alerts.silent_source import SilenceWatch
from anomaly_app.jobs.checkpoint import Checkpoint
from anomaly_app.jobs.model import Job
from anomaly_app.jobs.topic_tables import Format, Source
from anomaly_app.operators import MAX_WATERMARK
from anomaly_app.runtime.cancel import cancel
from anomaly_app.runtime.lookups import Lookups
from anomaly_app.runtime.registries import Registries
from anomaly_app.runtime.stage import SILENCE_KEY, Flush, Pending, Stage
from anomaly_app.runtime.worker import Worker
from anomaly_app.schema import Schema
from anomaly_app.settings import LoadedSettings, Settings
from anomaly_app.tables.state import CHECKPOINT, Entries, decode


class Quiet(Stage):
    def fill(self, flush: Flush, now_ms: int) -> None:
        flush.changes = [(b"operator", b"state")]


def watching() -> Quiet:
    pipeline: Any = SimpleNamespace(alert_topic="alerts")
    feed: Any = SimpleNamespace(idle_timeout_s=10.0)
    stage = Quiet(pipeline, feed, "orders", 0, 1, None)
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


class Bounded(Stage):
    """A stage over two offsets, whose time ends with them."""

    def __init__(self) -> None:
        pipeline: Any = SimpleNamespace(name="plan", state_table=lambda feed: "plan-state")
        super().__init__(pipeline, SimpleNamespace(idle_timeout_s=10.0), "orders", 0, 1, 2)
        self.time, self.processed = 0, 0

    def process(self, records: Sequence[Any], now_ms: int) -> None:
        self.processed += len(records)
        self.time += 1

    def fill(self, flush: Flush, now_ms: int) -> None:
        flush.checkpoint = Checkpoint(next_position=self.position, watermark=self.time)

    def finish(self, now_ms: int) -> Flush:
        self.time = MAX_WATERMARK
        return Flush()


class Told:
    """What a worker writes."""

    def __init__(self) -> None:
        self.written: dict[str, list[int]] = {}
        self.watermarks: list[int] = []
        self.ticked: Bounded | None = None
        """The watch's tick comes once, between the end of the run and the exit."""

    async def write(self, records: Sequence[Any]) -> None:
        if self.ticked is not None and self.ticked.time == MAX_WATERMARK:
            ticked, self.ticked = self.ticked, None
            ticked.touch()
        await asyncio.sleep(0)

    async def changelogs(self, given: Sequence[tuple[str, int, Entries]]) -> Sequence[int]:
        written = [entry for _, _, entries in given for entry in entries]
        stored = [decode(value) for key, value in written if key == CHECKPOINT and value is not None]
        self.watermarks += [one.checkpoint.watermark for one in stored]
        return [0] * len(given)


def batch(*offsets: int) -> tuple[Pending, Any]:
    records = [SimpleNamespace(offset=offset) for offset in offsets]
    taken: Any = SimpleNamespace(records=records, highwater=offsets[-1] + 1, epoch=1, dropped=False)
    return Pending(SimpleNamespace(value=taken, ack=lambda: None), 1), taken


async def test_nothing_is_written_or_taken_behind_the_end_of_a_bounded_run() -> None:
    """A checkpoint from behind it would say that time has ended: the rows of the next run would all be late."""
    told: Any = Told()
    settings = LoadedSettings(Settings())
    worker = Worker(settings, [], [], told, Lookups(settings, {}, Registries(settings), {}))
    tables: Any = {"plan-state": SimpleNamespace(changelog="changelog", write=lambda *_: None)}
    worker.tables.update(tables)
    stage = Bounded()
    worker.stages = {("orders", 0): [stage]}
    flusher = asyncio.create_task(worker.rounds.run([stage], 0))
    try:
        told.ticked = stage
        await stage.take(*batch(0, 1), 0)
        await asyncio.wait_for(worker.finished.wait(), 5)
        stage.touch()
        pending, later = batch(2, 3)
        await stage.take(pending, later, 0)
        await asyncio.sleep(0.01)
    finally:
        await cancel([flusher])
    assert set(told.watermarks) == {1}
    assert stage.processed == 2 and stage.position == 2 and later.dropped
    assert worker.flushes.cumulated()[-1][1] == len(told.watermarks) + 1, "each flush is measured, the last one too"
    assert stage.settled.is_set(), "a worker that stops does not wait for it"
