"""Windows as vertices: rows with their windows, and groups of windows with the projections above them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from anomaly_app.expressions.typed import Environment
from anomaly_app.graph.attached import AttachedWindows
from anomaly_app.graph.changing_windows import ChangingWindows, ChangingWindowsPlan
from anomaly_app.graph.session_rows import SessionRows
from anomaly_app.graph.vertices import Expand, Inner, Transform, Vertex, origin_of
from anomaly_app.operators import COLUMNS, TIME, Layout, Row
from anomaly_app.plan.aggregate_calls import add_to
from anomaly_app.plan.nodes import Calc, WindowAggregate, WindowAssign
from anomaly_app.plan.physical.builder import Builder
from anomaly_app.plan.physical.built import Built
from anomaly_app.plan.physical.calculation import compile_calcs, row_codes
from anomaly_app.plan.physical.keys import key_of, layout_column, value_of_key
from anomaly_app.schema import CHANGE
from anomaly_app.windows.accumulators import Accumulators
from anomaly_app.windows.assign import Grid, Sessions
from anomaly_app.windows.operator import GridOperator, Grouping
from anomaly_app.windows.session import SessionOperator
from anomaly_app.windows.tallies import Tallies


def assign(builder: Builder, node: WindowAssign) -> Built:
    """The vertex that gives each row once for each of its windows, with their edges."""
    windows = node.windows
    if isinstance(windows, Sessions):
        return _sessions(builder, node, windows)
    below = builder.timed(builder.node(node.input), node.time)
    width = COLUMNS + len(below.layout.columns)

    def expand(row: Row, windows: Grid = windows) -> list[Row]:
        head, slice_ = row[:width], windows.slice(row[TIME])
        found = []
        for n, end in enumerate(range(slice_ + windows.step_ms, windows.last_end(slice_) + 1, windows.step_ms)):
            found.append((*head, windows.start(end), end, end - 1, origin_of(row, width, n)))
        return found

    def with_edges(row: Row, windows: Grid = windows) -> Row:
        slice_ = windows.slice(row[TIME])
        end = slice_ + windows.step_ms
        return (*row[:width], slice_, end, end - 1, *row[width:])

    edges = node.columns[-3:]
    layout = Layout((*below.layout.columns, *edges))
    if windows.size_ms == windows.step_ms:
        vertex = builder.add(lambda: Transform(with_edges, width), [below], node.title)
        return Built(vertex, layout, below.in_order, below.time, below.by_source, below.with_(edges))
    vertex = builder.add(lambda: Expand(expand, width), [below], node.title)
    return Built(vertex, layout, below.in_order, below.time, False, below.with_(edges))


def _sessions(builder: Builder, node: WindowAssign, sessions: Sessions) -> Built:
    below = builder.timed(builder.node(node.input), node.time)
    layout, key = below.layout, key_of(below.layout, node.keys)
    change = layout.index(CHANGE) if node.input.updating else None
    builder.one_by_one |= change is not None  # as for all windows over rows that may be taken back
    vertex = builder.add(lambda: SessionRows(layout, below.reads, key, sessions.gap_ms, change), [below], node.title)
    edges = node.columns[-3:]
    return Built(vertex, Layout((*layout.columns, *edges)), True, edges[2].name, False, below.with_(edges))


def grouped(builder: Builder, node: WindowAggregate, chain: Sequence[Calc]) -> Built:
    """The vertex of the groups of windows, with projections above it."""
    if node.attached is not None:
        built = (_changing if node.input.updating else _attached)(builder, node)
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


def _followed(finish: Callable[..., Any], project: Callable[..., Any]) -> Callable[..., Any]:
    def finish_and_project(group: Any, start: int, end: int) -> Any:
        return project(finish(group, start, end))

    return finish_and_project


def _attached(builder: Builder, node: WindowAggregate) -> Built:
    """The vertex of windows that the rows carry."""
    window = node.attached
    assert window is not None and window.start is not None and window.end is not None
    below = builder.node(node.input)
    layout, env = below.layout, Environment()
    codes = row_codes(layout)
    accumulators = Accumulators(env, builder.dialect, gap_ms=None, merges=False)
    results = [add_to(accumulators, call, codes.__getitem__, env, builder.dialect) for call in node.aggregates]
    keys = [codes[key].source for key in node.keys]
    lines = ["def finish(a, start, end):", "    row = a[0]", *(f"    {line}" for line in accumulators.results())]
    aggregates = [code.source for code in results if code is not None]
    lines.append(f"    return ({', '.join([*keys, 'start', 'end', 'end - 1', *aggregates])},)")
    names = (window.start, window.end, *node.keys)
    program = accumulators.program(f"({', '.join(codes[name].source for name in names)})", "")
    finish = env.function("finish", "\n".join(lines))
    columns = [layout_column(layout, name) for name in names]
    end = layout.index(window.end)
    vertex = builder.add(
        lambda: AttachedWindows(program, finish, layout, columns, below.reads, end), [below], node.title
    )
    assert node.window is not None
    return Built(vertex, Layout(node.columns), True, node.window.time, False)


def _changing(builder: Builder, node: WindowAggregate) -> Built:
    """The vertex of windows over rows that may be taken back."""
    window, windows = node.attached, node.windows
    assert window is not None and window.start is not None and window.end is not None and isinstance(windows, Grid)
    below = builder.node(node.input)
    # A row that is taken back has the time that it came with: only the watermark in front of it tells what is over.
    builder.one_by_one = True
    layout, env = below.layout, Environment()
    codes, change = row_codes(layout), layout.index(CHANGE)
    tallies = Tallies(env, builder.dialect, change=change)
    results = [add_to(tallies, call, codes.__getitem__, env, builder.dialect) for call in node.aggregates]
    keys = [
        codes[window.start].source,
        codes[window.end].source,
        *(value_of_key(codes[name], env) for name in node.keys),
    ]
    program = tallies.program(f"({', '.join(keys)})")
    values = [*(f"key[{place}]" for place in range(len(node.keys))), "start", "end", "end - 1"]
    values += [code.source for code in results if code is not None]
    lines = ["def finish(a, start, end, key):", *(f"    {line}" for line in tallies.results())]
    finish = env.function("finish", "\n".join([*lines, f"    return ({', '.join(values)},)"]))
    columns = tuple(node.input.column(name) for name in node.keys)

    def last_end(row: Row) -> int:
        return windows.last_end(windows.slice(row[TIME]))

    plan = ChangingWindowsPlan(layout, change, layout.index(window.end), last_end, program, finish, columns)
    builder.source["groups"] = program.source
    vertex = builder.add(lambda: ChangingWindows(plan), [below], node.title)
    assert node.window is not None
    return Built(vertex, Layout(node.columns), True, node.window.time, False)
