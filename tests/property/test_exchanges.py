"""Rows go from one fragment of a query to the next: the rows of query(), each once, whatever crashes."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from fragment_run import WHAT, Downstream, Topic, Upstream, at, disturb
from hypothesis import HealthCheck, given, settings, strategies as st

from anomaly_app import Rows, query
from anomaly_app.jobs.binder import bind_job
from anomaly_app.runtime.pipeline import Pipeline
from anomaly_app.runtime.registries import Registries
from anomaly_app.settings import load_settings

PARTITIONS = {"sales": 2, "returns": 3}
DOWNSTREAM = 2
TABLES = """CREATE TABLE sales (id INT, store STRING, user_id STRING, quantity INT, ts TIMESTAMP(3),
    WATERMARK FOR ts AS ts - INTERVAL '0.050' SECOND)
    WITH ('connector' = 'kafka', 'topic' = 'sales', 'properties.bootstrap.servers' = 'x:1', 'format' = 'json');
CREATE TABLE returns (id INT, store STRING, quantity INT, at_time TIMESTAMP(3),
    WATERMARK FOR at_time AS at_time - INTERVAL '0.080' SECOND)
    WITH ('connector' = 'kafka', 'topic' = 'returns', 'properties.bootstrap.servers' = 'x:1', 'format' = 'json');
