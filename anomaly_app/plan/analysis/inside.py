"""A query inside an expression: its rows, and what ties it to the query around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.plan.aggregate_calls import has_aggregates
from anomaly_app.plan.analysis.relation import Relation
from anomaly_app.plan.scope import Scope
from anomaly_app.sql.queries import Select

Outer: TypeAlias = Callable[[n.Node], n.Node]
"""From a reference of a query inside an expression to the column of the query around it; raises if there is none."""

Test: TypeAlias = n.InQuery | n.Exists


@dataclass(frozen=True, slots=True)
class Inside:
    """A query inside an expression.

    Args:
        relation: its rows: all of it if nothing ties it to the query around, else what stands in its FROM, filtered.
        items: the values of its columns.
        links: conditions that read the query around, too; () if it stands by itself.
        select: the query that stands around the relation; None if the relation is all.
    """

    relation: Relation
    items: tuple[n.Node, ...]
    links: tuple[n.Node, ...] = ()
    select: Select | None = None

    @property
    def aggregates(self) -> bool:
        """Whether it is about groups of the relation's rows."""
        select = self.select
        if select is None:
            return False
        return bool(select.group_by) or select.having is not None or any(map(has_aggregates, self.items))


def is_of(tree: n.Node, scope: Scope) -> bool:
    """Whether all columns that an expression reads are of a scope."""
    try:
        for part in n.walk(tree):
            if isinstance(part, n.ColumnRef):
                scope.resolve(part)
    except SqlValidationError:
        return False
    return True
