"""Rows of a query for a table that holds one row of each primary key, where the query has another key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anomaly_app.plan.nodes.node import Node


@dataclass(frozen=True, eq=False, kw_only=True)
class Materialize(Node):
    """The last row of each key of a sink: when it is taken back, the one before it stands again.

    Args:
        input: whose rows are changes.
        keys: the columns that the primary key of the sink is filled with.
    """

    input: Node
    keys: tuple[str, ...]

    @property
    def inputs(self) -> tuple[Node, ...]:
        """One."""
        return (self.input,)

    @property
    def title(self) -> str:
        """The key."""
        return f"Last of several rows by {', '.join(self.keys)}"


def materialized(node: Node, keys: Sequence[str]) -> Node:
    """The rows of a query as a table with a primary key holds them.

    Args:
        node: the query.
        keys: the columns that the primary key is filled with.

    Returns:
        The same, if no two of its rows can have the same key at a time, or none is ever taken back.
    """
    if not node.updating or any(key <= set(keys) for key in node.upsert_keys):
        return node
    return Materialize(
        columns=node.columns, rowtimes=node.rowtimes, proctimes=node.proctimes, updating=node.updating,
        span=node.span, text=node.text, input=node, keys=tuple(dict.fromkeys(keys)),
    )  # fmt: skip