"""
SUMS = """(SELECT {keys}, window_time AS t, SUM(quantity) AS total, COUNT(*) AS n FROM TABLE(
    TUMBLE(TABLE sales, DESCRIPTOR(ts), INTERVAL '0.100' SECOND))
    GROUP BY {keys}, window_start, window_end, window_time)"""
RISES = """MATCH_RECOGNIZE (PARTITION BY {key} ORDER BY {time}, store
    MEASURES A.{value} AS a, B.{value} AS b, {time} AS x
    ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW PATTERN (A B) DEFINE B AS B.{value} > A.{value})"""
PAIRS = """(SELECT a.user_id, a.ts, a.quantity AS sold, b.quantity AS returned FROM sales a JOIN `returns` b
    ON a.store = b.store AND b.at_time BETWEEN a.ts AND a.ts + INTERVAL '0.100' SECOND)"""
QUERIES = {
    "windows by store, pattern by their number": f"SELECT * FROM {SUMS.format(keys='store')} "
    + RISES.format(key="n", time="t", value="total"),
    "join by store, windows by user": f"""SELECT user_id, COUNT(*) AS n, SUM(returned) AS back FROM TABLE(
        TUMBLE({PAIRS}, DESCRIPTOR(ts), INTERVAL '0.200' SECOND)) GROUP BY user_id, window_start, window_end""",
    "join by store, pattern by user in the time of the other side": """SELECT * FROM (SELECT a.user_id, b.store,
        b.at_time, b.quantity FROM sales a JOIN `returns` b
        ON a.store = b.store AND b.at_time BETWEEN a.ts AND a.ts + INTERVAL '0.100' SECOND) """
    + RISES.format(key="user_id", time="at_time", value="quantity"),
    "three keys": f"""SELECT total, COUNT(*) AS n FROM TABLE(TUMBLE((SELECT b.total, b.t FROM
        {SUMS.format(keys="store, user_id")} b JOIN (SELECT user_id, t, COUNT(*) OVER (PARTITION BY user_id ORDER BY t)
        AS n FROM {SUMS.format(keys="store, user_id")}) c ON b.store = c.user_id AND b.t = c.t),
        DESCRIPTOR(t), INTERVAL '0.300' SECOND)) GROUP BY total, window_start, window_end""",
}


def make_pipelines(sql: str) -> list[Pipeline]:
    loaded = load_settings({"worker.repartition_partitions": str(DOWNSTREAM), "worker.app_id": "app"}, environ={})
    job = bind_job(TABLES + sql, name="job", partitions=PARTITIONS)
    fragments: dict[str, tuple[Pipeline, int]] = {}
    return [
        Pipeline(
            job, plan, loaded.settings, PARTITIONS, Registries(loaded),
            fragments=fragments,
        )
        for plan in job.plans
    ]  # fmt: skip


PIPELINES = {name: make_pipelines(sql) for name, sql in QUERIES.items()}


def test_they_are_cut() -> None:
    shown = {
        name: [[one.partition_by for one in pipeline.plan.inputs] for pipeline in pipelines]
        for name, pipelines in PIPELINES.items()
    }
    assert shown == {
        "windows by store, pattern by their number": [[("store",)], [("n",)]],
        "join by store, windows by user": [[("store",), ("store",)], [("user_id",)]],
        "join by store, pattern by user in the time of the other side": [[("store",), ("store",)], [("user_id",)]],
        "three keys": shown["three keys"],
    }
    assert len(shown["three keys"]) > 1


class Cluster:
    """All stages of a job."""

    def __init__(self, pipelines: list[Pipeline], records: dict[str, list[list[bytes]]], together: bool) -> None:
        self.inner = {p.name: [Topic(p.repartition_topic, n, together) for n in range(DOWNSTREAM)] for p in pipelines}
        self.ups: list[list[Any]] = []
        self.downs: list[list[Downstream]] = []
        for pipeline in pipelines:
            own: list[Any] = []
            for feed in pipeline.tables:
                for number, values in enumerate(records[feed.source.topic]):
                    topic = Topic(feed.source.topic, number)
                    for value in values:
                        topic.add(value)
                    own.append(Upstream(pipeline, feed.number, topic, self.inner[pipeline.name]))
            self.ups.append(own)
            following = [self.inner[target.name] for target, _ in pipeline.targets.values()]
            assert len(following) < 2
            self.downs.append([Downstream(pipeline, topic, *following) for topic in self.inner[pipeline.name]])

    @property
    def stages(self) -> list[Any]:
        return [stage for stages in (*self.ups, *self.downs) for stage in stages]

    def finish(self) -> list[Any]:
        """The alerts, when all has ended."""
        for own, downs in zip(self.ups, self.downs, strict=True):
            for up in own:
                up.take(10_000)
                up.flush(True)
                up.end()
            for down in downs:
                down.take(10_000)
                down.flush(True)
                down.finish()
        assert not any(down.late for downs in self.downs for down in downs)
        return [alert for downs in self.downs for down in downs for alert in down.alerts.values()]


Sale = tuple[bool, str, str, int, int, int]
rows_strategy = st.lists(
    st.tuples(
        st.booleans(), st.sampled_from("abc"), st.sampled_from("abc"), st.integers(1, 9),
        st.sampled_from([0, 7, 13, 40]), st.integers(0, 2),
    ),
    min_size=25,
    max_size=60,
)  # fmt: skip
steps_strategy = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8), WHAT), min_size=25, max_size=120)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", QUERIES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=rows_strategy, steps=steps_strategy, together=st.booleans())
def test_rows_survive_the_exchange(
    name: str, rows: list[Sale], steps: list[tuple[int, int, str]], together: bool
) -> None:
    pipelines = PIPELINES[name]
    records: dict[str, list[list[bytes]]] = {topic: [[] for _ in range(n)] for topic, n in PARTITIONS.items()}
    sales, returns = [], []
    for number, (is_sale, store, user, quantity, jitter, partition) in enumerate(rows):
        ms = number * 31 + jitter
        own = records["sales" if is_sale else "returns"]
        value = {"id": number, "store": store, "quantity": quantity, "user_id": user, "ts": at(ms), "at_time": at(ms)}
        own[partition % len(own)].append(json.dumps(value).encode())
        if is_sale:
            sales.append((ms, (number, store, user, quantity, at(ms))))
        else:
            returns.append((ms, (number, store, quantity, at(ms))))
    cluster = Cluster(pipelines, records, together)
    stages = cluster.stages
    for where, count, what in steps:
        disturb(stages[where % len(stages)], count, what)
    found = [tuple(alert["payload"].values()) for alert in cluster.finish()]
    columns = [("id", "INT"), ("store", "STRING"), ("user_id", "STRING"), ("quantity", "INT"), ("ts", "TIMESTAMP(3)")]
    others = [("id", "INT"), ("store", "STRING"), ("quantity", "INT"), ("at_time", "TIMESTAMP(3)")]
    tables = {
        "sales": Rows(columns, [row for _, row in sorted(sales)], rowtime="ts"),
        "returns": Rows(others, [row for _, row in sorted(returns)], rowtime="at_time"),
    }
    used = {one.source.name for pipeline in pipelines for one in pipeline.plan.inputs}
    want = query(QUERIES[name], {name: table for name, table in tables.items() if name in used}).rows
    assert Counter(map(shown, found)) == Counter(map(shown, want))


def shown(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(str(value).replace("T", " ").rstrip("Z").rstrip("0").rstrip(".") for value in row)
