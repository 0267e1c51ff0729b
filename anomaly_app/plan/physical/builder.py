"""The graph of a query while it is built: its vertices so far, and what steps that add one share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anomaly_app.changes import CHANGE_COLUMN, with_change
from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions.typed import Dialect, Environment
from anomaly_app.graph.found import Role
from anomaly_app.graph.operator import VertexPlan
from anomaly_app.graph.order import Order, Retime
from anomaly_app.graph.project import Project
from anomaly_app.graph.vertices import Inner, Transform, Vertex, origin_of
from anomaly_app.limits import Limits
from anomaly_app.operators import COLUMNS, Layout
from anomaly_app.patterns.rule import Rule
from anomaly_app.plan.nodes import Calc, Detect, Match, Node, Scan, Union, ValuesRows, walk
from anomaly_app.plan.physical.built import Built
from anomaly_app.plan.physical.calculation import compile_calcs, row_codes
from anomaly_app.plan.physical.layouts import scan_layout
from anomaly_app.plan.pruning import needed_columns
from anomaly_app.plan.scope import WATERMARK
from anomaly_app.schema import BIGINT, CHANGE, Column
from anomaly_app.windows.assign import Sessions

STAMP = Column(WATERMARK, BIGINT)
_HIDDEN = {WATERMARK: STAMP, CHANGE: CHANGE_COLUMN}


@dataclass(frozen=True, slots=True)
class Steps:
    """Which step makes the vertex of which class of nodes; each takes nodes of its class only.

    Args:
        alone: of a node by itself.
        fusing: with the filters and projections above the node, the innermost first, which become part of the vertex.
    """

    alone: Mapping[type[Node], Callable[[Builder, Any], Built]]
    fusing: Mapping[type[Node], Callable[[Builder, Any, Sequence[Calc]], Built]]


class Builder:
    """Builds the graph of one query.

    Args:
        result: the node.
        steps: that make vertices.
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
        steps: Steps,
        dialect: Dialect,
        limits: Limits | None = None,
        ttl_ms: int | None = None,
        scans: Mapping[str, Layout] | None = None,
        *,
        joint: bool = False,
        time: str | None = None,
    ) -> None:
        self.time, self._steps = time, steps
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

    def wanted(self, node: Node) -> list[str]:
        """Columns of a node that somebody needs."""
        return [name for name in node.names if name in self.needs[id(node)]]

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

    def seen(self, node: Node, columns: Sequence[Column]) -> tuple[int, ...]:
        """Indexes in a row of those of these columns that somebody needs of a node."""
        needs = self.needs[id(node)]
        return tuple(place for place, column in enumerate(columns, COLUMNS) if column.name in needs)

    # --- nodes ----------------------------------------------------------------------------------------

    def finished(self) -> Built:
        """The vertex of the result, which is the last one."""
        for node in walk(self.result):  # one behind the other: the nodes may be deeper than the stack
            for below in node.inputs if not isinstance(node, Calc) else ():
                self.node(below)
            if self.uses.get(id(node), 0) > 1:
                self.node(node)
        result = self.timed(self.node(self.result, final=self.time is None), self.time)
        if self.result.updating and result.layout.columns != with_change(self.result.columns):
            result = self.picked(result, Layout(with_change(self.result.columns)), 0)
        assert result.vertex == len(self.vertices) - 1 or result.vertex < 0
        if result.vertex < 0:
            raise AssertionError("a query is at least a projection")
        return result

    def node(self, node: Node, *, final: bool = False) -> Built:
        """The vertex of a node; built once.

        Args:
            node: the node.
            final: its rows are the result.

        Raises:
            SqlValidationError: there is no step for the node.
        """
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
            return self.calcs(chain, self.node(core), final)
        fusing = self._steps.fusing.get(type(core))
        if fusing is not None:
            return fusing(self, core, chain)
        if chain:
            return self.calcs(chain, self.node(core), final)
        alone = self._steps.alone.get(type(core))
        if alone is None:
            raise SqlValidationError(f"{core.title} is not supported yet", core.text, *core.span)
        return alone(self, core)

    def picked(self, built: Built, layout: Layout, branch: int) -> Built:
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
