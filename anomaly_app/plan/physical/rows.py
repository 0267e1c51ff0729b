"""Tables, VALUES, UNION ALL and UNNEST as vertices: what takes rows one by one."""

from __future__ import annotations

from collections.abc import Callable

from anomaly_app.changes import with_change
from anomaly_app.expressions.typed import Code, Environment
from anomaly_app.graph.vertices import Constant, Expand, Merge, Stamp, origin_of
from anomaly_app.operators import COLUMNS, POSITION, TIME, Layout, Row
from anomaly_app.plan.nodes import Exchange, Scan, Union, UnnestRows, ValuesRows
from anomaly_app.plan.physical.builder import STAMP, Builder
from anomaly_app.plan.physical.built import Built
from anomaly_app.plan.physical.calculation import row_codes
from anomaly_app.plan.pruning import is_stateless
from anomaly_app.plan.scope import WATERMARK
from anomaly_app.schema import CHANGE


def scan(builder: Builder, node: Scan) -> Built:
    """A table, as it comes; with the watermark in front of each row where somebody asks for it."""
    time = node.source.rowtime or node.source.proctime
    vertex, layout = -1 - builder.scans.index(node), builder.layouts[node.table]
    if WATERMARK in builder.needs[id(node)]:
        width = COLUMNS + len(layout.columns)
        vertex = builder.add(lambda: Stamp(width), [vertex], "Watermark")
        layout = Layout((*layout.columns, STAMP))
    in_order = builder.needs_order or not node.rowtimes
    reads = frozenset([*builder.reads[node.table], *[CHANGE] * bool(node.updating)])
    return Built(vertex, layout, in_order, time, not isinstance(node, Exchange), reads)


def values(builder: Builder, node: ValuesRows) -> Built:
    """The vertex of rows that are written out."""
    env = Environment()
    rows: list[str] = []
    for row in node.rows:
        codes = [item.compile(_no_column, env).source for item in row]
        rows.append(f"(0, 0, {''.join(code + ', ' for code in codes)}(({len(rows)},), 0))")
    make: Callable[[], list[Row]] = env.function("values", f"def values():\n    return [{', '.join(rows)}]")
    vertex = builder.add(lambda: Constant(make), [], node.title)
    return Built(vertex, Layout(node.columns), True, None, False)


def _no_column(name: str) -> Code:
    raise AssertionError(f"a constant reads {name}")


def union(builder: Builder, node: Union) -> Built:
    """The vertex of UNION ALL."""
    columns = [column for column in node.columns if column.name in builder.needs[id(node)]] or list(node.columns[:1])
    layout = Layout(with_change(columns) if node.updating else tuple(columns))
    branches: list[Built] = []
    for branch in node.branches:
        built = builder.node(branch)
        time = next((name for name in node.names if name in node.rowtimes | node.proctimes), None)
        branches.append(builder.picked(builder.timed(built, time), layout, len(branches)))
    by: tuple[int, ...] = ()
    if all(map(is_stateless, node.branches)):
        by = (TIME, POSITION) if builder.needs_order else (POSITION,)
    elif all(branch.in_order for branch in branches):
        by = (TIME,)
    else:
        builder.one_by_one = True
    vertex = builder.add(lambda: Merge(by), branches, node.title)
    time = branches[0].time
    if any(branch.time != time for branch in branches):
        time = None
    return Built(vertex, layout, False, time, False)


def unnest(builder: Builder, node: UnnestRows) -> Built:
    """The vertex of UNNEST."""
    below = builder.node(node.input)
    width = COLUMNS + len(below.layout.columns)
    env = Environment()
    value = node.value.compile(row_codes(below.layout).__getitem__, env).source
    own = [column for column in node.columns if column.name not in node.input.names]
    nothing = "None, " * len(own)
    number = "n, " if node.ordinality else ""
    some = " if item is not None" if node.spread else ""
    if node.pairs:
        loop, made = "enumerate(value.items(), 1)", f"*item, {number}"
    elif node.spread:
        loop = "enumerate(value, 1)"
        made = f"*item, {number}"
    else:
        loop, made = "enumerate(value, 1)", f"item, {number}"
    env.names["origin_of"] = origin_of
    lines = [
        "def expand(row):",
        f"    value = {value}",
        "    if not value:",
        f"        return [(*row[:{width}], {nothing}origin_of(row, {width}, 0))]"
        if node.outer
        else "        return ()",
        f"    return [(*row[:{width}], {made}origin_of(row, {width}, n)) for n, item in {loop}{some}]",
    ]
    expand = env.function("expand", "\n".join(lines))
    vertex = builder.add(lambda: Expand(expand, width), [below], node.title)
    layout = Layout((*below.layout.columns, *own))
    return Built(vertex, layout, below.in_order, below.time, False, below.with_(own))
