"""Regular, semi and anti joins as vertices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anomaly_app.changes import CHANGE_COLUMN
from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions.typed import Code, Environment
from anomaly_app.graph.join_side import SidePlan, has_null
from anomaly_app.graph.regular_join import RegularJoinPlan, RegularJoinRows
from anomaly_app.graph.semi_join import SemiJoinPlan, SemiJoinRows
from anomaly_app.operators import COLUMNS, Layout, Row
from anomaly_app.plan.nodes import KeptJoin, RegularJoin, SemiJoin
from anomaly_app.plan.physical.builder import Builder
from anomaly_app.plan.physical.built import Built
from anomaly_app.plan.physical.keys import join_key, layout_column
from anomaly_app.plan.uniqueness import most_rows
from anomaly_app.schema import CHANGE

FEW_ROWS = 1_000
"""A side that has no more rows may be joined without any equality."""


def _refuse_every_pair(node: KeptJoin) -> None:
    """Raise for a join without any equality, unless one side has few rows: every row would meet every other.

    Raises:
        SqlValidationError: it is such a join.
    """
    if isinstance(node, SemiJoin) and (node.member is not None or node.condition is None):
        return
    if node.keys or any((most := most_rows(side)) is not None and most <= FEW_ROWS for side in node.inputs):
        return
    if isinstance(node, SemiJoin):
        problem = (
            "EXISTS with a condition, and IN, need an equality with the query around them, as in WHERE b.id = a.id: "
            "without one every row would meet all rows of the subquery, on one worker"
        )
    else:
        problem = (
            "a join needs an equality of a column of each side, as in ON a.id = b.id: without one every row would meet "
            "all rows of the other side, on one worker. A side of few rows needs none, such as (SELECT MAX(v) FROM t), "
            "or one with LIMIT"
        )
    raise SqlValidationError(problem, node.text, *node.span)


def regular(builder: Builder, node: RegularJoin) -> Built:
    """The vertex of a regular join; raises ``SqlValidationError`` if every row would meet every other."""
    _refuse_every_pair(node)
    builts = [builder.node(side) for side in node.inputs]
    outer = [node.kind in ("LEFT", "FULL"), node.kind in ("RIGHT", "FULL")]
    left, right = (side_plan(built, node, place, outer[place]) for place, built in enumerate(builts))
    own = {column.name: column for column in node.columns}
    columns = [own[column.name] for column in builts[0].layout.columns if column.name != CHANGE]
    columns += [own[node.theirs[column.name]] for column in builts[1].layout.columns if column.name != CHANGE]
    some = {*builts[0].reads, *(node.theirs[name] for name in builts[1].reads if name != CHANGE)} - {CHANGE}
    seen = builder.seen(node, columns)
    plan = RegularJoinPlan(left, right, condition_of(node, builts), bool(node.updating), builder.ttl_ms, seen)
    vertex = builder.add(lambda: RegularJoinRows(plan), [built.vertex for built in builts], node.title)
    if node.updating:
        columns.append(CHANGE_COLUMN)
        some.add(CHANGE)
    return Built(vertex, Layout(tuple(columns)), False, None, False, frozenset(some))


def semi(builder: Builder, node: SemiJoin) -> Built:
    """The vertex of a semi or anti join; raises ``SqlValidationError`` if every row would meet every other."""
    _refuse_every_pair(node)
    builts = [builder.node(side) for side in node.inputs]
    left, right = (
        side_plan(built, node, place, place == 0 and node.kind != "SEMI") for place, built in enumerate(builts)
    )
    members = None
    if node.member is not None:
        members = left.layout.index(node.member[0]), right.layout.index(node.member[1])
    columns = [column for column in left.layout.columns if column.name != CHANGE]
    some = set(builts[0].reads) - {CHANGE}
    if node.mark:
        columns.append(node.column(node.mark))
        some.add(node.mark)
    plan = SemiJoinPlan(
        node.kind, left, right, members, condition_of(node, builts), bool(node.updating), builder.ttl_ms,
        builder.seen(node, columns),
    )  # fmt: skip
    vertex = builder.add(lambda: SemiJoinRows(plan), [built.vertex for built in builts], node.title)
    if node.updating:
        columns.append(CHANGE_COLUMN)
        some.add(CHANGE)
    return Built(vertex, Layout(tuple(columns)), False, None, False, frozenset(some))


def side_plan(built: Built, node: KeptJoin, place: int, outer: bool) -> SidePlan:
    """One input of a join."""
    layout, names = built.layout, [pair[place] for pair in node.keys]
    change = layout.index(CHANGE) if node.inputs[place].updating else 0
    keys = tuple(layout_column(layout, name) for name in names)
    meets_nothing = null_test(node.null_equal)
    return SidePlan(layout, built.reads, keys, join_key(layout, names), meets_nothing, change, outer)


def null_test(null_equal: tuple[bool, ...]) -> Callable[[Any], bool] | None:
    """Whether a key has a NULL that equals nothing; None if there are no such keys."""
    if all(null_equal):
        return None
    if not any(null_equal):
        return has_null
    places = [place for place, equal in enumerate(null_equal) if not equal]
    return lambda key: any(key[place] is None for place in places)


def condition_of(node: KeptJoin, builts: list[Built]) -> Callable[[Row, Row], Any] | None:
    """What else must hold for a pair, as a function of a row of each side."""
    if node.condition is None:
        return None
    left, right = (built.layout for built in builts)
    codes = {c.name: Code(f"a[{k}]", c.type) for k, c in enumerate(left.columns, COLUMNS)}
    codes |= {
        node.theirs[c.name]: Code(f"b[{k}]", c.type)
        for k, c in enumerate(right.columns, COLUMNS)
        if c.name in node.theirs
    }
    env = Environment()
    test = node.condition.compile_condition(codes.__getitem__, env)
    condition: Callable[[Row, Row], Any] = env.function("holds", f"def holds(a, b):\n    return {test}")
    return condition
