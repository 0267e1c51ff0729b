"""A query as a value: ``(SELECT MAX(v) FROM t)``, perhaps of the rows that belong to the present one."""

from __future__ import annotations

from dataclasses import replace

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.plan.analysis import grouping
from anomaly_app.plan.analysis.context import Context
from anomaly_app.plan.analysis.inside import Inside, Outer, is_of
from anomaly_app.plan.analysis.join_sides import Keyed, Sides
from anomaly_app.plan.analysis.regular_join import joined_node
from anomaly_app.plan.analysis.relation import Relation
from anomaly_app.plan.analysis.semi_join import over_pair
from anomaly_app.plan.nodes import Calc, Node
from anomaly_app.plan.scope import Exact
from anomaly_app.plan.uniqueness import is_unique_by, most_rows


def joined(
    context: Context, relation: Relation, query: n.ScalarQuery, inside: Inside, outer: Outer
) -> tuple[Relation, n.Node]:
    """A relation whose rows have the value of a query, and the value as an expression over it; NULL for no row.

    Args:
        context: whose tables.
        relation: whose rows.
        query: as it stands in the expression.
        inside: its query.
        outer: what its query may name of the relation.

    Raises:
        SqlValidationError: it has not one column, or may have several rows.
    """
    if len(inside.items) != 1:
        problem = f"a query as a value gives one column, and this one has {len(inside.items)}"
        raise SqlValidationError(problem, relation.text, *query.span)
    inner, (item,) = inside.relation, inside.items
    sides = Sides.of(relation.node, inner.node)
    links = [n.rewritten(link, over_pair(context, inner, sides, outer)) for link in inside.links]
    keyed = Keyed.of(context, relation, inner, links)
    if inside.aggregates:
        return _of_groups(context, keyed, query, inside)
    if most_rows(inner.node) not in (0, 1) and not is_unique_by(keyed.right.node, [theirs for _, theirs in keyed.keys]):
        problem = "a query as a value must give one row: take an aggregate such as MAX(v), or the last row by LIMIT 1"
        raise SqlValidationError(problem, relation.text, *query.span)
    if not is_of(item, context.scope(keyed.right)):
        problem = "the value of a query is made of its own columns: compute with those around it outside of it"
        raise SqlValidationError(problem, relation.text, *item.span)
    right, (name,) = context.with_columns(keyed.right, [item], ["$value"])
    sides = Sides.of(keyed.left.node, right.node)
    node = joined_node("LEFT", sides, keyed.keys, keyed.null_equal, keyed.condition, query.span, relation.text)
    return replace(keyed.left, node=node), Exact.to(query.span, node.column(sides.theirs[name]))


def _of_groups(context: Context, keyed: Keyed, query: n.ScalarQuery, inside: Inside) -> tuple[Relation, n.Node]:
    """The aggregate of the rows that belong to each row: one group for each value of what ties the queries."""
    select, text = inside.select, keyed.left.text
    assert select is not None
    if keyed.rest:
        problem = "an aggregate as a value takes rows that are equal in something to the present row, as in b.k = a.k"
        raise SqlValidationError(problem, text, *keyed.rest[0].span)
    if select.group_by:
        problem = "a query as a value must give one row: this one has groups"
        raise SqlValidationError(problem, text, *select.group_by[0].span)
    refs = tuple(Exact.to(query.span, keyed.right.node.column(theirs)) for _, theirs in keyed.keys)
    items = context.starred(select, keyed.right)
    groups = replace(
        select, items=tuple(items), group_by=tuple({ref.column.name: ref for ref in refs}.values()), where=None,
        distinct=False,
    )  # fmt: skip
    grouped, replaced = grouping.grouped(context, groups, items, keyed.right)
    value = replaced(items[0].expr)
    counts = _counts(grouped.node)
    if select.having is not None:  # no group, no value
        grouped, (name,) = context.with_columns(grouped, [value], ["$value"])
        value, counts = Exact.to(query.span, grouped.node.column(name)), frozenset()
    keys = []
    for (mine, _), ref in zip(keyed.keys, refs, strict=True):
        key = replaced(ref)
        assert isinstance(key, Exact)
        keys.append((mine, key.column.name))
    sides = Sides.of(keyed.left.node, grouped.node)
    node = joined_node("LEFT", sides, tuple(keys), keyed.null_equal, None, query.span, text)
    theirs, scope = sides.theirs, context.scope(grouped)

    def behind(part: n.Node) -> n.Node:
        if not isinstance(part, n.ColumnRef):
            return part
        column, _ = scope.resolve(part)
        ref = Exact.to(part.span, node.column(theirs[column.name]))
        if column.name not in counts:
            return ref
        return n.Call(part.span, "COALESCE", (ref, n.Literal(part.span, 0, column.type.with_nullable(False))))

    relation = replace(keyed.left, node=node)
    value = n.rewritten(value, behind)
    relation, (name,) = context.with_columns(relation, [value], ["$value"])
    column = relation.node.column(name)
    return relation, Exact.to(query.span, replace(column, type=column.type.with_nullable(True)))


def _counts(node: Node) -> frozenset[str]:
    """Columns of groups that are 0, not NULL, for a group without rows."""
    while isinstance(node, Calc):
        node = node.input
    calls = getattr(node, "aggregates", ())
    return frozenset(call.name for call in calls if call.call.name == "COUNT")
