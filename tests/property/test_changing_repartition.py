"""Changes that go through a repartition: both rows of an update arrive, each once, wherever frames and crashes fall."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiokafka.structs import ConsumerRecord
from hypothesis import HealthCheck, given, settings, strategies as st

from anomaly_app.jobs.binder import bind_job
from anomaly_app.jobs.checkpoint import Checkpoint
from anomaly_app.runtime import frames
from anomaly_app.runtime.frames import POSITION_BITS
from anomaly_app.runtime.outgoing import Outgoing
from anomaly_app.runtime.pipeline import Pipeline
from anomaly_app.runtime.registries import Registries
from anomaly_app.runtime.repartition import MergeStage, ShuffleStage
from anomaly_app.settings import load_settings

UPSTREAM, DOWNSTREAM = 2, 2
JOB = """
CREATE TABLE events (id INT, shop INT) WITH ('connector' = 'kafka', 'topic' = 'events', 'format' = 'debezium-json');
CREATE TABLE shops (id INT, shop INT, PRIMARY KEY (shop) NOT ENFORCED) WITH (
    'connector' = 'upsert-kafka', 'topic' = 'shops', 'key.format' = 'json', 'value.format' = 'json');
INSERT INTO shops SELECT id, shop FROM events;
"""


def make_pipeline() -> Pipeline:
    loaded = load_settings({"worker.repartition_partitions": str(DOWNSTREAM)}, environ={})
    job = bind_job(JOB, name="job", partitions={"events": UPSTREAM})
    return Pipeline(job, job.plans[0], loaded.settings, UPSTREAM, Registries(loaded))


PIPELINE = make_pipeline()


def record(topic: str, partition: int, offset: int, value: bytes) -> Any:
    return ConsumerRecord(topic, partition, offset, 0, 0, None, value, None, -1, len(value), ())


class Upstream:
    def __init__(self, partition: int, records: list[Any], targets: list[list[Any]]) -> None:
        self.partition, self.records, self.targets, self.stored = partition, records, targets, Checkpoint()
        self.start()

    def start(self) -> None:
        self.stage = ShuffleStage(PIPELINE, "events", self.partition, 1, None, self.stored, run="run")

    def take(self, count: int) -> None:
        records = self.records[self.stage.position : self.stage.position + count]
        if records:
            self.stage.process(records, 0)
            self.stage.position = records[-1].offset + 1

    def flush(self, some: int | None) -> None:
        """Write the frames; a crash falls behind some of them, and in front of the checkpoint."""
        flush = self.stage.gather(0)
        for one in flush.records[:some]:
            assert one.partition is not None and one.value is not None
            target = self.targets[one.partition]
            target.append(record(PIPELINE.repartition_topic, one.partition, len(target), one.value))
        if some is None:
            assert flush.checkpoint is not None
            self.stored = flush.checkpoint
        else:
            self.start()


class Downstream:
    def __init__(self, partition: int, frames: list[Any]) -> None:
        self.partition, self.frames, self.stored = partition, frames, Checkpoint()
        self.state: dict[bytes, bytes] = {}
        self.written: list[Outgoing] = []
        self.start()

    def start(self) -> None:
        task = PIPELINE.plan.create_task(range(UPSTREAM))
        position = task.restore(self.stored, dict(self.state)) >> POSITION_BITS
        topic = PIPELINE.repartition_topic
        self.stage = MergeStage(PIPELINE, topic, self.partition, 1, None, task, run="run")
        self.stage.position = position

    def take(self, count: int) -> None:
        records = self.frames[self.stage.position : self.stage.position + count]
        if records:
            self.stage.process(records, 0)
            self.stage.position = records[-1].offset + 1

    def flush(self, some: int | None) -> None:
        flush = self.stage.gather(0)
        self.written += flush.records
        if some is not None:
            self.start()
            return
        assert flush.checkpoint is not None
        self.stored = flush.checkpoint
        for key, value in flush.changes:
            self.state.pop(key, None) if value is None else self.state.__setitem__(key, value)


def test_both_rows_of_an_update_have_the_place_of_its_record() -> None:
    codec = PIPELINE.feeds[0].frames
    data = codec.encode(1, 0, [(0, 7, 1, 2, 1), (0, 7, 1, 3, 2), (0, 8, 1, 3, 3)])
    rows, numbers = codec.decode(frames.decode_head(data), 4)
    assert [row[-2:] for row in rows] == [(1, 7), (1, 7), (1, 8)]
    assert numbers == sorted(set(numbers))


@pytest.mark.timeout(120)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    moves=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.sampled_from([False, False, True])), max_size=25),
    steps=st.lists(
        st.tuples(st.sampled_from(["take", "flush", "crash"]), st.booleans(), st.integers(0, 1), st.integers(0, 5)),
        max_size=40,
    ),
    most=st.sampled_from([1, 2, 100]),
)
def test_changes_survive_the_repartition(
    moves: list[tuple[int, int, bool]], steps: list[tuple[str, bool, int, int]], most: int
) -> None:
    shops: dict[int, int] = {}
    sources: list[list[Any]] = [[] for _ in range(UPSTREAM)]
    for id_, shop, goes in moves:
        before = shops.get(id_)
        taken = shop in shops.values()  # else it is nobody's promise which of them counts
        if goes and before is not None:
            event = {"op": "d", "before": {"id": id_, "shop": before}}
            del shops[id_]
        elif taken:
            continue
        elif before is None:
            event = {"op": "c", "after": {"id": id_, "shop": shop}}
            shops[id_] = shop
        else:
            event = {"op": "u", "before": {"id": id_, "shop": before}, "after": {"id": id_, "shop": shop}}
            shops[id_] = shop
        source = sources[id_ % UPSTREAM]
        source.append(record("events", id_ % UPSTREAM, len(source), json.dumps(event).encode()))
    targets: list[list[Any]] = [[] for _ in range(DOWNSTREAM)]
    ups = [Upstream(number, source, targets) for number, source in enumerate(sources)]
    downs = [Downstream(number, target) for number, target in enumerate(targets)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(frames, "MAX_ROWS", most)
        for what, up, where, count in steps:
            one: Any = ups[where] if up else downs[where]
            if what == "take":
                one.take(count)
            else:
                one.flush(None if what == "flush" else count)
        for each in (*ups, *downs):
            each.take(1_000)
            each.flush(None)
    left: dict[int, int] = {}
    for down in downs:
        for one in down.written:
            assert one.topic == "shops" and one.key is not None
            shop = json.loads(one.key)["shop"]
            left.pop(shop, None)
            if one.value is not None:
                left[shop] = json.loads(one.value)["id"]
    assert left == {shop: id_ for id_, shop in shops.items()}
