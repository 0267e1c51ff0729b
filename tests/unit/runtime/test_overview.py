"""What the web is told about a worker."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from aiokafka.structs import ConsumerRecord

from anomaly_app.formats.records import Decoded
from anomaly_app.jobs.binder import bind_job
from anomaly_app.jobs.checkpoint import Checkpoint
from anomaly_app.jobs.task import PartitionTask
from anomaly_app.plan.explain import explain_plan
from anomaly_app.runtime.detect_stage import DetectStage
from anomaly_app.runtime.overview import Overview
from anomaly_app.runtime.pipeline import Pipeline
from anomaly_app.runtime.registries import Registries
from anomaly_app.runtime.repartition import MergeStage, ShuffleStage
from anomaly_app.runtime.stage import Stage
from anomaly_app.settings import LoadedSettings, Settings
from anomaly_app.status import NodeStatus


async def test_unreadable_records_that_are_let_go_are_counted() -> None:
    feed = SimpleNamespace(decode=lambda records, now: Decoded([], [], ignored=2), max_ahead_ms=0)
    pipeline: Any = SimpleNamespace(feeds=[feed], plan=SimpleNamespace(slots={}))
    stage = DetectStage(pipeline, "t", 0, 0, None, PartitionTask([]))
    stage.process([SimpleNamespace(offset=0), SimpleNamespace(offset=1)], 5)
    stage.process([SimpleNamespace(offset=2)], 5)
    writer, lookups = SimpleNamespace(repeated=3), SimpleNamespace(counters=lambda: {"lookup_rows_rejected": 2})
    worker: Any = SimpleNamespace(stages={("t", 0): [stage]}, writer=writer, lookups=lookups)
    assert Overview(worker).counters() == {"repeated_outputs": 3, "unreadable_ignored": 4, "lookup_rows_rejected": 2}


SALES = """CREATE TABLE sales (k STRING, v INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'sales', 'format' = 'json');
SELECT k, SUM(v) AS s FROM TABLE(TUMBLE(TABLE sales, DESCRIPTOR(ts), INTERVAL '10' SECOND))
WHERE v > 0 GROUP BY k, window_start, window_end;
SELECT k, v FROM sales MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES B.v AS v
AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE B AS B.v > A.v)"""


def sale(offset: int, second: int, k: str = "a", v: int = 1) -> Any:
    value = json.dumps({"k": k, "v": v, "ts": f"2026-01-01 09:00:{second:02d}"}).encode()
    return ConsumerRecord("sales", 0, offset, 0, 0, None, value, None, -1, len(value), ())


def graphs_of(stages: list[Stage], pipeline: Pipeline) -> dict[str, list[NodeStatus]]:
    worker: Any = SimpleNamespace(stages={("sales", 0): stages}, pipelines=[pipeline])
    return {graph.query: list(graph.nodes) for graph in Overview(worker).graphs()}


def made(partitions: int) -> Pipeline:
    loaded = LoadedSettings(Settings())
    job = bind_job(SALES, name="job", partitions={"sales": partitions})
    return Pipeline(job, job.plans[0], loaded.settings, partitions, Registries(loaded))


def test_the_graph_of_a_query_adds_up_its_partitions() -> None:
    pipeline = made(1)
    stages: list[Stage] = []
    for _ in range(2):
        stage = DetectStage(pipeline, "sales", 0, 1, None, pipeline.plan.create_task())
        stage.process([sale(0, 1), sale(1, 2, v=2), sale(2, 25, v=0), sale(3, 3)], 1_800_000_000_000)
        stage.position, stage.highwater = 4, 9
        stages.append(stage)
    graphs = graphs_of(stages, pipeline)
    source, *operators = graphs["query"]
    assert (source.kind, source.title, source.rows, source.lag, source.inputs) == ("source", "sales", 8, 10, ())
    at = 1_767_258_025_000
    assert source.watermark_ms == at
    plan = explain_plan(pipeline.plan.queries[0].factory)  # type: ignore[arg-type]  # it is a planned query
    assert [(node.id, node.title) for node in operators] == [(str(o["id"]), o["name"]) for o in plan["operators"]]
    assert operators[0].inputs == ("source 1",) and operators[-1].rows == 2, "one window in each partition"
    assert operators[-1].late == 2 and all(node.watermark_ms == at for node in operators)
    source, match = graphs["query-2"]
    assert match.title.startswith("Match (A B)") and match.rows == 2
    assert source.late == 2, "in front of the pattern, where rows are put into order"


def test_rows_that_go_by_key_pass_an_exchange() -> None:
    pipeline = made(2)
    upstream = ShuffleStage(pipeline, "sales", 0, 1, None, Checkpoint(), "run")
    upstream.process([sale(0, 1), sale(1, 2, v=2)], 1_800_000_000_000)
    task = pipeline.plan.create_task(range(2))
    merge = MergeStage(pipeline, pipeline.repartition_topic, 0, 1, None, task, run="run")
    source, exchange, *_ = graphs_of([upstream, merge], pipeline)["query"]
    assert (source.rows, exchange.rows) == (2, 0) and exchange.inputs == ("source 1",)
    assert (exchange.kind, exchange.title) == ("exchange", "Rows by k")


def test_a_query_over_two_topics_has_two_sources_and_one_exchange() -> None:
    tables = "".join(
        f"CREATE TABLE {name} (k STRING, v INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) "
        f"WITH ('connector' = 'kafka', 'topic' = '{name}', 'format' = 'json');"
        for name in ("sales", "returns")
    )
    union = "SELECT * FROM sales UNION ALL SELECT * FROM returns"
    counts = f"""SELECT k, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE ({union}), DESCRIPTOR(ts), INTERVAL '1' SECOND))
    GROUP BY k, window_start, window_end"""
    loaded, partitions = LoadedSettings(Settings()), {"sales": 1, "returns": 1}
    job = bind_job(tables + counts, name="job", partitions=partitions)
    (plan,) = job.plans
    pipeline = Pipeline(job, plan, loaded.settings, partitions, Registries(loaded))
    upstream: list[Stage] = []
    for feed in pipeline.feeds:
        shuffle = ShuffleStage(pipeline, feed.source.topic, 0, 1, None, Checkpoint(), "run", feed)
        shuffle.process([sale(n, n) for n in range(2 + (feed.source.topic == "returns"))], 1_800_000_000_000)
        upstream.append(shuffle)
    task = plan.create_task(pipeline.upstreams)
    merge = MergeStage(pipeline, pipeline.repartition_topic, 0, 1, None, task, run="run")
    nodes = graphs_of([*upstream, merge], pipeline)["query"]
    assert [(node.id, node.title, node.rows) for node in nodes[:2]] == [
        ("source 1", "sales", 2),
        ("source 2", "returns", 3),
    ]
    assert nodes[2].title == "Rows by k" and nodes[2].inputs == ("source 1", "source 2")
    known = {"exchange", *(node.id for node in nodes)}
    assert all(set(node.inputs) <= known for node in nodes) and "exchange" in nodes[3].inputs
