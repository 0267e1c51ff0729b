"""Nodes with state of their own, as vertices: OVER, ranks, ORDER BY and LIMIT, groups of windows that rows carry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.typed import Code, Environment
from anomaly_app.graph.attached import AttachedWindows
from anomaly_app.graph.normalize import LastRow, NormalizePlan
from anomaly_app.graph.over import OverPlan, OverRows
from anomaly_app.graph.rank import KeepFirst, RankPlan, WindowRank
from anomaly_app.graph.session_rows import SessionRows
from anomaly_app.graph.sort import Limit as LimitVertex, Sort as SortVertex, order_by
from anomaly_app.graph.vertices import Transform
from anomaly_app.graph.window_join import JoinSide, WindowJoinPlan, WindowJoinRows
from anomaly_app.operators import COLUMNS, Layout, Row
from anomaly_app.plan import aggregating, evaluating, lookup_build, materialize, predict_build
from anomaly_app.plan.aggregate_calls import add_to
from anomaly_app.plan.built import Built
from anomaly_app.plan.calculation import row_codes
from anomaly_app.plan.evaluate_node import Evaluate
from anomaly_app.plan.kept_joins import KeptJoin
from anomaly_app.plan.lookup_node import LookupJoin
from anomaly_app.plan.materialize import Materialize
from anomaly_app.plan.nodes import (
    MAX_RANK,
    AggregateCall,
    Limit,
    Node,
    Normalize,
    Over,
    Rank,
    Sort,
    WindowAggregate,
    WindowAssign,
    WindowJoin,
)
from anomaly_app.plan.predict_node import Predict
from anomaly_app.schema import CHANGE
from anomaly_app.windows.accumulators import Accumulators
from anomaly_app.windows.assign import Sessions

if TYPE_CHECKING:
    from anomaly_app.plan.physical import Builder

_NOT_MERGED = frozenset({"FIRST_VALUE", "LAST_VALUE", "ARRAY_AGG", "LISTAGG", "MEDIAN", "MAD"})
"""Aggregates that hang on the order of their rows, or need all of them."""


def build(builder: Builder, node: Node) -> Built:
    """The vertex of a node; raises ``SqlValidationError`` if there is none yet."""
    if isinstance(node, Over):
        return _over(builder, node)
    if isinstance(node, Rank):
        return _rank(builder, node)
    if isinstance(node, Sort):
        return _sort(builder, node)
    if isinstance(node, Limit):
        return _limit(builder, node)
    if isinstance(node, LookupJoin):
        return lookup_build.build(builder, node)
    if isinstance(node, Evaluate):
        return evaluating.build(builder, node)
    if isinstance(node, Predict):
        return predict_build.build(builder, node)
    if isinstance(node, Normalize):
        return _normalize(builder, node)
    if isinstance(node, Materialize):
        return materialize.build(builder, node)
    if isinstance(node, WindowAggregate):
        return _attached(builder, node)
    if isinstance(node, WindowJoin):
        return _window_join(builder, node)
    if isinstance(node, KeptJoin):
        from anomaly_app.plan.build_kept import build_kept

        return build_kept(builder, node)
    if isinstance(node, WindowAssign) and isinstance(node.windows, Sessions):
        return _sessions(builder, node, node.windows)
    raise SqlValidationError(f"{node.title} is not supported yet", node.text, *node.span)


def _over(builder: Builder, node: Over) -> Built:
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


def _rank(builder: Builder, node: Rank) -> Built:
    if node.is_top:
        from anomaly_app.plan.build_top import build_top

        return build_top(builder, node)
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


def _sort(builder: Builder, node: Sort) -> Built:
    below = builder.timed(builder.node(node.input), node.time)
    layout = below.layout
    order = order_by([(layout.index(c.name), c.descending, c.nulls_first) for c in node.order])
    vertex = builder.add(lambda: SortVertex(layout, below.reads, order), [below], node.title)
    return Built(vertex, layout, False, below.time, below.by_source, below.reads)


def _normalize(builder: Builder, node: Normalize) -> Built:
    below = builder.node(node.input)
    keys = tuple(layout_column(below.layout, key) for key in node.keys)
    plan = NormalizePlan(below.layout, below.reads, key_of(below.layout, node.keys), keys, builder.ttl_ms)
    vertex = builder.add(lambda: LastRow(plan), [below], node.title)
    return Built(vertex, below.layout, False, below.time, False, below.some)


def _limit(builder: Builder, node: Limit) -> Built:
    below = builder.node(node.input)
    vertex = builder.add(lambda: LimitVertex(node.offset, node.count), [below], node.title)
    return Built(vertex, below.layout, below.in_order, below.time, below.by_source, below.reads)


def _attached(builder: Builder, node: WindowAggregate) -> Built:
    window = node.attached
    assert window is not None and window.start is not None and window.end is not None
    if node.input.updating:
        return aggregating.changing_windows(builder, node)
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


def _sessions(builder: Builder, node: WindowAssign, sessions: Sessions) -> Built:
    below = builder.timed(builder.node(node.input), node.time)
    layout, key = below.layout, key_of(below.layout, node.keys)
    change = layout.index(CHANGE) if node.input.updating else None
    builder.one_by_one |= change is not None  # as for all windows over rows that may be taken back
    vertex = builder.add(lambda: SessionRows(layout, below.reads, key, sessions.gap_ms, change), [below], node.title)
    edges = node.columns[-3:]
    return Built(vertex, Layout((*layout.columns, *edges)), True, edges[2].name, False, below.with_(edges))


def _window_join(builder: Builder, node: WindowJoin) -> Built:
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


def key_of(layout: Layout, names: Sequence[str]) -> Callable[[Row], Any]:
    """The key of a row: one value, or a tuple of several or none."""
    indexes = [layout.index(name) for name in names]
    return itemgetter(*indexes) if indexes else _no_key


def layout_column(layout: Layout, name: str) -> Any:
    """A column of a layout."""
    return layout.columns[layout.index(name) - COLUMNS]


def _no_key(row: Row) -> tuple[()]:
    return ()
