"""Logical nodes to a graph of operators: columns pruned, projections fused, rows put into order where it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from anomaly_app.changes import CHANGE_COLUMN, with_change
from anomaly_app.expressions.typed import Code, Dialect, Environment
from anomaly_app.graph.found import Role
from anomaly_app.graph.operator import GraphPlan, VertexPlan
from anomaly_app.graph.order import Order, Retime
from anomaly_app.graph.project import Project
from anomaly_app.graph.vertices import Constant, Expand, Inner, Merge, Stamp, Transform, Vertex, origin_of
from anomaly_app.operators import COLUMNS, POSITION, TIME, Layout, Row
from anomaly_app.patterns.rule import Limits, Rule
from anomaly_app.plan import aggregating, fused, stateful
from anomaly_app.plan.built import Built
from anomaly_app.plan.calculation import compile_calcs, row_codes
from anomaly_app.plan.fragments import Exchange
from anomaly_app.plan.groups import Aggregate
from anomaly_app.plan.join_nodes import TimedJoin
from anomaly_app.plan.lookup_node import LookupJoin
from anomaly_app.plan.nodes import (
    Calc,
    Detect,
    Match,
    Node,
    Scan,
    Union,
    UnnestRows,
    ValuesRows,
    WindowAggregate,
    WindowAssign,
    walk,
)
from anomaly_app.plan.predict_node import Predict
from anomaly_app.plan.pruning import is_stateless, needed_columns
from anomaly_app.plan.scope import WATERMARK
from anomaly_app.schema import BIGINT, CHANGE, Changelog, Column, Schema
from anomaly_app.windows.assign import Grid, Sessions


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


_STAMP = Column(WATERMARK, BIGINT)
_HIDDEN = {WATERMARK: _STAMP, CHANGE: CHANGE_COLUMN}


class Builder:
    """Builds the graph of one query.

    Args:
        result: the node.
        dialect: whose semantics.
        limits: on what operators may hold.
        ttl_ms: after which the state of silent keys may be dropped; None for never.
        scans: layout of the rows of each table, by name; those of the columns that are needed, if left out.
        joint: the rows come as those of several tables do, also if there is one.
        time: name of the column that the time of the result's rows is to be; None for what it is.
    """

    def __init__(
        self,
        result: Node,
        dialect: Dialect,
        limits: Limits | None = None,
        ttl_ms: int | None = None,
        scans: Mapping[str, Layout] | None = None,
        *,
        joint: bool = False,
        time: str | None = None,
    ) -> None:
        self.time = time
        self.result, self.dialect, self.limits, self.ttl_ms = result, dialect, limits or Limits(), ttl_ms
        self.needs = needed_columns(result)
        self.uses: dict[int, int] = {}
        self.scans: list[Scan] = []
        for node in walk(result):
            if isinstance(node, Scan):
                self.scans.append(node)
            for below in node.inputs:
                self.uses[id(below)] = self.uses.get(id(below), 0) + 1
        self.reads = {scan.table: tuple(n for n in scan.names if n in self.needs[id(scan)]) for scan in self.scans}
        self.layouts = scans or {
            scan.table: scan_layout(scan, (c for c in scan.columns if c.name in self.needs[id(scan)]))
            for scan in self.scans
        }
        stamped = any(WATERMARK in self.needs[id(scan)] for scan in self.scans)
        self.needs_order = len(self.scans) == 1 and not joint and not stamped and self._all_ordered(self.scans[0])
        stateful = [node for node in walk(result) if not isinstance(node, (Scan, Calc, Union, ValuesRows))]
        self.log = self.needs_order and len(stateful) == 1
        self.vertices: list[VertexPlan] = []
        self.built: dict[int, Built] = {}
        self.rules: dict[int, Rule] = {}
        self.source: dict[str, str] = {}
        self.bounded_only = self.one_by_one = False
        self.evidence: Layout | None = None
        self.roles: tuple[Role, ...] = ()
        self.splits_at = int(any(isinstance(getattr(node, "windows", None), Sessions) for node in walk(result)))

    def _all_ordered(self, scan: Scan) -> bool:
        """Whether everything that takes the rows of a scan, perhaps filtered and projected, needs their order."""
        if not scan.rowtimes and not scan.proctimes:
            return True
        above: dict[int, list[Node]] = {}
        for node in walk(self.result):
            for below in node.inputs:
                above.setdefault(id(below), []).append(node)
        waiting: list[Node] = [scan]
        while waiting:
            node = waiting.pop()
            users = above.get(id(node), [])
            if not users:
                return False
            for user in users:
                if isinstance(user, Calc):
                    waiting.append(user)
                elif not isinstance(user, (Match, Detect)):
                    return False
        return True

    def build(self) -> Physical:
        """The graph."""
        for node in walk(self.result):  # one behind the other: the nodes may be deeper than the stack
            for below in node.inputs if not isinstance(node, Calc) else ():
                self._build(below)
            if self.uses.get(id(node), 0) > 1:
                self._build(node)
        result = self.timed(self._build(self.result, final=self.time is None), self.time)
        if self.result.updating and result.layout.columns != with_change(self.result.columns):
            result = self._picked(result, Layout(with_change(self.result.columns)), 0)
        assert result.vertex == len(self.vertices) - 1 or result.vertex < 0
        if result.vertex < 0:
            raise AssertionError("a query is at least a projection")
        width = len(self.layouts[self.scans[0].table].columns) if self.scans else 0
        columns = Layout(tuple(self.result.columns))
        # What a lookup gives may be another row in a replay: a result that is out already is known by its way then.
        by_path = is_stateless(self.result) and any(isinstance(one, (LookupJoin, Predict)) for one in walk(self.result))
        graph = GraphPlan(
            tuple(self.vertices), width, columns, self.splits_at, self.one_by_one, bool(self.result.updating), by_path,
            self.roles, unsteady_columns(self.result),
        )  # fmt: skip
        last = self.result
        while isinstance(last, Calc):
            last = last.input
        key: tuple[Column, ...] = ()
        if isinstance(last, (Match, Detect, WindowAggregate)) and len(self.vertices) and self._gives_findings(last):
            key = tuple(last.input.column(name) for name in last.keys)
        plain_rule = len(self.vertices) == 1 and isinstance(last, Match)
        return Physical(
            graph, self.reads, self.needs_order, main_node(self.result), key, self.rules, plain_rule,
            self.bounded_only, self.evidence, self.source,
        )  # fmt: skip

    def _gives_findings(self, node: Node) -> bool:
        """Whether the findings of a node are the result, with their keys."""
        attached = isinstance(node, WindowAggregate) and node.attached is not None
        return not attached and self.uses.get(id(node), 0) < 2

    def wanted(self, node: Node) -> list[str]:
        """Columns of a node that somebody needs."""
        return [name for name in node.names if name in self.needs[id(node)]]

    def node(self, node: Node) -> Built:
        """The vertex of a node; built once."""
        return self._build(node)

    def add(self, make: Callable[[], Vertex], inputs: Sequence[Built | int], name: str) -> int:
        """A vertex; gives its number.

        Args:
            make: makes a fresh one.
            inputs: what it reads; a bare number for what has no columns that anybody could be told.
            name: for people.
        """
        numbers = tuple(one.vertex if isinstance(one, Built) else one for one in inputs)
        layouts = tuple(one.layout if isinstance(one, Built) else None for one in inputs)
        reads = tuple(one.reads if isinstance(one, Built) else () for one in inputs)
        self.vertices.append(VertexPlan(make, numbers, name, layouts, reads))
        return len(self.vertices) - 1

    # --- nodes ----------------------------------------------------------------------------------------

    def _build(self, node: Node, *, final: bool = False) -> Built:
        known = self.built.get(id(node))
        if known is None:
            known = self.built[id(node)] = self._make(node, final)
        return known

    def _make(self, node: Node, final: bool) -> Built:
        chain: list[Calc] = []
        core = node
        while isinstance(core, Calc) and (core is node or self.uses.get(id(core), 0) < 2):
            chain.append(core)
            core = core.input
        chain.reverse()
        if chain and self.uses.get(id(core), 0) > 1:
            return self.calcs(chain, self._build(core), final)
        if isinstance(core, Match):
            return fused.match(self, core, chain)
        if isinstance(core, WindowAggregate):
            return fused.windows(self, core, chain)
        if isinstance(core, Detect):
            return fused.detect(self, core, chain)
        if isinstance(core, TimedJoin):
            from anomaly_app.plan.build_joins import build_join

            return build_join(self, core, chain)
        if isinstance(core, Aggregate):
            return aggregating.aggregated(self, core, chain)
        below = self._build(core) if chain else self._other(core)
        return self.calcs(chain, below, final) if chain else below

    def _other(self, node: Node) -> Built:
        if isinstance(node, Scan):
            return self._scan(node)
        if isinstance(node, ValuesRows):
            return self._values(node)
        if isinstance(node, Union):
            return self._union(node)
        if isinstance(node, UnnestRows):
            return self._unnest(node)
        if isinstance(node, WindowAssign):
            return self._assign(node)
        return aggregating.build(self, node) or stateful.build(self, node)

    def _scan(self, node: Scan) -> Built:
        time = node.source.rowtime or node.source.proctime
        vertex, layout = -1 - self.scans.index(node), self.layouts[node.table]
        if WATERMARK in self.needs[id(node)]:
            width = COLUMNS + len(layout.columns)
            vertex = self.add(lambda: Stamp(width), [vertex], "Watermark")
            layout = Layout((*layout.columns, _STAMP))
        in_order = self.needs_order or not node.rowtimes
        reads = frozenset([*self.reads[node.table], *[CHANGE] * bool(node.updating)])
        return Built(vertex, layout, in_order, time, not isinstance(node, Exchange), reads)

    def _values(self, node: ValuesRows) -> Built:
        env = Environment()
        rows: list[str] = []
        for row in node.rows:
            codes = [item.compile(_no_column, env).source for item in row]
            rows.append(f"(0, 0, {''.join(code + ', ' for code in codes)}(({len(rows)},), 0))")
        make: Callable[[], list[Row]] = env.function("values", f"def values():\n    return [{', '.join(rows)}]")
        vertex = self.add(lambda: Constant(make), [], node.title)
        return Built(vertex, Layout(node.columns), True, None, False)

    def _union(self, node: Union) -> Built:
        columns = [column for column in node.columns if column.name in self.needs[id(node)]] or list(node.columns[:1])
        layout = Layout(with_change(columns) if node.updating else tuple(columns))
        branches: list[Built] = []
        for branch in node.branches:
            built = self._build(branch)
            time = next((name for name in node.names if name in node.rowtimes | node.proctimes), None)
            if time is not None and built.time != time:
                built = self._retimed(built, time)
            branches.append(self._picked(built, layout, len(branches)))
        by: tuple[int, ...] = ()
        if all(map(is_stateless, node.branches)):
            by = (TIME, POSITION) if self.needs_order else (POSITION,)
        elif all(branch.in_order for branch in branches):
            by = (TIME,)
        else:
            self.one_by_one = True
        vertex = self.add(lambda: Merge(by), branches, node.title)
        time = branches[0].time
        if any(branch.time != time for branch in branches):
            time = None
        return Built(vertex, layout, False, time, False)

    def _picked(self, built: Built, layout: Layout, branch: int) -> Built:
        """Rows of a branch with some of their columns, in another order; one row may come through several branches."""
        places = {column.name: f"row[{n}]" for n, column in enumerate(built.layout.columns, COLUMNS)}
        places.setdefault(CHANGE, "0")  # nothing is taken back in this branch
        width = COLUMNS + len(built.layout.columns)
        env = Environment()
        origin = f"origin_of(row, {width}, {branch})"
        values = ", ".join(["row[0]", "row[1]", *(places[column.name] for column in layout.columns), origin])
        env.names["origin_of"] = origin_of
        apply = env.function("pick", f"def pick(row):\n    return ({values},)")
        vertex = self.add(lambda: Transform(apply, width), [built], "Pick")
        return Built(vertex, layout, built.in_order, built.time, False)

    def calcs(self, chain: Sequence[Calc], below: Built, final: bool) -> Built:
        """The vertex of projections and filters one above the other; ``final`` if its rows are the result."""
        last = chain[-1]
        hidden = {name: column for name, column in _HIDDEN.items() if name in self.needs[id(last)]}
        wanted = [*self.wanted(last), *hidden]
        width = COLUMNS + len(below.layout.columns)
        name = "; ".join(calc.title for calc in chain)
        codes = row_codes(below.layout)
        if final and below.by_source and not last.updating:
            apply, _ = compile_calcs(chain, codes, wanted)
            vertex = self.add(lambda: Inner(Project(apply), in_order=True, width=width), [below], name)
        else:
            apply, _ = compile_calcs(chain, codes, wanted, before=("row[0]", "row[1]"), behind=f"row[{width}:]")
            vertex = self.add(lambda: Transform(apply, width), [below], name)
        time = below.time
        for calc in chain:
            time = calc.moved_to(time)
        return Built(
            vertex,
            Layout(tuple(hidden.get(name) or last.column(name) for name in wanted)),
            below.in_order,
            time,
            below.by_source,
        )

    def _unnest(self, node: UnnestRows) -> Built:
        below = self._build(node.input)
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
        vertex = self.add(lambda: Expand(expand, width), [below], node.title)
        layout = Layout((*below.layout.columns, *own))
        return Built(vertex, layout, below.in_order, below.time, False, below.with_(own))

    def _assign(self, node: WindowAssign) -> Built:
        windows = node.windows
        if isinstance(windows, Sessions):
            return stateful.build(self, node)
        below = self.timed(self._build(node.input), node.time)
        width = COLUMNS + len(below.layout.columns)

        def expand(row: Row, windows: Grid = windows) -> list[Row]:
            head, slice_ = row[:width], windows.slice(row[TIME])
            found = []
            for n, end in enumerate(range(slice_ + windows.step_ms, windows.last_end(slice_) + 1, windows.step_ms)):
                found.append((*head, windows.start(end), end, end - 1, origin_of(row, width, n)))
            return found

        def assign(row: Row, windows: Grid = windows) -> Row:
            slice_ = windows.slice(row[TIME])
            end = slice_ + windows.step_ms
            return (*row[:width], slice_, end, end - 1, *row[width:])

        edges = node.columns[-3:]
        layout = Layout((*below.layout.columns, *edges))
        if windows.size_ms == windows.step_ms:
            vertex = self.add(lambda: Transform(assign, width), [below], node.title)
            return Built(vertex, layout, below.in_order, below.time, below.by_source, below.with_(edges))
        vertex = self.add(lambda: Expand(expand, width), [below], node.title)
        return Built(vertex, layout, below.in_order, below.time, False, below.with_(edges))

    # --- time -----------------------------------------------------------------------------------------

    def timed(self, built: Built, time: str | None) -> Built:
        """Rows whose time is that of a column."""
        return built if time is None or built.time == time else self._retimed(built, time)

    def _retimed(self, built: Built, time: str) -> Built:
        index, width = built.layout.index(time), COLUMNS + len(built.layout.columns)
        vertex = self.add(lambda: Retime(index, width), [built], f"Time {time}")
        return Built(vertex, built.layout, False, time, built.by_source, built.some)

    def ordered(self, built: Built, time: str | None) -> Built:
        """Rows in order of the time of a column."""
        built = self.timed(built, time)
        if built.in_order:
            return built
        layout = built.layout
        vertex = self.add(lambda: Order(layout, built.reads), [built], f"Order by {time}")
        return Built(vertex, layout, True, built.time, built.by_source, built.some)


def scan_layout(scan: Scan, columns: Iterable[Column]) -> Layout:
    """Some columns of a scan as the layout of its rows."""
    return table_layout(scan.source, columns)


def table_layout(schema: Schema, columns: Iterable[Column]) -> Layout:
    """Some columns of a table as the layout of its rows; of one that changes, with the kind of change behind them."""
    return Layout(tuple(columns) if schema.changelog is Changelog.APPEND else with_change(tuple(columns)))


def _no_column(name: str) -> Code:
    raise AssertionError(f"a constant reads {name}")


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
