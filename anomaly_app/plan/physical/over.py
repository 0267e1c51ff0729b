"""OVER as a vertex: aggregates over the rows before each row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.typed import Environment
from anomaly_app.graph.over import OverPlan, OverRows
from anomaly_app.operators import Layout, Row
from anomaly_app.plan.aggregate_calls import add_to
from anomaly_app.plan.nodes import AggregateCall, Over
from anomaly_app.plan.physical.builder import Builder
from anomaly_app.plan.physical.built import Built
from anomaly_app.plan.physical.calculation import row_codes
from anomaly_app.plan.physical.keys import key_of, layout_column
from anomaly_app.windows.accumulators import Accumulators

_NOT_MERGED = frozenset({"FIRST_VALUE", "LAST_VALUE", "ARRAY_AGG", "LISTAGG", "MEDIAN", "MAD"})
"""Aggregates that hang on the order of their rows, or need all of them."""


def over(builder: Builder, node: Over) -> Built:
    """The vertex of aggregates over the rows before each row."""
    below = builder.timed(builder.node(node.input), node.time)
    layout, frame = below.layout, node.frame
    codes, env = row_codes(layout), Environment()
    lag = node.calls[0].call.name == "LAG"
    names = {call.call.name for call in node.calls}
    merges = not names & _NOT_MERGED
    accumulators = Accumulators(env, builder.dialect, gap_ms=None, merges=frame.preceding is not None and merges)
    offsets = tuple(_offset(call, layout) for call in node.calls) if lag else ()
    results = (
        [] if lag else [add_to(accumulators, call, codes.__getitem__, env, builder.dialect) for call in node.calls]
    )
    sources = [code.source for code in results if code is not None]
    lines = ["def finish(a):", *(f"    {line}" for line in accumulators.results())]
    lines.append(f"    return ({', '.join(sources)}{',' * bool(sources)})")
    program = accumulators.program("0", "")
    take, give_back = accumulators.row_by_row()
    finish = env.function("finish", "\n".join(lines))
    plan = OverPlan(
        layout,
        below.reads,
        key_of(layout, node.keys),
        program,
        take,
        None if lag else give_back,
        finish,
        True if lag else frame.rows,
        max(offset for _, offset, _ in offsets) if lag else frame.preceding,
        tuple(layout_column(layout, key) for key in node.keys),
        merges and not lag,
        not lag and frame.preceding is not None,
        offsets,
    )
    vertex = builder.add(lambda: OverRows(plan), [below], node.title)
    added = node.columns[len(node.input.columns) :]
    # A row may be behind the watermark and not late here: of another key than those that have come out.
    in_order = not plan.late_by_key
    return Built(vertex, Layout((*layout.columns, *added)), in_order, below.time, below.by_source, below.with_(added))


def _offset(call: AggregateCall, layout: Layout) -> tuple[Callable[[Row], Any], int, Callable[[Row], Any]]:
    codes, env = row_codes(layout), Environment()
    assert call.value is not None
    value = call.value.compile(codes.__getitem__, env).source
    args = call.call.args
    offset = args[1].value if len(args) > 1 and isinstance(args[1], n.Literal) else 1
    default = "None"
    if len(args) > 2:
        cast = n.Cast(args[2].span, args[2], call.value.type.with_nullable(True), False)
        default = call.value.scope.expression(cast).compile(codes.__getitem__, env).source
    return (
        env.function("value", f"def value(row):\n    return {value}"),
        offset,
        env.function("default", f"def default(row):\n    return {default}"),
    )
