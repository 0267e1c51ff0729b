"""A node with the names that expressions over it may use."""

from __future__ import annotations

from dataclasses import dataclass

from anomaly_app.expressions.typed import Dialect
from anomaly_app.plan.nodes import NOWHERE, Node
from anomaly_app.plan.scope import Exact, Expression, Name, Scope, names_of
from anomaly_app.schema import Column


@dataclass(frozen=True, slots=True)
class Relation:
    """What a FROM, and what follows it, has come to.

    Args:
        node: its rows.
        names: what expressions may call its columns.
        text: the whole text, for errors.
    """

    node: Node
    names: tuple[Name, ...]
    text: str

    def over(self, node: Node) -> Relation:
        """The same names over a node that has all columns of this one."""
        return Relation(node, self.names, self.text)


def identity(node: Node, text: str, dialect: Dialect) -> tuple[Expression, ...]:
    """The columns of a node as expressions over it."""
    scope = Scope(text, names_of(node.columns), dialect)
    return tuple(
        Expression(Exact.to(node.span, column), scope, column.type, frozenset({column.name}), column.name)
        for column in node.columns
    )


def bare(column: Column, scope: Scope) -> Expression:
    """A column as an expression."""
    return Expression(Exact.to(NOWHERE, column), scope, column.type, frozenset({column.name}), column.name)
