"""Rows that a query has made and that fail or are late further on are told with their own columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from anomaly_app import Rows, query
from anomaly_app.graph.operator import GraphOperator, GraphPlan, VertexPlan
from anomaly_app.graph.order import Order
from anomaly_app.graph.vertices import Expand, Flow, Vertex, origin_of
from anomaly_app.jobs.binder import bind_job
from anomaly_app.operators import InnerRow, Layout, Row
from anomaly_app.plan.physical import builder
from anomaly_app.runtime.detect_stage import DetectStage
from anomaly_app.runtime.pipeline import Pipeline
from anomaly_app.runtime.registries import Registries
from anomaly_app.schema import BIGINT, INT, STRING, Column
from anomaly_app.settings import LoadedSettings, Settings

SOURCE = Layout((Column("k", STRING), Column("v", INT)))
PAIRS = Layout((Column("sum", INT), Column("$hidden", BIGINT)))


class Pairs(Vertex):
    """Each row with the one before it, at the time of that one."""

    before: Row | None = None

    def run(self, flows: Sequence[Flow]) -> Flow:
        ((rows, watermark),) = flows
        found: list[Row] = []
        for row in rows:
            if self.before is not None:
                total = self.before[3] + row[3]
                found.append((self.before[0], row[1], total, 7, origin_of(row, self.width, 0)))
            self.before = row
        return Flow(found, watermark)


def pairs_in_order() -> GraphOperator:
    vertices = (
        VertexPlan(lambda: Pairs(4), (-1,), "Pairs", (SOURCE,)),
        VertexPlan(lambda: Order(PAIRS, {"sum"}), (0,), "Order by time", (PAIRS,)),
    )
    return GraphOperator(GraphPlan(vertices, 2, PAIRS))


def test_a_row_of_the_query_that_is_late_further_on_has_its_columns_and_the_part_of_the_query() -> None:
    operator = pairs_in_order()
    assert operator.process([(1_000, 0, "a", 1)], 1_000) == []
    operator.process([(2_000, 1, "a", 2)], 2_000)  # the pair has time 1000, and that has passed
    assert operator.late == []
    (late,) = operator.late_inside
    assert (late.node, late.layout, late.row[:4]) == ("Order by time", PAIRS, (1_000, 1, 3, 7))
    again = pairs_in_order()
    again.process([(1_000, 0, "a", 1)], 1_000)
    again.process([(2_000, 1, "a", 2)], 2_000)
    assert again.late_inside[0].number == late.number, "the same in a replay"


def test_rows_that_are_those_of_the_source_with_other_columns_are_told_as_the_source_has_them() -> None:
    twice = Layout((*SOURCE.columns, Column("n", INT)))

    def expand(row: Row) -> list[Row]:
        return [(*row[:4], n, origin_of(row, 4, n)) for n in (1, 2)]

    vertices = (
        VertexPlan(lambda: Expand(expand, 4), (-1,), "Unnest", (SOURCE,)),
        VertexPlan(lambda: Order(twice, {"v"}), (0,), "Order", (twice,)),
    )
    operator = GraphOperator(GraphPlan(vertices, 2, twice))
    operator.process([(5_000, 0, "a", 1)], 5_000)
    operator.process([(1_000, 1, "a", 2)], 5_000)
    assert operator.late == [(1_000, 1, "a", 2)] and operator.late_inside == [], "once"


WINDOWS = """
WITH w AS (SELECT k, window_time AS at, SUM(v) AS s
    FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '10' SECOND))
    GROUP BY k, window_start, window_end, window_time)
SELECT k, 10 / (s - 3) AS x, LAG(s) OVER (PARTITION BY k ORDER BY at) AS before FROM w
"""
TABLE = """CREATE TABLE events (k STRING, v INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'events', 'format' = 'json');"""
ROWS = [(0, 0, "a", 1), (5_000, 1, "a", 2), (40_000, 2, "a", 9)]


def stage_of(statements: str) -> DetectStage:
    job = bind_job(TABLE + statements, name="job", partitions={"events": 1})
    loaded = LoadedSettings(Settings())
    pipeline = Pipeline(job, job.plans[0], loaded.settings, 1, Registries(loaded))
    return DetectStage(pipeline, "events", 0, 1, None, job.plans[0].create_task())


def records(stage: DetectStage) -> list[tuple[str, dict[str, Any], dict[str, str]]]:
    """Topic, value and headers of what a stage has set apart."""
    flush = stage.gather(0)
    told = [record for record in flush.records if record.topic.startswith("events.")]
    return [
        (record.topic, json.loads(record.value or b""), {name: value.decode() for name, value in record.headers})
        for record in told
    ]


def test_the_dead_letter_of_a_row_that_the_query_made_has_its_columns() -> None:
    stage = stage_of(WINDOWS)
    stage.task.process(ROWS, end=3)
    stage.keep(stage.task.take())
    ((topic, value, headers),) = records(stage)
    assert topic == "events.dlq" and value == {"k": "a", "s": 3}
    assert headers["anomaly-node"] == "Project k, x, before"
    assert headers["anomaly-query"] == "query" and headers["anomaly-payload"] == "row"
    assert headers["anomaly-source-offset"] == "1" and headers["anomaly-error-type"] == "EvaluationError"


def test_the_late_row_of_a_part_of_a_query_is_a_record_with_its_columns_and_counts() -> None:
    stage = stage_of("SELECT k FROM events")
    operator: Any = stage.task.slots[0].operator
    two = [InnerRow("Interval join", PAIRS, (1_000, 4, total, 7, ((total,), 4)), total) for total in (3, 5)]
    operator.late_inside += two
    stage.task.process([row[:3] for row in ROWS], end=3)
    stage.keep(stage.task.take())
    told = records(stage)
    assert [(topic, value) for topic, value, _ in told] == [("events.late", {"sum": 3}), ("events.late", {"sum": 5})]
    _, _, headers = told[0]
    assert headers["anomaly-node"] == "Interval join" and headers["anomaly-job"] == "job"
    assert (headers["anomaly-source-partition"], headers["anomaly-source-offset"]) == ("0", "4")
    assert len({headers["anomaly-id"] for _, _, headers in told}) == 2, "rows of one place are not taken for one"
    assert stage.late == 2 and stage.pipeline.outputs[0].late == 2


def test_query_tells_them_beside_the_late_rows_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def late_order(layout: Layout, reads: Any) -> Vertex:
        order = Order(layout, reads)
        order.resume([1 << 60])
        return order

    monkeypatch.setattr(builder, "Order", late_order)
    windows = WINDOWS.partition("SELECT k, 10")[0]
    over_windows = f"""{windows} SELECT * FROM (SELECT k, at, s FROM w UNION ALL SELECT k, at, -s FROM w)
        MATCH_RECOGNIZE (PARTITION BY k ORDER BY at MEASURES A.s AS s PATTERN (A) DEFINE A AS TRUE)"""
    rows = Rows(
        columns=[("k", "STRING"), ("v", "INT"), ("ts", "TIMESTAMP(3)")],
        rows=[("a", 1, "2026-01-01 09:00:00"), ("a", 2, "2026-01-01 09:00:05")],
        rowtime="ts",
    )
    result = query(over_windows, {"events": rows})
    assert result.rows == [] and result.late == []
    assert [late.node for late in result.late_inside] == ["Order by at"] * 2
    assert [dict(zip([name for name, _ in late.columns], late.row, strict=True)) for late in result.late_inside] == [
        {"k": "a", "at": datetime(2026, 1, 1, 9, 0, 9, 999_000), "s": sign * 3} for sign in (1, -1)
    ]
