"""Several tables of a job go through one repartition topic: the rows of query(), each once, whatever crashes."""

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
TABLES = """CREATE TABLE sales (id INT, user_id STRING, quantity INT, ts TIMESTAMP(3),
    WATERMARK FOR ts AS ts - INTERVAL '0.050' SECOND)
    WITH ('connector' = 'kafka', 'topic' = 'sales', 'properties.bootstrap.servers' = 'x:1', 'format' = 'json');
CREATE TABLE returns (reason STRING, customer STRING, quantity BIGINT, id INT, at_time TIMESTAMP(3),
    WATERMARK FOR at_time AS at_time - INTERVAL '0.080' SECOND)
    WITH ('connector' = 'kafka', 'topic' = 'returns', 'properties.bootstrap.servers' = 'x:1', 'format' = 'json');
"""
BOTH = """(SELECT id, user_id, quantity, ts FROM sales UNION ALL SELECT id, customer, quantity, at_time FROM returns)"""
COUNTS = """(SELECT {key}, window_start, window_end, COUNT(*) AS n, SUM(quantity) AS total FROM TABLE(
    TUMBLE(TABLE {table}, DESCRIPTOR({time}), INTERVAL '0.100' SECOND)) GROUP BY {key}, window_start, window_end)"""
QUERIES = {
    "pattern over a union": f"""SELECT * FROM {BOTH} MATCH_RECOGNIZE (
        PARTITION BY user_id ORDER BY ts MEASURES U.id AS id, COUNT(T.id) AS before ONE ROW PER MATCH
        AFTER MATCH SKIP PAST LAST ROW PATTERN (T+? U) DEFINE U AS U.quantity > AVG(T.quantity) * 2)""",
    "windows over a union": f"""SELECT user_id, COUNT(*) AS n, SUM(quantity) AS total FROM TABLE(
        HOP({BOTH}, DESCRIPTOR(ts), INTERVAL '0.060' SECOND, INTERVAL '0.120' SECOND))
        GROUP BY user_id, window_start, window_end""",
    "window join": f"""SELECT a.user_id, b.customer, a.n, b.n AS m, b.total FROM
        {COUNTS.format(table="sales", time="ts", key="user_id")} a FULL JOIN
        {COUNTS.format(table="returns", time="at_time", key="customer")} b
        ON a.user_id = b.customer AND a.window_start = b.window_start AND a.window_end = b.window_end""",
    "interval join": """SELECT a.id, b.id AS other, b.quantity FROM sales a FULL JOIN `returns` b
        ON a.user_id = b.customer AND b.at_time BETWEEN a.ts - INTERVAL '0.040' SECOND
        AND a.ts + INTERVAL '0.090' SECOND""",
    "temporal join": """CREATE VIEW latest AS SELECT id, customer, quantity, at_time FROM (SELECT *, ROW_NUMBER() OVER
        (PARTITION BY customer ORDER BY at_time DESC) AS rn FROM `returns`) WHERE rn = 1;
        SELECT a.id, b.id AS other, b.quantity FROM sales a LEFT JOIN latest FOR SYSTEM_TIME AS OF a.ts AS b
        ON a.user_id = b.customer""",
    "union": f"SELECT id, user_id, quantity FROM {BOTH} WHERE quantity > 3",
    "first of each user": f"""SELECT id, user_id FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY ts)
        AS rn FROM {BOTH}) WHERE rn = 1""",
}


def make_pipeline(sql: str) -> Pipeline:
    loaded = load_settings({"worker.repartition_partitions": str(DOWNSTREAM), "worker.app_id": "app"}, environ={})
    job = bind_job(TABLES + sql, name="job", partitions=PARTITIONS)
    return Pipeline(job, job.plans[0], loaded.settings, PARTITIONS, Registries(loaded))


PIPELINES = {name: make_pipeline(sql) for name, sql in QUERIES.items()}


