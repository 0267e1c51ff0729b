"""Detectors as vertices, with the projections above them in their own step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from anomaly_app.expressions.typed import Code, Environment, guarded
from anomaly_app.graph.vertices import Inner, Vertex
from anomaly_app.multivariate.categories import category_code
from anomaly_app.operators import COLUMNS, Layout, Row
from anomaly_app.plan.nodes import Calc, Detect
from anomaly_app.plan.physical.builder import Builder
from anomaly_app.plan.physical.built import Built
from anomaly_app.plan.physical.calculation import compile_calcs, row_codes
from anomaly_app.schema import APPROXIMATE, TEXTS, WHOLE_NUMBERS, Kind
from anomaly_app.windows.over import CompiledOver, OverOperator
from anomaly_app.windows.series import Retention

_AS_THEY_ARE = WHOLE_NUMBERS | APPROXIMATE | {Kind.BOOLEAN, Kind.NULL}


def detect(builder: Builder, node: Detect, chain: Sequence[Calc]) -> Built:
    """The vertex of detectors, with projections above it."""
    below = builder.ordered(builder.node(node.input), node.time)
    layout = below.layout
    width = COLUMNS + len(layout.columns)
    point = _compile_point(node, layout)
    results = node.columns[len(node.input.columns) :]
    codes = row_codes(layout)
    codes |= {column.name: Code(f"r{k}", column.type) for k, column in enumerate(results)}
    parameters = ", ".join(["row", *(f"r{k}" for k in range(len(results)))])
    if chain:
        wanted = builder.wanted(chain[-1])
        project, _ = compile_calcs(chain, codes, wanted, parameters=parameters)
        columns = tuple(chain[-1].column(name) for name in wanted)
    else:
        columns = (*layout.columns, *results)
        env = Environment()
        values = ", ".join(codes[column.name].source for column in columns)
        project = env.function("project", f"def project({parameters}):\n    return ({values},)")
    compiled = CompiledOver(point, project)
    keys = [node.input.column(key) for key in node.keys]
    retention = Retention(builder.ttl_ms, builder.limits.keys)

    def make() -> Vertex:
        return Inner(OverOperator(compiled, node.calls, keys, layout, retention), in_order=True, width=width)

    vertex = builder.add(make, [below], node.title)
    time: str | None = below.time
    for calc in chain:
        time = calc.moved_to(time)
    return Built(vertex, Layout(columns), True, time, False)


def _compile_point(node: Detect, layout: Layout) -> Callable[[Row], tuple[float, ...]]:
    """A row to the values of all detectors."""
    env = Environment()
    codes = row_codes(layout)
    missing = env.constant(math.nan)
    sources = []
    for values in node.values:
        for value in values:
            code = value.compile(codes.__getitem__, env)
            (tests, (name,)) = guarded(env, [code])
            helper = category_code if code.type.kind in TEXTS else float
            number = name if code.type.kind in _AS_THEY_ARE else f"{env.use(helper)}({name})"
            sources.append(f"{missing} if {tests[0]} else {number}" if tests else number)
    function: Callable[[Row], tuple[float, ...]] = env.function(
        "point", f"def point(row):\n    return ({', '.join(sources)},)"
    )
    return function
