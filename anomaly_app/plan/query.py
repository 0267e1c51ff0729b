"""A planned query as what runs it: an operator factory over the table that it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from anomaly_app.errors import not_too_deep
from anomaly_app.expressions.typed import Dialect
from anomaly_app.graph.operator import GraphOperator
from anomaly_app.limits import Limits
from anomaly_app.models.model import Model
from anomaly_app.operators import Layout, Row
from anomaly_app.patterns.rule import Rule
from anomaly_app.plan import describe
from anomaly_app.plan.distribution import Spread, distribution
from anomaly_app.plan.fragments import fragments
from anomaly_app.plan.nodes import Calc, Detect, Match, Node, Predict, Scan, WindowAggregate, walk
from anomaly_app.plan.physical.graph import Physical, built_graph
from anomaly_app.plan.physical.layouts import table_layout
from anomaly_app.schema import Column, Schema

Into = tuple["Callable[[tuple[Any, ...]], tuple[Any, ...]] | None", Sequence[Column]]
"""What makes rows of a sink from rows of the query (None if they are the same), and the sink's columns."""


@dataclass(slots=True)
class PlannedQuery:
    """A query as what runs it; one over one table is an :class:`~anomaly_app.operators.OperatorFactory`.

    Args:
        node: the node of the query.
        dialect: whose semantics.
        limits: on what its operators may hold.
        ttl_ms: after which the state of silent keys may be dropped; None for never.
        into: of an INSERT.
        whole: rows of the tables have all their columns, as in memory: then it is compiled once only.
        joint: its rows come through a topic that it shares with others: nothing is read again.
        time: name of the column that the time of the rows of its result is to be; None for what it is.

    Raises:
        SqlValidationError: a node is not supported.
    """

    node: Node
    dialect: Dialect
    limits: Limits | None = None
    ttl_ms: int | None = None
    into: Into | None = None
    whole: bool = False
    joint: bool = False
    time: str | None = None
    physical: Physical = field(init=False)
    scans: tuple[Scan, ...] = field(init=False)
    schema: Schema = field(init=False)
    main: Node = field(init=False)
    output: Sequence[Column] = field(init=False)
    reads: Sequence[str] = field(init=False)
    needs_order: bool = field(init=False)
    spread: Spread = field(init=False)
    _built: dict[tuple[tuple[str, Layout], ...], Physical] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.scans = tuple(one for one in walk(self.node) if isinstance(one, Scan))
        every = {one.table: table_layout(one.source, one.source.columns) for one in self.scans}
        self.physical = self._over(every) if self.whole else self._build(None)
        self.schema = self.scan.source if self.scans else Schema(())
        self.main = self.physical.main
        self.output = self.node.columns if self.into is None else tuple(self.into[1])
        self.reads = self.physical.reads[self.scan.table] if self.scans else ()
        self.needs_order = self.physical.needs_order
        self.spread = distribution(self.node)

    @property
    def scan(self) -> Scan:
        """The table that it reads, or the first one."""
        return self.scans[0]

    def read_from(self, schema: Schema) -> None:
        """The table as its source gives it: its columns may stand in other parts of a record."""
        self.schema = schema

    @property
    def models(self) -> Sequence[Model]:
        """Models that it asks, each once."""
        return list(dict.fromkeys(node.model for node in walk(self.node) if isinstance(node, Predict)))

    # --- the operator contract ------------------------------------------------------------------------

    def create(self, layout: Layout) -> GraphOperator:
        """A fresh operator for rows of that layout."""
        return self.create_over({self.scan.table: layout})[0]

    def create_over(self, layouts: Mapping[str, Layout]) -> tuple[GraphOperator, Layout]:
        """A fresh operator over several tables, or none, and the columns of the rows that findings tell.

        Args:
            layouts: of the rows of each table, by name. Input ``-1 - k`` of the graph is ``scans[k]``.
        """
        physical = self._over(layouts)
        into = self.into[0] if self.into is not None else None
        return GraphOperator(physical.graph, into), physical.evidence or Layout(())

    def evidence(self, layout: Layout) -> Layout:
        """Columns of the rows that findings tell, over rows of a layout."""
        return self._over({self.scan.table: layout}).evidence or layout

    def evidence_over(self, layouts: Mapping[str, Layout]) -> Layout:
        """Columns of the rows that findings tell, over rows of several tables; arguments as of :meth:`create_over`."""
        return self._over(layouts).evidence or Layout(())

    def roles_over(self, layouts: Mapping[str, Layout]) -> Mapping[str, Layout]:
        """Columns of the rows that findings tell, by role, where they are not all the same; {} where they are."""
        return {role.name: role.layout for role in self._over(layouts).graph.roles}

    def _over(self, layouts: Mapping[str, Layout]) -> Physical:
        """Compiled once, whatever the number of partitions."""
        key = tuple(layouts.items())
        physical = self._built.get(key)
        if physical is None:
            physical = self._built[key] = self._build(layouts)
        return physical

    def _build(self, layouts: Mapping[str, Layout] | None) -> Physical:
        with not_too_deep(self.node.text, self.node.span):
            return built_graph(
                self.node, self.dialect, self.limits, self.ttl_ms, layouts, joint=self.joint, time=self.time
            )

    def order_key(self, layout: Layout) -> Callable[[Row], Any] | None:
        """The graph sorts where it has to."""
        return None

    def sort_key(self, layout: Layout) -> Callable[[Row], Any] | None:
        """The graph sorts where it has to."""
        return None

    @property
    def partition_by(self) -> Sequence[str] | None:
        """Columns of the first table that key the query; () if all rows belong in one place, None if any will do."""
        return self.spread[0] if self.spread else None

    def fragments(self, name: str = "") -> Sequence[PlannedQuery]:
        """What it is cut into, those that others read first; itself if it is not cut.

        Args:
            name: begins the names of the tables that rows of fragments are.
        """
        parts = [] if self.bounded_only else fragments(self.node, name)
        if len(parts) < 2:
            return [self]
        return [
            replace(self, node=one.node, into=self.into if one is parts[-1] else None, joint=True, time=one.time)
            for one in parts
        ]

    @property
    def bounded_only(self) -> bool:
        """Whether the whole input must be there before the first row comes out."""
        return self.physical.bounded_only

    @property
    def detects(self) -> bool:
        """Whether its rows are findings: of a pattern, a detector, or a HAVING of windows."""
        return any(
            isinstance(one, (Match, Detect))
            or (isinstance(one, Calc) and one.condition is not None and isinstance(one.input, WindowAggregate))
            for one in walk(self.node)
        )

    # --- for people -----------------------------------------------------------------------------------

    @property
    def key(self) -> Sequence[Column]:
        """Columns of the key of its findings."""
        return self.physical.key

    @property
    def alert_type(self) -> str:
        """What alerts of the query are called."""
        return describe.alert_type(self.main)

    @property
    def rule(self) -> Rule | None:
        """The row pattern that the query is about; None if it is about something else."""
        return self.physical.rules.get(id(self.main))

    @property
    def is_rule(self) -> bool:
        """Whether the query is a row pattern over the rows of a table, and nothing else."""
        return self.physical.plain_rule

    @property
    def definitions(self) -> Mapping[str, str]:
        """Text of the DEFINE condition of each pattern variable."""
        return self.rule.definitions if self.rule is not None else {}

    @property
    def pattern_text(self) -> str:
        """Text of the pattern; "" without."""
        return self.rule.pattern_text if self.rule is not None else ""

    @property
    def all_rows(self) -> bool:
        """Whether a match gives one output row for each of its rows."""
        return self.rule is not None and self.rule.all_rows

    @property
    def measures(self) -> Mapping[str, str]:
        """Output columns that are measures of the pattern, and the text of each."""
        if self.rule is None or not describe.gives_everything(self.node, self.main):
            return {}
        return dict(
            (out.name, text)
            for out, own in zip(self.output, self.node.columns, strict=False)
            if (text := self.rule.measures.get(own.name)) is not None
        )

    @property
    def labels(self) -> Mapping[str, str]:
        """What columns without a name are called for people: their expressions."""
        return describe.labels(self.node) if self.into is None else {}

    @property
    def description(self) -> str:
        """One line about the query."""
        if self.rule is not None:
            return self.rule.description
        return describe.description(self.node, self.main)

    @property
    def words(self) -> Sequence[str]:
        """What the query does, step by step, as ``anomaly explain`` prints it."""
        return describe.words(self.node)

    @property
    def state(self) -> str:
        """What is kept, for people."""
        return describe.state(self.node, self.ttl_ms)

    @property
    def source(self) -> Mapping[str, str]:
        """Generated Python, by name."""
        return self.physical.source