JITTERS = st.sampled_from([0, 7, 13, 40])
"""No two rows have one time: their order over several partitions is nobody's promise."""
rows_strategy = st.lists(
    st.tuples(st.booleans(), st.sampled_from("abc"), st.integers(1, 9), JITTERS, st.integers(0, 2)),
    min_size=15,
    max_size=60,
)
SIDES = st.sampled_from(["up", "down"])
steps_strategy = st.lists(st.tuples(SIDES, st.integers(0, 4), st.integers(0, 12), WHAT), min_size=15, max_size=80)
"""Which side, which partition, how many records it takes, and what becomes of them."""
Step = tuple[str, int, int, str]


def run(
    pipeline: Pipeline, rows: list[tuple[bool, str, int, int, int]], steps: list[Step], together: bool = False
) -> list[Downstream]:
    """The partitions downstream, at the end."""
    topics = [[Topic(feed.source.topic, p) for p in range(feed.partitions)] for feed in pipeline.feeds]
    numbers = {feed.source.topic: feed.number for feed in pipeline.feeds}
    targets = [Topic(pipeline.repartition_topic, number, together) for number in range(DOWNSTREAM)]
    for number, (is_sale, user, quantity, jitter, partition) in enumerate(rows):
        ms = number * 31 + jitter  # disorder below the delays of 50 and 80 ms
        if is_sale:
            value = {"id": number, "user_id": user, "quantity": quantity, "ts": at(ms)}
        else:
            value = {"id": number, "customer": user, "quantity": quantity, "at_time": at(ms), "reason": "broken"}
        own = topics[numbers["sales" if is_sale else "returns"]]
        own[partition % len(own)].add(json.dumps(value).encode())
    ups = [Upstream(pipeline, number, topic, targets) for number, own in enumerate(topics) for topic in own]
    downs = [Downstream(pipeline, target) for target in targets]
    for side, where, count, what in steps:
        disturb(ups[where] if side == "up" else downs[where % DOWNSTREAM], count, what)
    for up in ups:
        up.take(10_000)
        up.flush(True)
        up.end()
    for down in downs:
        down.take(10_000)
        down.flush(True)
        down.finish()
        assert not down.late
    return downs


def alerts(downs: list[Downstream]) -> list[Any]:
    return [alert for down in downs for alert in down.alerts.values()]


def in_memory(sql: str, rows: list[tuple[bool, str, int, int, int]]) -> list[tuple[Any, ...]]:
    sales, returns = [], []
    for number, (is_sale, user, quantity, jitter, _) in enumerate(rows):
        ms = number * 31 + jitter
        if is_sale:
            sales.append((ms, (number, user, quantity, at(ms))))
        else:
            returns.append((ms, ("broken", user, quantity, number, at(ms))))
    columns = [("id", "INT"), ("user_id", "STRING"), ("quantity", "INT"), ("ts", "TIMESTAMP(3)")]
    others = [("reason", "STRING"), ("customer", "STRING"), ("quantity", "BIGINT"), ("id", "INT")]
    tables = {
        "sales": Rows(columns, [row for _, row in sorted(sales)], rowtime="ts"),
        "returns": Rows([*others, ("at_time", "TIMESTAMP(3)")], [r for _, r in sorted(returns)], rowtime="at_time"),
    }
    return query(sql, tables=tables).rows


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", QUERIES)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=rows_strategy, steps=steps_strategy, together=st.booleans())
def test_rows_survive_the_joint_repartition(
    name: str, rows: list[tuple[bool, str, int, int, int]], steps: list[Step], together: bool
) -> None:
    found = [tuple(alert["payload"].values()) for alert in alerts(run(PIPELINES[name], rows, steps, together))]
    assert Counter(found) == Counter(in_memory(QUERIES[name], rows))


