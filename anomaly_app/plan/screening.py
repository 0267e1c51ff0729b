"""Rows of a table that a query makes no use of: what need not travel to where the query runs.

A table that is read through conditions only is judged by them before its rows go through a repartition, too. The
conditions stay where they are: a row that passes here for no reason costs, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.functions import FUNCTIONS
from anomaly_app.expressions.typed import FAILURES
from anomaly_app.operators import Layout, Row
from anomaly_app.plan.nodes import Calc, Scan, walk
from anomaly_app.plan.nodes.node import Node
from anomaly_app.plan.physical.calculation import compile_calcs, row_codes
from anomaly_app.plan.scope import HIDDEN, Expression

Chain = tuple[Calc, ...]

MOST_KEPT = 0.75
"""Of the rows that are judged: if more are kept it is not worth it."""
UNJUDGED = 16
"""So many times as many rows pass unjudged then, until some are judged again."""


def chains(result: Node, scan: Scan) -> Sequence[Chain] | None:
    """Projections and conditions through which all that reads a table gets its rows.

    Args:
        result: the query.
        scan: the table in it.

    Returns:
        One for each reader; None if one takes all rows, or if conditions may not be asked twice.
    """
    above: dict[int, list[Node]] = {}
    for node in walk(result):
        for below in node.inputs:
            above.setdefault(id(below), []).append(node)
    found: list[Chain] = []
    for user in above.get(id(scan), ()):
        chain: list[Calc] = []
        users = [user]
        while len(users) == 1 and isinstance(users[0], Calc):
            chain.append(users[0])
            users = above.get(id(chain[-1]), [])
        while chain and chain[-1].condition is None:
            chain.pop()
        if not chain or not all(map(_may_be_repeated, chain)):
            return None
        found.append(tuple(chain))
    return found or None


def _may_be_repeated(calc: Calc) -> bool:
    expressions = [*calc.items, *([calc.condition] if calc.condition is not None else [])]
    return not any(one.reads & HIDDEN or _calls_python(one) for one in expressions)


def _calls_python(expression: Expression) -> bool:
    """Whether it calls a function of the user, which may be slow, or count how often it is called."""
    calls = (node for node in n.walk(expression.node) if isinstance(node, n.Call))
    return any(call.entry is not None or call.name not in FUNCTIONS for call in calls)


class Screen:
    """Lets go of rows that nobody makes use of.

    Args:
        readers: of the table: see :func:`chains`.
        layout: columns of its rows.
    """

    def __init__(self, readers: Iterable[Chain], layout: Layout) -> None:
        codes = row_codes(layout)
        self._passes: list[Callable[[Row], Any]] = [compile_calcs(chain, codes, ())[0] for chain in readers]
        self._unjudged = 0

    def keep(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Rows without some that nobody makes use of, in their order; all of them, if it is not worth asking."""
        if self._unjudged > 0:
            self._unjudged -= len(rows)
            return rows
        try:
            kept = self._judged(rows)
        except FAILURES:
            return rows  # where the query runs it is told which
        if len(kept) > MOST_KEPT * len(rows):
            self._unjudged = UNJUDGED * len(rows)
        return kept

    def _judged(self, rows: Sequence[Row]) -> Sequence[Row]:
        first, *others = self._passes
        if not others:
            return [row for row in rows if first(row) is not None]
        return [row for row in rows if first(row) is not None or any(one(row) is not None for one in others)]
