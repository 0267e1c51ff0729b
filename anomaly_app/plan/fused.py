"""Patterns, windows and detectors as vertices, with the projections above them in their own step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from anomaly_app.expressions.typed import Code, Environment, guarded
from anomaly_app.graph.vertices import Inner, Vertex
from anomaly_app.multivariate.categories import category_code
from anomaly_app.operators import COLUMNS, Layout, Row
from anomaly_app.patterns.rule import Rule
from anomaly_app.plan import stateful
from anomaly_app.plan.aggregate_calls import add_to
from anomaly_app.plan.built import Built
from anomaly_app.plan.calculation import compile_calcs, is_everything, row_codes
from anomaly_app.plan.nodes import Calc, Detect, Match, WindowAggregate
from anomaly_app.schema import APPROXIMATE, TEXTS, WHOLE_NUMBERS, Column, Kind
from anomaly_app.windows.accumulators import Accumulators
from anomaly_app.windows.assign import Sessions
from anomaly_app.windows.operator import GridOperator, Grouping
from anomaly_app.windows.over import CompiledOver, OverOperator
from anomaly_app.windows.series import Retention
from anomaly_app.windows.session import SessionOperator

if TYPE_CHECKING:
    from anomaly_app.plan.physical import Builder


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


def windows(builder: Builder, node: WindowAggregate, chain: Sequence[Calc]) -> Built:
    """The vertex of the groups of windows, with projections above it."""
    if node.attached is not None:
        built = stateful.build(builder, node)
        return builder.calcs(chain, built, False) if chain else built
    below = builder.timed(builder.node(node.input), node.time)
    layout = below.layout
    width = COLUMNS + len(layout.columns)
    env = Environment()
    windows = node.windows
    gap = windows.gap_ms if isinstance(windows, Sessions) else None
    merges = isinstance(windows, Sessions) or windows.shares
    accumulators = Accumulators(env, builder.dialect, gap_ms=gap, merges=merges)
    codes = row_codes(layout)
    where = ""
    if node.condition is not None:
        with env.apart("w"):
            where = node.condition.compile_condition(codes.__getitem__, env)
    results = [add_to(accumulators, call, codes.__getitem__, env, builder.dialect) for call in node.aggregates]
    keys = [codes[key].source for key in node.keys]
    lines = ["def finish(a, start, end):", "    row = a[0]", *(f"    {line}" for line in accumulators.results())]
    aggregates = [code.source for code in results if code is not None]
    lines.append(f"    return ({', '.join([*keys, 'start', 'end', 'end - 1', *aggregates])},)")
    program = accumulators.program(keys[0] if len(keys) == 1 else f"({', '.join(keys)})", where)
    finish = env.function("finish", "\n".join(lines))
    outer = Layout(node.columns)
    if chain:
        project, builder.source["output"] = compile_calcs(chain, row_codes(outer, 0), builder.wanted(chain[-1]))
        finish = _followed(finish, project)
    builder.source["groups"] = program.source
    key_columns = [node.input.column(key) for key in node.keys]
    by_arrival = node.time in node.input.proctimes and node.time not in node.input.rowtimes
    grouping = Grouping(windows, program, finish, layout, below.reads, key_columns, by_arrival, builder.limits.groups)
    in_order = below.in_order

    def make() -> Vertex:
        operator = (
            SessionOperator(grouping, windows) if isinstance(windows, Sessions) else GridOperator(grouping, windows)
        )
        return Inner(operator, in_order=in_order, width=width, by_arrival=by_arrival)

    vertex = builder.add(make, [below], node.title)
    last = chain[-1] if chain else node
    assert node.window is not None
    time: str | None = node.window.time
    for calc in chain:
        time = calc.moved_to(time)
    columns = tuple(last.column(name) for name in builder.wanted(last)) if chain else node.columns
    return Built(vertex, Layout(columns), True, time, False)


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


class _Projection:
    """What :class:`Rule` asks for: the projections above a pattern, as a function of its output rows."""

    def __init__(self, chain: Sequence[Calc], wanted: Sequence[str]) -> None:
        self._chain, self._wanted = chain, wanted
        self.output = tuple(chain[-1].column(name) for name in wanted)

    def __call__(self, columns: tuple[Column, ...]) -> _Projection:
        self.apply, _ = compile_calcs(self._chain, row_codes(Layout(columns), 0), self._wanted)
        return self


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


_AS_THEY_ARE = WHOLE_NUMBERS | APPROXIMATE | {Kind.BOOLEAN, Kind.NULL}


def _followed(finish: Callable[..., Any], project: Callable[..., Any]) -> Callable[..., Any]:
    def finish_and_project(group: Any, start: int, end: int) -> Any:
        return project(finish(group, start, end))

    return finish_and_project
