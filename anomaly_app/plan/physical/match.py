"""Row patterns as vertices, with the projections above them in their own step."""

from __future__ import annotations

from collections.abc import Sequence

from anomaly_app.graph.vertices import Inner, Vertex
from anomaly_app.operators import COLUMNS, Layout
from anomaly_app.patterns.rule import Rule
from anomaly_app.plan.nodes import Calc, Match
from anomaly_app.plan.physical.builder import Builder
from anomaly_app.plan.physical.built import Built
from anomaly_app.plan.physical.calculation import compile_calcs, is_everything, row_codes
from anomaly_app.schema import Column


def match(builder: Builder, node: Match, chain: Sequence[Calc]) -> Built:
    """The vertex of a row pattern, with projections above it."""
    below = builder.ordered(builder.node(node.input), node.time)
    schema = node.input.schema(node.time)
    wanted = builder.wanted(chain[-1]) if chain else list(node.names)
    projection = _Projection(chain, wanted) if chain else None
    log = builder.log and below.by_source
    rule = Rule(
        node.clause,
        schema,
        node.text,
        builder.dialect,
        project=projection,
        in_order=is_everything(chain) and len(wanted) == len(node.columns),
        limits=builder.limits,
        reads_log=log,
    )
    layout, width = below.layout, COLUMNS + len(below.layout.columns)
    order_key, sort_key = rule.order_key(layout), rule.sort_key(layout)
    builder.rules[id(node)] = rule
    if below.vertex >= 0:
        builder.evidence = layout
    builder.bounded_only = builder.bounded_only or sort_key is not None

    def make() -> Vertex:
        return Inner(rule.create(layout), in_order=True, width=width, order_key=order_key, sort_key=sort_key)

    vertex = builder.add(make, [below], node.title)
    time = next((name for name in node.names if name in node.rowtimes | node.proctimes), None)
    for calc in chain:
        time = calc.moved_to(time)
    return Built(vertex, Layout(tuple(rule.output)), True, time, False)


class _Projection:
    """What :class:`Rule` asks for: the projections above a pattern, as a function of its output rows."""

    def __init__(self, chain: Sequence[Calc], wanted: Sequence[str]) -> None:
        self._chain, self._wanted = chain, wanted
        self.output = tuple(chain[-1].column(name) for name in wanted)

    def __call__(self, columns: tuple[Column, ...]) -> _Projection:
        self.apply, _ = compile_calcs(self._chain, row_codes(Layout(columns), 0), self._wanted)
        return self
