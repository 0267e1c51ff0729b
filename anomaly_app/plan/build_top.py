"""Top-N and keep-last as vertices."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from anomaly_app.changes import CHANGE_COLUMN
from anomaly_app.graph.sort import order_by
from anomaly_app.graph.top import KeepLast, TopPlan, TopRows
from anomaly_app.graph.vertices import Vertex
from anomaly_app.operators import Layout
from anomaly_app.plan.build_kept import join_key, seen_of
from anomaly_app.plan.built import Built
from anomaly_app.plan.nodes import Rank
from anomaly_app.plan.stateful import layout_column
from anomaly_app.schema import CHANGE

if TYPE_CHECKING:
    from anomaly_app.plan.physical import Builder


def build_top(builder: Builder, node: Rank) -> Built:
    """The vertex of a rank whose rows are taken back as others come."""
    below = builder.node(node.input)
    if node.keeps_last:
        below = builder.timed(below, node.time)
    layout = below.layout
    ordered_by = () if node.keeps_last else node.order
    order = order_by([(layout.index(c.name), c.descending, c.nulls_first) for c in ordered_by])
    numbered = node.number is not None and node.number in builder.needs[id(node)]
    columns = [column for column in layout.columns if column.name != CHANGE]
    if numbered and node.number is not None:
        columns.append(node.column(node.number))
    plan = TopPlan(
        layout, below.reads, tuple(layout_column(layout, key) for key in node.keys), join_key(layout, node.keys), order,
        node.first, node.last, numbered, layout.index(CHANGE) if node.input.updating else 0, builder.ttl_ms,
        seen_of(builder, node, columns),
    )  # fmt: skip
    make: Callable[[], Vertex] = (lambda: KeepLast(plan)) if node.keeps_last else (lambda: TopRows(plan))
    vertex = builder.add(make, [below.vertex], node.title)
    columns.append(CHANGE_COLUMN)
    added = [column for column in columns if column not in layout.columns]
    return Built(vertex, Layout(tuple(columns)), False, below.time, False, below.with_(added))
