"""The last row of each key, as a vertex: of upserts, and of a sink with another key than the query."""

from __future__ import annotations

from anomaly_app.graph.materialize import LastOfKey, MaterializePlan
from anomaly_app.graph.normalize import LastRow, NormalizePlan
from anomaly_app.plan.nodes import Materialize, Normalize
from anomaly_app.plan.physical.builder import Builder
from anomaly_app.plan.physical.built import Built
from anomaly_app.plan.physical.keys import key_of, layout_column


def materialize(builder: Builder, node: Materialize) -> Built:
    """The vertex that holds all rows of each key of a sink."""
    below = builder.node(node.input)
    columns = tuple(layout_column(below.layout, key) for key in node.keys)
    plan = MaterializePlan(below.layout, below.reads, key_of(below.layout, node.keys), columns, builder.ttl_ms)
    vertex = builder.add(lambda: LastOfKey(plan), [below.vertex], node.title)
    return Built(vertex, below.layout, False, below.time, False, below.some)


def normalize(builder: Builder, node: Normalize) -> Built:
    """The vertex that makes all changes of upserts."""
    below = builder.node(node.input)
    keys = tuple(layout_column(below.layout, key) for key in node.keys)
    plan = NormalizePlan(below.layout, below.reads, key_of(below.layout, node.keys), keys, builder.ttl_ms)
    vertex = builder.add(lambda: LastRow(plan), [below], node.title)
    return Built(vertex, below.layout, False, below.time, False, below.some)
