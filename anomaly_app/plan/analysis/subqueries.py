"""Queries inside expressions, which become joins: [NOT] IN, [NOT] EXISTS, and a query as a value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.plan.analysis import join_where, scalar, semi_join
from anomaly_app.plan.analysis.context import Context
from anomaly_app.plan.analysis.inside import Inside, Outer, Test, is_of
from anomaly_app.plan.analysis.join_sides import with_fields
from anomaly_app.plan.analysis.relation import Relation
from anomaly_app.plan.conditions import conjunction, conjuncts, has_queries
from anomaly_app.plan.scope import Exact, Scope, names_of
from anomaly_app.sql.queries import QueryTree, Select

MAX_DEPTH = 30
"""Queries inside expressions inside each other at most."""


def filtered(context: Context, relation: Relation, condition: n.Node, what: str) -> Relation:
    """A relation with a condition that has queries in it.

    Args:
        context: whose tables.
        relation: whose rows.
        condition: the condition.
        what: what it is called in errors.

    Raises:
        SqlValidationError: a query is none that may stand there.
    """
    parts = conjuncts(condition)
    plain = conjunction([part for part in parts if not has_queries(part)])
    if plain is not None:
        relation = context.filtered(relation, plain, what)
    for part in parts:
        if not has_queries(part):
            continue
        negated, inner = False, part
        while isinstance(inner, n.Unary) and inner.op == "NOT":
            negated, inner = not negated, inner.operand
        values = Values(context, relation)
        if isinstance(inner, (n.InQuery, n.Exists)) and not _operand_asks(inner):
            relation = values.tested(inner, negated)
        else:
            left = values.replaced(part)
            relation = context.filtered(values.relation, left, what)
    return relation


def _operand_asks(test: Test) -> bool:
    return isinstance(test, n.InQuery) and has_queries(test.operand)


def valued(
    context: Context, relation: Relation, trees: Sequence[n.Node], replaced: Callable[[n.Node], n.Node]
) -> tuple[Relation, Callable[[n.Node], n.Node]]:
    """A relation that has what queries inside expressions give as columns, and what replaces the queries by these.

    Args:
        context: whose tables.
        relation: whose rows.
        trees: the expressions.
        replaced: what has replaced parts of expressions so far, such as aggregates.
    """
    if not any(map(has_queries, trees)):
        return relation, replaced
    values = Values(context, relation, replaced)
    made = {id(tree): values.replaced(replaced(tree)) for tree in trees}
    return values.relation, lambda tree: made[id(tree)] if id(tree) in made else replaced(tree)


class Values:
    """Joins a relation with the queries of expressions, one after the other.

    Args:
        context: whose tables.
        relation: whose rows.
        replaced: from an expression of the query to one over the relation, such as over its groups.

    Attributes:
        relation: with what has been joined so far.
    """

    def __init__(
        self, context: Context, relation: Relation, replaced: Callable[[n.Node], n.Node] | None = None
    ) -> None:
        self.context, self.relation = context, relation
        self._replaced = replaced or (lambda tree: tree)

    def tested(self, test: Test, negated: bool) -> Relation:
        """Rows for which [NOT] IN or [NOT] EXISTS is true."""
        inside = self._inside(test.query, test)
        return semi_join.tested(self.context, self.relation, test, negated, inside, self._outer)

    def replaced(self, tree: n.Node) -> n.Node:
        """An expression over the relation, with columns in place of its queries."""
        return n.rewritten(tree, self._value)

    def _value(self, part: n.Node) -> n.Node:
        if isinstance(part, n.ScalarQuery):
            inside = self._inside(part.query, part)
            self.relation, value = scalar.joined(self.context, self.relation, part, inside, self._outer)
            return value
        if isinstance(part, (n.InQuery, n.Exists)):
            inside = self._inside(part.query, part)
            self.relation, value = semi_join.marked(self.context, self.relation, part, inside, self._outer)
            return value
        return part

    def _outer(self, part: n.Node) -> n.Node:
        """A reference to a column of the query around."""
        new = self._replaced(part)
        if not isinstance(new, n.ColumnRef):
            return new
        column, fields = self.context.scope(self.relation).resolve(new)
        return with_fields(Exact.to(part.span, column), fields)

    def _inside(self, query: QueryTree, place: n.Node) -> Inside:
        context = self.context
        if context.inside >= MAX_DEPTH:
            problem = f"queries inside expressions are nested more than {MAX_DEPTH} levels deep"
            raise SqlValidationError(problem, query.text, *place.span)
        context.inside += 1
        try:
            return _opened(context, query, self._outer)
        finally:
            context.inside -= 1


def _opened(context: Context, query: QueryTree, outer: Outer) -> Inside:
    tied = _tied(context, query) if isinstance(query, Select) and query.table is not None else None
    if tied is None:
        node = context.query(query)
        items: tuple[n.Node, ...] = tuple(Exact.to(query.span, column) for column in node.columns)
        return Inside(Relation(node, names_of(node.columns), query.text), items)
    select, inner, own, links = tied
    inside = context.scope(inner)
    for link in links:
        _check(link, inside, outer)
    if own is not None:
        inner = context.filtered(inner, own, "WHERE")
    if select.qualify is not None or select.window is not None or select.match is not None:
        problem = "a subquery that reads columns of the query around it is a plain one: put the rest into its FROM"
        raise SqlValidationError(problem, query.text, *select.span)
    items = tuple(item.expr for item in context.starred(select, inner))
    return Inside(inner, items, links, select)


_Tied: TypeAlias = "tuple[Select, Relation, n.Node | None, tuple[n.Node, ...]]"


def _tied(context: Context, query: Select) -> _Tied | None:
    """A query taken apart that reads columns of the one around it: its FROM, its own conditions, and the others."""
    select = join_where.with_where(context, query)
    inner = context.source(select)
    inside = context.scope(inner)
    own: list[n.Node] = []
    links: list[n.Node] = []
    for part in conjuncts(select.where) if select.where is not None else ():
        (own if is_of(part, inside) else links).append(part)
    if not links and all(is_of(item.expr, inside) for item in select.items):
        return None
    return select, inner, conjunction(own), tuple(links)


def _check(link: n.Node, inside: Scope, outer: Outer) -> None:
    """Raise for a name that is neither of the query nor of the one around, and for a query in a query's condition."""
    for part in n.walk(link):
        if isinstance(part, (n.InQuery, n.Exists, n.ScalarQuery)):
            problem = "a condition that reads the query around it has no queries of its own: AND them"
            raise inside.fail(part, problem)
        if not isinstance(part, n.ColumnRef):
            continue
        try:
            inside.resolve(part)
        except SqlValidationError as error:
            try:
                outer(part)
            except SqlValidationError as other:
                # The one that knows the table says what is wrong with the column.
                raise (other if "has no column" in other.problem else error) from None
