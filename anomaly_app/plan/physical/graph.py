"""Logical nodes to a graph of operators: columns pruned, projections fused, rows put into order where it is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from anomaly_app.expressions.typed import Dialect
from anomaly_app.graph.operator import GraphPlan
from anomaly_app.limits import Limits
from anomaly_app.operators import Layout
from anomaly_app.patterns.rule import Rule
from anomaly_app.plan.nodes import (
    Aggregate,
    Calc,
    Copies,
    Detect,
    Evaluate,
    Exchange,
    GroupingRows,
    IntervalJoin,
    Limit,
    LookupJoin,
    Match,
    Materialize,
    Node,
    Normalize,
    Over,
    Predict,
    Rank,
    RegularJoin,
    Scan,
    SemiJoin,
    Sort,
    TemporalJoin,
    Union,
    UnnestRows,
    ValuesRows,
    WindowAggregate,
    WindowAssign,
    WindowJoin,
    walk,
)
from anomaly_app.plan.physical import (
    detect,
    evaluate,
    groups,
    kept_joins,
    lookup,
    match,
    materialize,
    ordered,
    over,
    predict,
    ranks,
    rows,
    timed_joins,
    window_join,
    windows,
)
from anomaly_app.plan.physical.builder import Builder, Steps
from anomaly_app.plan.pruning import is_stateless
from anomaly_app.schema import Column

STEPS = Steps(
    alone={
        Scan: rows.scan,
        Exchange: rows.scan,
        ValuesRows: rows.values,
        Union: rows.union,
        UnnestRows: rows.unnest,
        WindowAssign: windows.assign,
        GroupingRows: groups.grouping_rows,
        Copies: groups.copies,
        Over: over.over,
        Rank: ranks.rank,
        Sort: ordered.sort,
        Limit: ordered.limit,
        LookupJoin: lookup.look_up,
        Predict: predict.predict,
        Evaluate: evaluate.evaluate,
        Normalize: materialize.normalize,
        Materialize: materialize.materialize,
        WindowJoin: window_join.window_join,
        RegularJoin: kept_joins.regular,
        SemiJoin: kept_joins.semi,
    },
    fusing={
        Match: match.match,
        Detect: detect.detect,
        WindowAggregate: windows.grouped,
        Aggregate: groups.aggregated,
        IntervalJoin: timed_joins.interval,
        TemporalJoin: timed_joins.temporal,
    },
)
"""The one place that knows all steps."""


@dataclass(slots=True)
class Physical:
    """A query as a graph.

    Args:
        graph: to be made.
        reads: columns of each scan's table that it reads, by the table's name.
        needs_order: its rows must come in order of event time.
        main: the node that tells most of what the query is about.
        key: columns of the key of its findings.
        rules: its row patterns, by the identity of their nodes.
        plain_rule: it is one row pattern over the rows of the table.
        bounded_only: it gives nothing before the whole input is there.
        evidence: columns of the rows that its findings tell; None for those of the table.
        source: generated Python, by name.
    """

    graph: GraphPlan
    reads: dict[str, tuple[str, ...]]
    needs_order: bool
    main: Node
    key: tuple[Column, ...]
    rules: dict[int, Rule]
    plain_rule: bool
    bounded_only: bool
    evidence: Layout | None
    source: dict[str, str]


def built_graph(
    result: Node,
    dialect: Dialect,
    limits: Limits | None = None,
    ttl_ms: int | None = None,
    scans: Mapping[str, Layout] | None = None,
    *,
    joint: bool = False,
    time: str | None = None,
) -> Physical:
    """The graph of a query; arguments as of :class:`~anomaly_app.plan.physical.builder.Builder`.

    Raises:
        SqlValidationError: a node is not supported.
    """
    builder = Builder(result, STEPS, dialect, limits, ttl_ms, scans, joint=joint, time=time)
    builder.finished()
    width = len(builder.layouts[builder.scans[0].table].columns) if builder.scans else 0
    # What a lookup gives may be another row in a replay: a result that is out already is known by its way then.
    by_path = is_stateless(result) and any(isinstance(one, (LookupJoin, Predict)) for one in walk(result))
    graph = GraphPlan(
        tuple(builder.vertices), width, Layout(tuple(result.columns)), builder.splits_at, builder.one_by_one,
        bool(result.updating), by_path, builder.roles, unsteady_columns(result),
    )  # fmt: skip
    last = result
    while isinstance(last, Calc):
        last = last.input
    key: tuple[Column, ...] = ()
    if isinstance(last, (Match, Detect, WindowAggregate)) and builder.vertices and _gives_findings(builder, last):
        key = tuple(last.input.column(name) for name in last.keys)
    plain_rule = len(builder.vertices) == 1 and isinstance(last, Match)
    return Physical(
        graph, builder.reads, builder.needs_order, main_node(result), key, builder.rules, plain_rule,
        builder.bounded_only, builder.evidence, builder.source,
    )  # fmt: skip


def _gives_findings(builder: Builder, node: Node) -> bool:
    """Whether the findings of a node are the result, with their keys."""
    attached = isinstance(node, WindowAggregate) and node.attached is not None
    return not attached and builder.uses.get(id(node), 0) < 2


def unsteady_columns(result: Node) -> frozenset[int]:
    """Numbers of the columns of a result that a model gave, or that are computed of that.

    It may answer otherwise the next time. None where something stands between that is about several rows.
    """
    chain: list[Node] = []
    node = result
    while isinstance(node, (Calc, Predict)):
        chain.append(node)
        node = node.input
    names: set[str] = set()
    for one in reversed(chain):
        if isinstance(one, Predict):
            names |= {*one.given}
        elif isinstance(one, Calc):
            names = {name for name, item in zip(one.names, one.items, strict=True) if item.reads & names}
    return frozenset(number for number, name in enumerate(result.names) if name in names)


def main_node(result: Node) -> Node:
    """The node that tells most of what a query is about: the last pattern, detector or window below its result."""
    for node in reversed(list(walk(result))):
        if isinstance(node, (Match, Detect, WindowAggregate)):
            return node
    return result
