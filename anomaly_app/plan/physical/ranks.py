"""ROW_NUMBER() as a vertex: within windows, by time, the first or last row, Top-N."""

from __future__ import annotations

from collections.abc import Callable

from anomaly_app.changes import CHANGE_COLUMN
from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions.typed import Environment
from anomaly_app.graph.over import OverPlan, OverRows
from anomaly_app.graph.rank import KeepFirst, RankPlan, WindowRank
from anomaly_app.graph.sort import order_by
from anomaly_app.graph.top import KeepLast, TopPlan, TopRows
from anomaly_app.graph.vertices import Transform, Vertex
from anomaly_app.operators import COLUMNS, Layout, Row
from anomaly_app.plan.nodes import MAX_RANK, Rank
from anomaly_app.plan.physical.builder import Builder
from anomaly_app.plan.physical.built import Built
from anomaly_app.plan.physical.keys import join_key, key_of, layout_column
from anomaly_app.schema import CHANGE
from anomaly_app.windows.accumulators import Accumulators


def rank(builder: Builder, node: Rank) -> Built:
    """The vertex of a rank; raises ``SqlValidationError`` where its rows may be taken back and must not be."""
    if node.is_top:
        return _top(builder, node)
    if node.updating:
        raise SqlValidationError(
            f"ROW_NUMBER() needs rows that are not taken back: {node.updating}", node.text, *node.span
        )
    below, window = builder.node(node.input), node.windowed
    if window is None:
        below = builder.timed(below, node.time)
    layout = below.layout
    added = node.columns[len(node.input.columns) :]
    result = Layout((*layout.columns, *added))
    if window is None and (node.first, node.last) != (1, 1):
        return _numbered(builder, node, below)
    assert window is None or window.end is not None
    ordered_by = node.order if window is not None else ()
    order = order_by([(layout.index(c.name), c.descending, c.nulls_first) for c in ordered_by])
    plan = RankPlan(
        layout, below.reads, key_of(layout, node.keys), tuple(layout_column(layout, key) for key in node.keys), order,
        node.first, node.last, node.time is not None and node.order[0].descending,
        layout.index(window.end) if window is not None and window.end else -1, builder.limits.keys,
    )  # fmt: skip
    if window is None:
        vertex = builder.add(lambda: KeepFirst(plan), [below], node.title)
        # A row exactly at the watermark is in time here.
        return Built(vertex, result, False, below.time, below.by_source, below.with_(added))
    vertex = builder.add(lambda: WindowRank(plan), [below], node.title)
    return Built(vertex, result, True, window.time, below.by_source, below.with_(added))


def _numbered(builder: Builder, node: Rank, below: Built) -> Built:
    """ROW_NUMBER() by time: the number of each row, perhaps with a bound."""
    layout, env = below.layout, Environment()
    accumulators = Accumulators(env, builder.dialect, gap_ms=None, merges=False)
    count = accumulators.add("COUNT", None)
    assert count is not None
    lines = ["def finish(a):", *(f"    {line}" for line in accumulators.results()), f"    return ({count.source},)"]
    finish = env.function("finish", "\n".join(lines))
    keys = tuple(layout_column(layout, key) for key in node.keys)
    program = accumulators.program("0", "")
    take, _ = accumulators.row_by_row()
    plan = OverPlan(
        layout, below.reads, key_of(layout, node.keys), program, take, None, finish, True, None, keys,
        False, False,
    )  # fmt: skip
    vertex = builder.add(lambda: OverRows(plan), [below], node.title)
    width = COLUMNS + len(layout.columns)
    if (node.first, node.last) != (1, MAX_RANK):
        first, last = node.first, node.last

        def bound(row: Row) -> Row | None:
            return row if first <= row[width] <= last else None

        vertex = builder.add(lambda: Transform(bound, width + 1), [vertex], f"Numbers {first} to {last}")
    added = node.columns[len(node.input.columns) :]
    return Built(vertex, Layout((*layout.columns, *added)), True, below.time, below.by_source, below.with_(added))


def _top(builder: Builder, node: Rank) -> Built:
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
        builder.seen(node, columns),
    )  # fmt: skip
    make: Callable[[], Vertex] = (lambda: KeepLast(plan)) if node.keeps_last else (lambda: TopRows(plan))
    vertex = builder.add(make, [below.vertex], node.title)
    columns.append(CHANGE_COLUMN)
    added = [column for column in columns if column not in layout.columns]
    return Built(vertex, Layout(tuple(columns)), False, below.time, False, below.with_(added))
