"""Rows that go through a repartition give the matches of one ordered stream, each once, whatever crashes."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

import pytest
from fragment_run import Topic
from hypothesis import HealthCheck, given, settings, strategies as st

from anomaly_app import Rows, query
from anomaly_app.jobs.binder import bind_job
from anomaly_app.jobs.checkpoint import Checkpoint, Mark
from anomaly_app.runtime.frames import POSITION_BITS
from anomaly_app.runtime.outgoing import ID_HEADER
from anomaly_app.runtime.pipeline import Pipeline
from anomaly_app.runtime.registries import Registries
from anomaly_app.runtime.repartition import MergeStage, ShuffleStage
from anomaly_app.settings import load_settings

UPSTREAM, DOWNSTREAM = 3, 2
NOW_MS = 10_000_000
SELECT = """SELECT * FROM sales MATCH_RECOGNIZE (
    PARTITION BY user_id ORDER BY ts MEASURES U.id AS id, COUNT(T.id) AS before ONE ROW PER MATCH
    AFTER MATCH SKIP PAST LAST ROW PATTERN (T+? U) {within} DEFINE U AS U.quantity > AVG(T.quantity) * 2)"""
WITHIN = "WITHIN INTERVAL '0.300' SECOND"
TABLE = """CREATE TABLE sales (id INT, user_id STRING, quantity INT, ts TIMESTAMP(3),
    WATERMARK FOR ts AS ts - INTERVAL '0.050' SECOND)
    WITH ('connector' = 'kafka', 'topic' = 'sales', 'properties.bootstrap.servers' = 'x:1', 'format' = 'json');"""


def make_pipeline(within: str) -> Pipeline:
    overrides = {"worker.repartition_partitions": str(DOWNSTREAM), "worker.app_id": "app"}
    loaded = load_settings(overrides, environ={})
    job = bind_job(TABLE + SELECT.format(within=within), name="job", partitions={"sales": UPSTREAM})
    return Pipeline(job, job.plans[0], loaded.settings, UPSTREAM, Registries(loaded))


PIPELINES = {within: make_pipeline(within) for within in (WITHIN, "")}


class Upstream:
    def __init__(self, pipeline: Pipeline, topic: Topic, targets: list[Topic]) -> None:
        self.pipeline, self.topic, self.targets = pipeline, topic, targets
        self.stored = Checkpoint()
        self.start()

    def start(self) -> None:
        """From the last checkpoint, as after a crash."""
        self.stage = ShuffleStage(self.pipeline, "sales", self.topic.partition, 1, None, self.stored, run="run")

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
        flush = self.stage.finish(NOW_MS)
        for record in flush.records:
            assert record.partition is not None and record.value is not None
            self.targets[record.partition].add(record.value)


class Downstream:
    def __init__(self, pipeline: Pipeline, topic: Topic) -> None:
        self.pipeline, self.topic = pipeline, topic
        self.state: dict[bytes, bytes] = {}
        self.checkpoint: Checkpoint | None = None
        self.written: list[tuple[str, dict[str, Any]]] = []
        self.queries: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
        self.late: set[bytes] = set()
        self.start()

    def start(self) -> None:
        task = self.pipeline.plan.create_task(range(UPSTREAM))
        position = task.restore(self.checkpoint or Checkpoint(resume=Mark()), dict(self.state)) >> POSITION_BITS
        self.stage = MergeStage(self.pipeline, self.topic.name, self.topic.partition, 1, None, task, run="run")
        self.stage.position = position

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
            self.checkpoint = flush.checkpoint
            for key, value in flush.changes:
                if value is None:
                    self.state.pop(key, None)
                else:
                    self.state[key] = value

    def _write(self, flush: Any) -> None:
        for record in flush.records:
            if record.topic == "sales.late":
                self.late.add(record.value)
                continue
            assert record.topic == "anomaly.alerts", (record.topic, record.headers)
            alert = json.loads(record.value)
            self.written.append((dict(record.headers)[ID_HEADER].decode(), alert["payload"]))
            self.queries[alert["query"]][alert["id"]] = alert["payload"]

    def finish(self) -> None:
        assert self.stage.at_end
        self.stage.end_time()
        flush = self.stage.finish(NOW_MS)
        assert flush is not None
        self._write(flush)


rows_strategy = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.integers(0, 40), st.integers(0, UPSTREAM - 1)),
    min_size=1,
    max_size=60,
)
steps_strategy = st.lists(
    st.tuples(
        st.sampled_from(
            ["take up", "flush up", "lose up", "crash up", "take down", "flush down", "lose down", "crash down"]
        ),
        st.integers(0, UPSTREAM - 1),
        st.integers(1, 20),
    ),
    max_size=60,
)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("within", [WITHIN, ""], ids=["log", "rows-stored"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=rows_strategy, steps=steps_strategy, together=st.booleans())
def test_matches_survive_the_repartition(
    within: str, rows: list[tuple[str, int, int, int]], steps: list[tuple[str, int, int]], together: bool
) -> None:
    pipeline = PIPELINES[within]
    sources = [Topic("sales", number) for number in range(UPSTREAM)]
    targets = [Topic(pipeline.repartition_topic, number, together) for number in range(DOWNSTREAM)]
    table = []
    for number, (user, quantity, jitter, partition) in enumerate(rows):
        ms = number * 30 + jitter  # disorder below the delay of 50 ms
        ts = f"1970-01-01 00:00:{ms // 1000:02d}.{ms % 1000:03d}"
        table.append((ms, number, user, quantity, ts))
        value = {"id": number, "user_id": user, "quantity": quantity, "ts": ts}
        sources[partition].add(json.dumps(value).encode())
    if len({row[0] for row in table}) < len(table):
        return  # the order of equal times over several partitions is nobody's promise
    ups = [Upstream(pipeline, source, targets) for source in sources]
    downs = [Downstream(pipeline, target) for target in targets]
    for step, where, count in steps:
        what, _, side = step.partition(" ")
        one: Any = ups[where] if side == "up" else downs[where % DOWNSTREAM]
        if what == "take":
            one.take(count)
        elif what == "crash":
            one.start()
        else:
            one.flush(what == "flush")
            if what == "lose":
                one.start()  # written, but the checkpoint did not make it
    for up in ups:
        up.take(10_000)
        up.flush(True)
        up.end()
    for down in downs:
        down.take(10_000)
        down.flush(True)
        down.finish()
    ordered = Rows(
        columns=[("id", "INT"), ("user_id", "STRING"), ("quantity", "INT"), ("ts", "TIMESTAMP(3)")],
        rows=[row[1:] for row in sorted(table)],
        rowtime="ts",
        watermark_delay_ms=50,
    )
    want = query(SELECT.format(within=within), tables={"sales": ordered}).rows
    found = {id_: (p["user_id"], p["id"], p["before"]) for down in downs for id_, p in down.written}
    assert Counter(found.values()) == Counter(want)


WINDOW = """SELECT user_id, window_end, COUNT(*) AS n, SUM(quantity) AS total, LAST_VALUE(id) AS last FROM
    TABLE({window}) GROUP BY user_id, window_start, window_end"""
WINDOWS = [
    WINDOW.format(window="HOP(TABLE sales, DESCRIPTOR(ts), INTERVAL '0.060' SECOND, INTERVAL '0.120' SECOND)"),
    WINDOW.format(window="SESSION(TABLE sales PARTITION BY user_id, DESCRIPTOR(ts), INTERVAL '0.070' SECOND)"),
]
MIXED_QUERIES = [SELECT.format(within=WITHIN), *WINDOWS]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("queries", [MIXED_QUERIES, WINDOWS], ids=["pattern-and-windows", "windows"])
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.sampled_from([0, 0, 0, 20, 60, 100, 200])), max_size=40
    ),
    steps=steps_strategy,
    together=st.booleans(),
)
def test_late_rows_survive_the_repartition(
    queries: list[str], rows: list[tuple[str, int, int]], steps: list[tuple[str, int, int]], together: bool
) -> None:
    """Rows of one partition, the others being far ahead: each query takes those that it takes without Kafka."""
    loaded = load_settings({"worker.repartition_partitions": str(DOWNSTREAM), "worker.app_id": "app"}, environ={})
    job = bind_job(TABLE + "; ".join(queries), name="job", partitions={"sales": UPSTREAM})
    (plan,) = job.plans
    pipeline = Pipeline(job, plan, loaded.settings, UPSTREAM, Registries(loaded))
    sources = [Topic("sales", number) for number in range(UPSTREAM)]
    targets = [Topic(pipeline.repartition_topic, number, together) for number in range(DOWNSTREAM)]
    table = []
    for number, (user, quantity, ago) in enumerate(rows):
        ms = 5_000 + number * 30 - ago
        ts = f"1970-01-01 00:00:{ms // 1000:02d}.{ms % 1000:03d}"
        table.append((number, user, quantity, ts))
        value = {"id": number, "user_id": user, "quantity": quantity, "ts": ts}
        sources[0].add(json.dumps(value).encode())
    for source in sources[1:]:
        source.add(json.dumps({"id": -1, "user_id": "z", "quantity": 1, "ts": "1970-01-01 00:01:00.000"}).encode())
    ups = [Upstream(pipeline, source, targets) for source in sources]
    downs = [Downstream(pipeline, target) for target in targets]
    for up in ups[1:]:
        up.take(1)
        up.flush(True)
    for down in downs:
        down.take(10_000)
        down.flush(True)
    for step, where, count in steps:
        what, _, side = step.partition(" ")
        one: Any = ups[0] if side == "up" else downs[where % DOWNSTREAM]
        if what == "take":
            one.take(count)
        elif what == "crash":
            one.start()
        else:
            one.flush(what == "flush")
            if what == "lose":
                one.start()
    for up in ups:
        up.take(10_000)
        up.flush(True)
        up.end()
    for down in downs:
        down.take(10_000)
        down.flush(True)
        down.finish()
    columns = [("id", "INT"), ("user_id", "STRING"), ("quantity", "INT"), ("ts", "TIMESTAMP(3)")]
    stream = Rows(columns, table, rowtime="ts", watermark_delay_ms=50)
    late = set()
    for bound, sql in zip(plan.queries, queries, strict=True):
        want = query(sql, tables={"sales": stream})
        late |= {row[0] for row in want.late}
        got = [tuple(alert.values()) for down in downs for alert in down.queries[bound.name].values()]
        shown = [tuple(str(v).replace(" ", "T") + "Z" if hasattr(v, "year") else v for v in row) for row in want.rows]
        assert Counter(map(shorter, (row for row in got if row[0] != "z"))) == Counter(map(shorter, shown)), sql
    dropped = {json.loads(value)["id"] for down in downs for value in down.late}
    assert dropped == late


def shorter(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Without the spelling of times."""
    return tuple(v.replace("T", " ").rstrip("Z").rstrip("0").rstrip(".") if isinstance(v, str) else v for v in row)
