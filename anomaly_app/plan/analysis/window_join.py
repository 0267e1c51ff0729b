"""Window joins: rows of two relations that lie in the same window, and [NOT] IN and EXISTS over such rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.tokens import Span
from anomaly_app.plan.analysis.context import Context
from anomaly_app.plan.analysis.join_sides import Parts, Sides
from anomaly_app.plan.analysis.relation import Relation
from anomaly_app.plan.conditions import conjuncts, has_queries
from anomaly_app.plan.nodes import WindowColumns, WindowJoin
from anomaly_app.plan.scope import Scope, names_of
from anomaly_app.schema import Column
from anomaly_app.sql.queries import Join, Select


def window_joined(context: Context, join: Join, text: str) -> Relation | None:
    """The rows of a join of two relations with windows; None if it is no join of equal windows.

    Raises:
        SqlValidationError: the condition means nothing, or rows may be taken back.
    """
    if join.condition is None or join.kind not in ("INNER", "LEFT", "RIGHT", "FULL"):
        return None
    left, right = context.item(join.left, text), context.item(join.right, text)
    sides = Sides.of(left.node, right.node)
    names = sides.names(left, right)
    scope = Scope(text, names, context.dialect)
    found = _condition(conjuncts(join.condition), scope, sides)
    if found is None:
        return None
    node = _node(join.kind, sides, found, join.span, text)
    by_name = {column.name: column for column in node.columns}
    return replace(left, node=node, names=tuple(replace(name, column=by_name[name.column.name]) for name in names))


def window_filtered(context: Context, relation: Relation, condition: n.Node) -> tuple[Relation, n.Node | None]:
    """A relation without the rows that [NOT] IN and [NOT] EXISTS about rows of the same window leave out.

    Returns:
        The relation, and what is left of the condition.
    """
    rest: n.Node | None = None
    for part in conjuncts(condition):
        negated, inner = False, part
        while isinstance(inner, n.Unary) and inner.op == "NOT":
            negated, inner = not negated, inner.operand
        joined = None
        if isinstance(inner, (n.InQuery, n.Exists)) and isinstance(inner.query, Select):
            joined = _semi_joined(context, relation, inner, negated)
        if joined is not None:
            relation = joined
        else:
            rest = part if rest is None else n.Binary(condition.span, "AND", rest, part)
    return relation, rest


@dataclass(frozen=True, slots=True)
class _Condition:
    keys: tuple[tuple[str, str], ...]
    rest: n.Node | None
    scope: Scope


def _condition(parts: Sequence[n.Node], scope: Scope, sides: Sides) -> _Condition | None:
    """Equal columns, and what else must hold for a pair; None if the windows need not be equal."""
    left, right = sides.left.window, sides.right.window
    if left is None or right is None or not (left.start and left.end and right.start and right.end):
        return None
    if left.windows != right.windows:
        return None
    edges = {(left.start, right.start), (left.end, right.end)}
    split = Parts.of(parts, scope, sides)
    if not edges.issubset(split.keys):
        return None
    return _Condition(tuple(pair for pair in split.keys if pair not in edges), split.rest, scope)


def _node(kind: str, sides: Sides, found: _Condition, span: Span, text: str) -> WindowJoin:
    for side in (sides.left, sides.right):
        if side.updating:
            problem = f"a window join needs rows that are not taken back: {side.updating}"
            raise SqlValidationError(problem, text, *span)
    condition = found.scope.expression(found.rest, "ON") if found.rest is not None else None
    left, right = sides.left.window, sides.right.window
    assert left is not None and right is not None
    theirs = sides.theirs
    columns: tuple[Column, ...] = sides.left.columns
    rowtimes, proctimes = set(sides.left.rowtimes), set(sides.left.proctimes)
    window: WindowColumns | None = left
    if kind not in ("SEMI", "ANTI"):
        columns = sides.joined_columns(kind)
        rowtimes |= {theirs[name] for name in sides.right.rowtimes}
        proctimes |= {theirs[name] for name in sides.right.proctimes}
        if kind == "RIGHT":
            moved = [None if name is None else theirs[name] for name in (right.start, right.end, right.time)]
            window = WindowColumns(moved[0], moved[1], moved[2], right.windows)
        elif kind == "FULL":
            window = None
    return WindowJoin(
        columns=columns, rowtimes=frozenset(rowtimes), proctimes=frozenset(proctimes), window=window, span=span,
        text=text, kind=kind, left=sides.left, right=sides.right, keys=found.keys, condition=condition, theirs=theirs,
    )  # fmt: skip


# --- IN and EXISTS --------------------------------------------------------------------------------------


def _semi_joined(context: Context, relation: Relation, test: n.InQuery | n.Exists, negated: bool) -> Relation | None:
    """Rows for which a query about the same window gives one; None if it is about something else."""
    select: Select = test.query
    if select.group_by or select.having or select.distinct or select.qualify or select.grouping_sets is not None:
        return None
    window = relation.node.window
    if window is None or window.start is None or window.end is None or select.table is None:
        return None
    inner = context.source(select)
    sides = Sides.of(relation.node, inner.node)
    scope = Scope(relation.text, names_of(sides.columns), context.dialect)
    inside, outside = context.scope(inner), context.scope(relation)

    def resolved(part: n.Node) -> n.Node:
        if not isinstance(part, n.ColumnRef):
            return part
        try:
            column, fields = inside.resolve(part)
            column = sides.renamed[column.name]
        except SqlValidationError:  # a name of the query around it
            column, fields = outside.resolve(part)
        return n.ColumnRef(part.span, (column.name, *fields))

    parts = [n.rewritten(part, resolved) for part in (conjuncts(select.where) if select.where is not None else ())]
    if isinstance(test, n.InQuery):
        negated = negated != test.negated
        parts.append(_member(context, test, select, inner, outside, resolved, negated))
    if any(map(has_queries, parts)):
        return None
    found = _condition(parts, scope, sides)
    if found is None:
        return None
    return relation.over(_node("ANTI" if negated else "SEMI", sides, found, test.span, relation.text))


def _member(
    context: Context, test: n.InQuery, select: Select, inner: Relation, outside: Scope,
    resolved: Callable[[n.Node], n.Node], negated: bool,
) -> n.Node:  # fmt: skip
    """That the operand is the value that the query gives; for NOT IN, that it is not known to be another one."""
    items = context.starred(select, inner)
    if len(items) != 1:
        problem = f"IN (SELECT …) compares one value; this query has {len(items)} columns"
        raise SqlValidationError(problem, select.text, *select.span)

    def outer(part: n.Node) -> n.Node:
        if not isinstance(part, n.ColumnRef):
            return part
        column, fields = outside.resolve(part)
        return n.ColumnRef(part.span, (column.name, *fields))

    equal = n.Binary(test.span, "=", n.rewritten(test.operand, outer), n.rewritten(items[0].expr, resolved))
    return n.Is(test.span, equal, "FALSE", True) if negated else equal
