"""Conditions taken apart and put together: what AND joins, and whether there is a query among it."""

from __future__ import annotations

from collections.abc import Sequence

from anomaly_app.expressions import nodes as n


def conjuncts(node: n.Node) -> list[n.Node]:
    """What AND puts together, from left to right."""
    found: list[n.Node] = []
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, n.Binary) and one.op == "AND":
            waiting += [one.right, one.left]
        else:
            found.append(one)
    return found


def conjunction(parts: Sequence[n.Node]) -> n.Node | None:
    """Conditions put together by AND; None for none."""
    rest: n.Node | None = None
    for part in parts:
        rest = part if rest is None else n.Binary(part.span, "AND", rest, part)
    return rest


def has_queries(tree: n.Node) -> bool:
    """Whether an expression has a query in it."""
    return any(isinstance(part, (n.InQuery, n.Exists, n.ScalarQuery)) for part in n.walk(tree))
