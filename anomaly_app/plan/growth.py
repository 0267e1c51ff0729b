"""State that nothing bounds: what grows for ever without ``table.exec.state.ttl``."""

from __future__ import annotations

from collections.abc import Sequence

from anomaly_app.plan.groups import Aggregate
from anomaly_app.plan.kept_joins import KeptJoin
from anomaly_app.plan.nodes import Node, Rank, walk

_WAY = "SET 'table.exec.state.ttl' = '30 d' before it drops what has had no row for so long"


def grows_for_ever(result: Node) -> Sequence[tuple[Node, str]]:
    """Nodes of a query whose state nothing bounds, and what to say about each."""
    found: list[tuple[Node, str]] = []
    for node in walk(result):
        what = _growing(node)
        if what:
            found.append((node, f"{what} for ever: {_WAY}"))
    return found


def _growing(node: Node) -> str:
    if isinstance(node, KeptJoin):
        return "this join keeps all rows of both sides"
    if isinstance(node, Aggregate) and node.keys:
        return f"{'groups' if node.aggregates else 'rows'} by {', '.join(node.key_names)} are kept"
    if isinstance(node, Rank) and node.is_top and node.input.updating:
        return "the rows that are ranked are all kept, since those before them may be taken back,"
    if isinstance(node, Rank) and node.is_top and node.keys:
        return f"the first rows by {', '.join(node.keys)} are kept"
    return ""
