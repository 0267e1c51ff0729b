"""Which columns tell the rows of a node apart, and how many rows there can be."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from anomaly_app.plan.nodes import Aggregate, Calc, Limit, Node, Rank, Sort, Union, ValuesRows, WindowAggregate


def unique_columns(node: Node) -> Sequence[str]:
    """Columns that together are different in every row that stands at a time; () if none are known to be."""
    if isinstance(node, Calc):
        below = unique_columns(node.input)
        moved = [node.moved_to(name) for name in below]
        return [name for name in moved if name is not None] if below and None not in moved else ()
    if isinstance(node, WindowAggregate) and node.window is not None:
        edge = node.window.end or node.window.start
        keys = node.key_names
        return [*keys, edge] if edge is not None else ()
    if isinstance(node, (Sort, Limit)):
        return unique_columns(node.input)
    key: frozenset[str] = min(node.upsert_keys, key=len, default=frozenset())
    return [name for name in node.names if name in key]


def is_unique_by(node: Node, columns: Collection[str]) -> bool:
    """Whether no two rows of a node that stand at a time are equal in all of these columns."""
    one = unique_columns(node)
    return (bool(one) and set(one) <= set(columns)) or any(key <= set(columns) for key in node.upsert_keys)


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
    return 1 if isinstance(node, Aggregate) and not node.keys else None
