"""ORDER BY and LIMIT as vertices."""

from __future__ import annotations

from anomaly_app.graph.sort import Limit as LimitVertex, Sort as SortVertex, order_by
from anomaly_app.plan.nodes import Limit, Sort
from anomaly_app.plan.physical.builder import Builder
from anomaly_app.plan.physical.built import Built


def sort(builder: Builder, node: Sort) -> Built:
    """The vertex of ORDER BY."""
    below = builder.timed(builder.node(node.input), node.time)
    layout = below.layout
    order = order_by([(layout.index(c.name), c.descending, c.nulls_first) for c in node.order])
    vertex = builder.add(lambda: SortVertex(layout, below.reads, order), [below], node.title)
    return Built(vertex, layout, False, below.time, below.by_source, below.reads)


def limit(builder: Builder, node: Limit) -> Built:
    """The vertex of LIMIT and OFFSET."""
    below = builder.node(node.input)
    vertex = builder.add(lambda: LimitVertex(node.offset, node.count), [below], node.title)
    return Built(vertex, below.layout, below.in_order, below.time, below.by_source, below.reads)