CHANGING = {
    "groups of a union": f"SELECT user_id, COUNT(*) AS n, SUM(quantity) AS total FROM {BOTH} GROUP BY user_id",
    "groups of a join": """SELECT a.user_id, COUNT(b.id) AS n, MAX(b.quantity) AS total FROM sales a
        LEFT JOIN `returns` b ON a.user_id = b.customer AND a.quantity < b.quantity GROUP BY a.user_id""",
    "rows that meet no others": """SELECT user_id, COUNT(*) AS n, MIN(quantity) AS total FROM sales a WHERE NOT EXISTS
        (SELECT 1 FROM `returns` b WHERE b.customer = a.user_id AND b.quantity = a.quantity) GROUP BY user_id""",
}
SINK = """CREATE TABLE sink (user_id STRING, n BIGINT, total BIGINT, PRIMARY KEY (user_id) NOT ENFORCED) WITH (
    'connector' = 'upsert-kafka', 'topic' = 'sink', 'properties.bootstrap.servers' = 'x:1', 'key.format' = 'json',
    'value.format' = 'json'); INSERT INTO sink """
UPSERTS = {name: make_pipeline(SINK + sql) for name, sql in CHANGING.items()}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", CHANGING)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=rows_strategy, steps=steps_strategy, together=st.booleans())
def test_what_is_left_survives_the_joint_repartition(
    name: str, rows: list[tuple[bool, str, int, int, int]], steps: list[Step], together: bool
) -> None:
    pipeline = UPSERTS[name]
    assert [one.partition_by for one in pipeline.plan.inputs] == [("customer",), ("user_id",)]
    found = [tuple(row.values()) for down in run(pipeline, rows, steps, together) for row in down.upserts.values()]
    assert Counter(found) == Counter(in_memory(CHANGING[name], rows))


@pytest.mark.timeout(60)
def test_an_alert_tells_which_table_its_last_row_is_of() -> None:
    rows = [(True, "a", 5, 0, 0), (False, "a", 7, 0, 2), (False, "b", 2, 0, 0)]
    found = {alert["payload"]["id"]: alert["source"] for alert in alerts(run(PIPELINES["union"], rows, []))}
    assert found == {
        0: {"topic": "sales", "partition": 0, "offset": 0},
        1: {"topic": "returns", "partition": 2, "offset": 0},
    }


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", QUERIES)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    batches=st.lists(
        st.tuples(
            st.integers(0, 4),
            st.sampled_from([False, False, False, True]),
            st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.integers(0, 300)), min_size=1, max_size=5),
        ),
        min_size=15,
        max_size=30,
    ),
    steps=st.lists(st.tuples(st.integers(0, 4), WHAT), min_size=10, max_size=30),
    together=st.booleans(),
)
def test_what_comes_out_hangs_on_the_frames_alone(
    name: str, batches: list[tuple[int, bool, list[tuple[str, int, int]]]], steps: list[tuple[int, str]], together: bool
) -> None:
    """Late rows, idle partitions and tables: a task that crashes again and again gives what another one gives."""
    pipeline = PIPELINES[name]
    topics = [Topic(feed.source.topic, p) for feed in pipeline.feeds for p in range(feed.partitions)]
    numbers = [feed.number for feed in pipeline.feeds for _ in range(feed.partitions)]
    targets = [Topic(pipeline.repartition_topic, number, together) for number in range(DOWNSTREAM)]
    ups = [Upstream(pipeline, number, topic, targets) for number, topic in zip(numbers, topics, strict=True)]
    made = 0
    for where, is_idle, rows in batches:
        for user, quantity, ago in rows:
            made += 1
            value = {"id": made, "user_id": user, "customer": user, "quantity": quantity}
            ts = at(1_000 + made * 20 - ago)
            topics[where].add(json.dumps({**value, "ts": ts, "at_time": ts}).encode())
        ups[where].take(10_000)
        ups[where].stage.idle = is_idle
        ups[where].flush(True)
    pairs = [(Downstream(pipeline, target), Downstream(pipeline, target)) for target in targets]
    for count, what in steps:
        for _, disturbed in pairs:
            disturb(disturbed, count, what)
    for up in ups:
        up.end()
    for quiet, disturbed in pairs:
        for down in (quiet, disturbed):
            down.take(10_000)
            down.flush(True)
            down.finish()
        assert disturbed.alerts == quiet.alerts
        assert disturbed.late == quiet.late
