"""Fragments of a job without Kafka: topics in memory, and stages that crash where a test says so."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from aiokafka.structs import ConsumerRecord
from hypothesis import strategies as st

from anomaly_app.jobs.checkpoint import Checkpoint, Mark
from anomaly_app.runtime.frames import POSITION_BITS, bundled
from anomaly_app.runtime.outgoing import ID_HEADER
from anomaly_app.runtime.pipeline import Pipeline
from anomaly_app.runtime.repartition import MergeStage, ShuffleStage

NOW_MS = 10_000_000
WHAT = st.sampled_from(["", "flush", "flush", "lose", "crash"])
"""What becomes of what a stage has taken."""


def at(ms: int) -> str:
    return f"1970-01-01 00:00:{ms // 1000:02d}.{ms % 1000:03d}"


@dataclass
class Topic:
    """Records of a partition in memory.

    Args:
        name: of the topic.
        partition: of it.
        together: values are frames: those that come until somebody reads are bundled.
    """

    name: str
    partition: int
    together: bool = False
    records: list[Any] = field(default_factory=list)
    waiting: list[bytes] = field(default_factory=list)

    def add(self, value: bytes) -> None:
        if self.together:
            self.waiting.append(value)
        else:
            self._add(value)

    def read(self, position: int, count: int) -> list[Any]:
        waiting, self.waiting = self.waiting, []
        for value in bundled(waiting):
            self._add(value)
        return self.records[position : position + count]

    def _add(self, value: bytes) -> None:
        offset = len(self.records)
        self.records.append(
            ConsumerRecord(self.name, self.partition, offset, 0, 0, None, value, None, -1, len(value), ())
        )


class Upstream:
    def __init__(self, pipeline: Pipeline, number: int, topic: Topic, targets: list[Topic]) -> None:
        self.pipeline, self.feed, self.topic, self.targets = pipeline, pipeline.feeds[number], topic, targets
        self.stored = Checkpoint()
        self.start()

    def start(self) -> None:
        """From the last checkpoint, as after a crash."""
        topic = self.topic
        self.stage = ShuffleStage(
            self.pipeline, topic.name, topic.partition, 1, None, self.stored, run="run", feed=self.feed
        )

    def take(self, count: int) -> None:
        records = self.topic.read(self.stage.position, count)
        if records:
            self.stage.process(records, NOW_MS)
            self.stage.position = records[-1].offset + 1

    def flush(self, store: bool) -> None:
        flush = self.stage.gather(NOW_MS)
        for record in flush.records:
            assert record.topic == self.pipeline.repartition_topic and record.partition is not None
            assert record.value is not None
            self.targets[record.partition].add(record.value)
        if store:
            assert flush.checkpoint is not None
            self.stored = flush.checkpoint

    def end(self) -> None:
        self.stage.end_time()
        for record in self.stage.finish(NOW_MS).records:
            assert record.partition is not None and record.value is not None
            self.targets[record.partition].add(record.value)


class Downstream:
    def __init__(self, pipeline: Pipeline, topic: Topic, next_: list[Topic] | None = None) -> None:
        self.pipeline, self.topic, self.next = pipeline, topic, next_ or []
        self.state: dict[bytes, bytes] = {}
        self.checkpoint: Checkpoint | None = None
        self.written: dict[str, list[dict[str, Any]]] = {}
        self.late: set[tuple[str, bytes]] = set()
        self.upserts: dict[bytes, Any] = {}
        self.start()

    def start(self) -> None:
        task = self.pipeline.plan.create_task(self.pipeline.upstreams)
        position = task.restore(self.checkpoint or Checkpoint(resume=Mark()), dict(self.state)) >> POSITION_BITS
        self.stage = MergeStage(self.pipeline, self.topic.name, self.topic.partition, 1, None, task, run="run")
        self.stage.position = position
        self.stage.open_outlets(self.checkpoint.passed if self.checkpoint else {})

    def take(self, count: int) -> None:
        records = self.topic.read(self.stage.position, count)
        if records:
            self.stage.process(records, NOW_MS)
            self.stage.position = records[-1].offset + 1

    def flush(self, store: bool) -> None:
        flush = self.stage.gather(NOW_MS)
        self._write(flush)
        if store:
            assert flush.checkpoint is not None
            # As it is stored: through bytes.
            self.checkpoint = Checkpoint.decode(flush.checkpoint.encode())
            for key, value in flush.changes:
                if value is None:
                    self.state.pop(key, None)
                else:
                    self.state[key] = value

    def _write(self, flush: Any) -> None:
        for record in flush.records:
            if record.topic.endswith(".late"):
                self.late.add((record.topic, record.value))
                continue
            if self.next and record.topic == self.next[0].name:
                self.next[record.partition].add(record.value)
                continue
            if record.topic == "sink":
                if record.value is None:
                    self.upserts.pop(record.key, None)
                else:
                    self.upserts[record.key] = json.loads(record.value)
                continue
            assert record.topic == "anomaly.alerts", (record.topic, record.headers)
            alert = json.loads(record.value)
            self.written.setdefault(dict(record.headers)[ID_HEADER].decode(), []).append(alert)

    @property
    def alerts(self) -> dict[str, Any]:
        """What was written, by id: the same however often it was."""
        found = {}
        for id_, repeated in self.written.items():
            told = [{name: value for name, value in alert.items() if name != "detected_at"} for alert in repeated]
            assert all(alert == told[0] for alert in told)
            found[id_] = told[0]
        return found

    def finish(self) -> None:
        assert self.stage.at_end
        self.stage.end_time()
        flush = self.stage.finish(NOW_MS)
        assert flush is not None
        self._write(flush)


def disturb(one: Upstream | Downstream, count: int, what: str) -> None:
    """Take some records; then write what came of them, with a checkpoint or without, or crash."""
    one.take(count)
    if what in ("flush", "lose"):
        one.flush(what == "flush")
    if what in ("lose", "crash"):
        one.start()
