"""Which columns tell the rows of a node apart, and how many rows there can be."""

from __future__ import annotations

from collections.abc import Sequence

from anomaly_app.plan.nodes import (
    Calc,
    Limit,
    Node,
    Normalize,
    Rank,
    Sort,
    Union,
    ValuesRows,
    WindowAggregate,
)


def unique_columns(node: Node) -> Sequence[str]:
    """Columns that together are different in every row; () if none are known to be."""
    if isinstance(node, Calc):
        below = unique_columns(node.input)
        moved = [node.moved_to(name) for name in below]
        return [name for name in moved if name is not None] if below and None not in moved else ()
    if isinstance(node, WindowAggregate) and node.window is not None:
        edge = node.window.end or node.window.start
        keys = node.key_names
        return [*keys, edge] if edge is not None else ()
    if isinstance(node, Rank) and node.last == node.first and node.windowed is None:
        return node.keys
    if isinstance(node, Normalize):
        return node.keys
    if isinstance(node, (Sort, Limit)):
        return unique_columns(node.input)
    if type(node).__name__ == "Aggregate":
        return tuple(getattr(node, "key_names", ()))
    return ()


def most_rows(node: Node) -> int | None:
    """How many rows a node has at most at a time; None if nothing bounds them."""
    while isinstance(node, Calc):
        node = node.input
    if isinstance(node, ValuesRows):
        return len(node.rows)
    if isinstance(node, Limit):
        return node.count
    if isinstance(node, Rank) and not node.keys and node.windowed is None:
        return node.last - node.first + 1
    if isinstance(node, Union):
        each = [most_rows(branch) for branch in node.branches]
        return None if None in each else sum(one for one in each if one is not None)
    if type(node).__name__ == "Aggregate" and not getattr(node, "keys", ("",)):
        return 1
    return None
