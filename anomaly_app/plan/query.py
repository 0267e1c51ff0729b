"""A planned query as what runs it: an operator factory over the table that it reads, or a graph over several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from anomaly_app.expressions.typed import Dialect
from anomaly_app.operators import Layout, Row
from anomaly_app.operators.graph import GraphOperator
from anomaly_app.patterns.rule import Limits
from anomaly_app.plan.nodes import Calc, Detect, Match, Node, Scan, WindowAggregate, walk
from anomaly_app.plan.physical import Builder, Physical
from anomaly_app.schema import Column


class PlannedQuery:
    """A query over one table: an :class:`~anomaly_app.operators.OperatorFactory`.

    Args:
        result: the node of the query.
        dialect: whose semantics.
        limits: on what its operators may hold.
        ttl_ms: after which the state of silent keys may be dropped; None for never.

    Raises:
        SqlValidationError: a node is not supported.
    """

    def __init__(
        self, result: Node, dialect: Dialect, *, limits: Limits | None = None, ttl_ms: int | None = None
    ) -> None:
        self.node, self._dialect, self._limits, self._ttl_ms = result, dialect, limits, ttl_ms
        self._built: dict[Layout, Physical] = {}
        physical = Builder(result, dialect, limits, ttl_ms).build()
        self.main = physical.main
        self.scans = tuple(node for node in walk(result) if isinstance(node, Scan))
        self.reads: Sequence[str] = physical.reads[self.scans[0].table] if self.scans else ()
        self.needs_order = physical.needs_order
        self.output: Sequence[Column] = result.columns
        self.partition_by: Sequence[str] | None = distribution(result)

    def create(self, layout: Layout) -> GraphOperator:
        """A fresh operator for rows of that layout."""
        physical = self._built.get(layout)
        if physical is None:
            builder = Builder(self.node, self._dialect, self._limits, self._ttl_ms, {self.scans[0].table: layout})
            physical = self._built[layout] = builder.build()
        return GraphOperator(physical.graph)

    def order_key(self, layout: Layout) -> Callable[[Row], Any] | None:
        """The graph sorts where it has to."""
        return None

    def sort_key(self, layout: Layout) -> Callable[[Row], Any] | None:
        """The graph takes rows as they come."""
        return None

    @property
    def alert_type(self) -> str:
        """What alerts of the query are called."""
        return {Match: "pattern", Detect: "anomaly", WindowAggregate: "window"}.get(type(self.main), "selection")

    @property
    def description(self) -> str:
        """One line about the query."""
        return self.main.title[0].lower() + self.main.title[1:]

    @property
    def words(self) -> Sequence[str]:
        """What the query does, step by step, as ``anomaly explain`` prints it."""
        return ["takes each row", *(node.title for node in walk(self.node) if not isinstance(node, Scan))]

    @property
    def state(self) -> str:
        """What is kept, for people."""
        holders = [node.title for node in walk(self.node) if node.inputs and not isinstance(node, Calc)]
        return "; ".join(holders) or "none: rows pass one by one"


def distribution(result: Node) -> Sequence[str] | None:
    """Columns of the one table by which its rows may be spread, so that all rows of a key meet.

    None if any spreading will do; () if all rows belong in one place: nothing else is common to all operators.
    """
    keyed = [node for node in walk(result) if _keys(node) is not None]
    common: list[str] | None = None
    for node in keyed:
        origins = [_origin(node.inputs[0], key) for key in _keys(node) or ()]
        own = [origin for origin in origins if origin is not None]
        common = own if common is None else [name for name in common if name in own]
    return None if common is None else tuple(common)


def _keys(node: Node) -> tuple[str, ...] | None:
    """Columns of its input that key a node; None for one that takes rows one by one."""
    if not node.inputs or isinstance(node, (Calc,)) or type(node).__name__ in ("Union", "UnnestRows"):
        return None
    if type(node).__name__ == "WindowAssign":
        return getattr(node, "keys", ()) or None
    return tuple(getattr(node, "keys", ()))


def _origin(node: Node, name: str) -> str | None:
    """The column of the table that a column is, as it is; None if it is another, or of several branches."""
    while not isinstance(node, Scan):
        if len(node.inputs) != 1:
            origins = {_origin(branch, name) for branch in node.inputs}
            return origins.pop() if len(origins) == 1 else None
        if isinstance(node, Calc):
            found = node.origins.get(name)
        elif isinstance(node, WindowAggregate):
            found = dict(zip(node.key_names, node.keys, strict=True)).get(name)
        elif isinstance(node, Match):
            found = name if name in node.keys else None
        else:
            found = name if name in node.inputs[0].names else None
        if found is None:
            return None
        name, node = found, node.inputs[0]
    return name
