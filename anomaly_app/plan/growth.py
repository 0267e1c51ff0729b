"""State that nothing bounds: which nodes of a query keep it, and what would bound it."""

from __future__ import annotations

from collections.abc import Iterator

from anomaly_app.plan.nodes import Aggregate, KeptJoin, Node, Rank, walk

STATE_TTL = "table.exec.state.ttl"
"""Flink's option: how long the state of a key that gets no rows is kept; 0, the default, for ever."""


def warnings(result: Node, ttl_ms: int | None) -> Iterator[str]:
    """What to say about state that grows for ever.

    Args:
        result: node of the query.
        ttl_ms: after which the state of silent keys is dropped; None for never.

    Example:
        >>> from anomaly_app.plan.nodes import ValuesRows
        >>> list(warnings(ValuesRows(columns=(), rows=()), None))
        []
    """
    if ttl_ms is not None:
        return
    for node in walk(result):
        kept = _kept(node)
        if kept:
            line = node.text.count("\n", 0, node.span.start) + 1
            yield f"line {line}: {kept} for ever: SET '{STATE_TTL}' = '7 d' drops what has had no row for that long"


def _kept(node: Node) -> str:
    """What of a node is kept for ever; "" for nothing that grows."""
    if isinstance(node, Aggregate):
        if not node.keys:
            return ""
        return f"{'groups' if node.aggregates else 'rows of DISTINCT'} by {node.by} are kept"
    if isinstance(node, KeptJoin):
        return f"the rows of both sides of a join{node.by} are kept"
    if isinstance(node, Rank) and node.is_top and node.input.updating:
        return "the rows that are ranked are all kept, since those before them may be taken back,"
    if isinstance(node, Rank) and node.is_top and node.keys:
        return f"rows of each {', '.join(node.keys)} are kept"
    return ""
