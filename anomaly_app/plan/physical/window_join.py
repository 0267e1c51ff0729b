"""Joins within windows, as vertices."""

from __future__ import annotations

from anomaly_app.expressions.typed import Code, Environment
from anomaly_app.graph.window_join import JoinSide, WindowJoinPlan, WindowJoinRows
from anomaly_app.operators import COLUMNS, Layout
from anomaly_app.plan.nodes import WindowJoin
from anomaly_app.plan.physical.builder import Builder
from anomaly_app.plan.physical.built import Built
from anomaly_app.plan.physical.keys import key_of


def window_join(builder: Builder, node: WindowJoin) -> Built:
    """The vertex of a join of rows of the same window."""
    builts, sides = [], []
    for place, below in enumerate((node.left, node.right)):
        built = builder.node(below)
        layout, window = built.layout, below.window
        assert window is not None and window.start is not None and window.end is not None
        key = key_of(layout, [pair[place] for pair in node.keys])
        builts.append(built)
        sides.append(JoinSide(layout, built.reads, key, layout.index(window.start), layout.index(window.end)))
    left, right = (built.layout for built in builts)
    condition = None
    if node.condition is not None:
        codes = {c.name: Code(f"a[{k}]", c.type) for k, c in enumerate(left.columns, COLUMNS)}
        codes |= {node.theirs[c.name]: Code(f"b[{k}]", c.type) for k, c in enumerate(right.columns, COLUMNS)}
        env = Environment()
        test = node.condition.compile_condition(codes.__getitem__, env)
        condition = env.function("holds", f"def holds(a, b):\n    return {test}")
    plan = WindowJoinPlan(node.kind, sides[0], sides[1], condition)
    vertex = builder.add(lambda: WindowJoinRows(plan), builts, node.title)
    own = {column.name: column for column in node.columns}
    columns = [own[column.name] for column in left.columns]
    some = set(builts[0].reads)
    if node.kind not in ("SEMI", "ANTI"):
        columns += [own[node.theirs[column.name]] for column in right.columns]
        some |= {node.theirs[name] for name in builts[1].reads}
    time = node.window.time if node.window is not None else None
    return Built(vertex, Layout(tuple(columns)), True, time, False, frozenset(some))
