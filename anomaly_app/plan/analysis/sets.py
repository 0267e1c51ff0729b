"""UNION and its kin, VALUES, DISTINCT, ORDER BY and LIMIT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.refused import refusal
from anomaly_app.expressions.tokens import Span
from anomaly_app.expressions.typed import common_type
from anomaly_app.plan.analysis import grouping
from anomaly_app.plan.analysis.context import Context
from anomaly_app.plan.analysis.distinct import counted, distinct_rows
from anomaly_app.plan.analysis.relation import Relation
from anomaly_app.plan.nodes import Calc, Limit, Node, Rank, Sort, SortColumn, Union, ValuesRows
from anomaly_app.plan.scope import Exact, Expression, Scope, names_of
from anomaly_app.schema import Column, DataType
from anomaly_app.sql.queries import Ordered, Select, SelectItem, SetOperation, Values


def set_operation(context: Context, tree: SetOperation) -> Node:
    """UNION, INTERSECT and EXCEPT, also with ALL; raises ``SqlValidationError`` if their sides do not go together."""
    left, right = context.query(tree.left), context.query(tree.right)
    if len(left.columns) != len(right.columns):
        problem = f"{tree.kind} of {len(left.columns)} and {len(right.columns)} columns: both sides need as many"
        raise context.fail(tree, tree.right.span, problem)
    types: list[DataType] = []
    for a, b in zip(left.columns, right.columns, strict=True):
        type_ = common_type([a.type, b.type])
        if type_ is None:
            shown = f"{a.name} is {a.type.with_nullable(True)} on the left, {b.type.with_nullable(True)} on the right"
            raise context.fail(tree, tree.right.span, f"{tree.kind}: {shown}, and they have no common type")
        types.append(type_)
    if tree.kind != "UNION":
        sides = [_converted(context, side, left.names, types, tree) for side in (left, right)]
        return counted(context, sides, tree)
    branches: list[Node] = []
    for side in (left, right):
        branch = _converted(context, side, left.names, types, tree)
        branches += branch.branches if isinstance(branch, Union) else (branch,)
    window = branches[0].window
    if any(branch.window != window for branch in branches):
        window = None
    union = Union(
        columns=tuple(Column(name, type_) for name, type_ in zip(left.names, types, strict=True)),
        rowtimes=frozenset.intersection(*(branch.rowtimes for branch in branches)),
        proctimes=frozenset.intersection(*(branch.proctimes for branch in branches)),
        updating=next((branch.updating for branch in branches if branch.updating), ""),
        window=window, span=tree.span, text=tree.text, branches=tuple(branches),
    )  # fmt: skip
    return union if tree.all else distinct_rows(union, tree.span, tree.text)


def _converted(context: Context, node: Node, names: tuple[str, ...], types: list[DataType], tree: SetOperation) -> Node:
    """A branch with the names and types of the whole; a time attribute that is converted is none any more."""
    same_types = all(
        c.type.with_nullable(True) == t.with_nullable(True) for c, t in zip(node.columns, types, strict=True)
    )
    if same_types and node.names == names:
        return node
    scope = Scope(tree.text, names_of(node.columns), context.dialect)
    items: list[Expression] = []
    for column, type_ in zip(node.columns, types, strict=True):
        ref: n.Node = Exact.to(tree.span, column)
        if column.type.with_nullable(True) != type_.with_nullable(True):
            ref = n.Cast(tree.span, ref, type_, False)
        items.append(scope.expression(ref))
    new = {item.bare: name for item, name in zip(items, names, strict=True) if item.bare is not None}
    columns = tuple(Column(name, type_) for name, type_ in zip(names, types, strict=True))
    return Calc(
        columns=columns,
        rowtimes=frozenset(new[name] for name in node.rowtimes if name in new),
        proctimes=frozenset(new[name] for name in node.proctimes if name in new),
        updating=node.updating, window=node.moved_window(new), span=tree.span, text=tree.text, input=node,
        condition=None, items=tuple(items),
    )  # fmt: skip


def values(context: Context, tree: Values) -> Node:
    """VALUES; raises ``SqlValidationError`` if its rows do not go together."""
    scope = Scope(tree.text, (), context.dialect)
    rows = [[scope.expression(item) for item in row] for row in tree.rows]
    width = len(rows[0])
    for row, trees in zip(rows, tree.rows, strict=True):
        if len(row) != width:
            raise context.fail(tree, trees[0].span, f"this row has {len(row)} values, the first one {width}")
    columns: list[Column] = []
    for place in range(width):
        type_ = common_type(row[place].type for row in rows)
        if type_ is None:
            shown = ", ".join(str(row[place].type.with_nullable(True)) for row in rows)
            raise context.fail(tree, tree.rows[0][place].span, f"the values of a column have no common type: {shown}")
        columns.append(Column(f"EXPR${place}", type_))
    converted = tuple(
        tuple(
            item if item.type.with_nullable(True) == column.type.with_nullable(True)
            else scope.expression(n.Cast(item.node.span, item.node, column.type, False))
            for item, column in zip(row, columns, strict=True)
        )
        for row in rows
    )  # fmt: skip
    return ValuesRows(columns=tuple(columns), span=tree.span, text=tree.text, rows=converted)


def one_row(text: str, span: Span) -> Node:
    """What a SELECT without FROM is over: one row without columns."""
    return ValuesRows(columns=(), span=span, text=text, rows=((),))


def distinct(context: Context, select: Select, node: Node) -> Node:
    """SELECT DISTINCT: of rows that carry the edges of their windows, each window gives its own when it is over."""
    window = node.window
    if window is None or window.start is None or window.end is None:
        return distinct_rows(node, select.span, select.text)
    refs = tuple(Exact.to(select.span, column) for column in node.columns)
    items = tuple(SelectItem(ref, ref.column.name, select.span) for ref in refs)
    groups = replace(select, items=items, group_by=refs, where=None, having=None, qualify=None, distinct=False)
    relation = Relation(node, names_of(node.columns), select.text)
    relation, replaced = grouping.grouped(context, groups, items, relation)
    return context.projected(relation, items, replaced, groups)


def ordered(context: Context, tree: Ordered) -> Node:
    """ORDER BY and LIMIT."""
    node = context.query(tree.query)
    if tree.order_by:
        hidden = _hidden(context, tree, node)
        if hidden is not None:
            return _first_columns(context, hidden, _sorted(context, hidden, context.query(hidden.query)), node)
        return _sorted(context, tree, node)
    if tree.limit is None and not tree.offset:
        return node
    if node.updating and tree.limit is not None:
        return _first_rows(tree, node, ())
    if node.updating:
        raise context.fail(tree, tree.span, f"OFFSET without LIMIT, of rows that are taken back: {node.updating}")
    return Limit(
        columns=node.columns, rowtimes=node.rowtimes, proctimes=node.proctimes, updating=node.updating,
        window=node.window, span=tree.span, text=tree.text, input=node, offset=tree.offset, count=tree.limit,
    )  # fmt: skip


def _hidden(context: Context, tree: Ordered, node: Node) -> Ordered | None:
    """The query with further columns that it is ordered by, which are not in its SELECT list; None if all are."""
    select = tree.query
    if not isinstance(select, Select) or select.distinct:
        return None
    own = {name.lower() for name in node.names}
    items, order_by = list(select.items), list(tree.order_by)
    for number, order in enumerate(order_by):
        if isinstance(order.expr, n.Literal) or (
            isinstance(order.expr, n.ColumnRef) and len(order.expr.parts) == 1 and order.expr.parts[0].lower() in own
        ):
            continue
        name = f"$order{number}"
        items.append(SelectItem(order.expr, name, order.expr.span))
        order_by[number] = replace(order, expr=n.ColumnRef(order.expr.span, (name,)))
    if len(items) == len(select.items):
        return None
    return replace(tree, query=replace(select, items=tuple(items)), order_by=tuple(order_by))


def _first_columns(context: Context, tree: Ordered, node: Node, wanted: Node) -> Node:
    """A sorted node with the columns of another one, which are its first."""
    assert isinstance(tree.query, Select)
    relation = Relation(node, names_of(node.columns), tree.text)
    columns = node.columns[: len(wanted.columns)]
    items = [SelectItem(Exact.to(tree.span, column), column.name, tree.span) for column in columns]
    return context.projected(relation, items, lambda item: item, tree.query)


def _first_rows(tree: Ordered, node: Node, columns: Sequence[SortColumn]) -> Node:
    """ORDER BY with LIMIT: the first rows, as they are at a time."""
    if not tree.limit:
        return Limit(
            columns=node.columns, rowtimes=node.rowtimes, proctimes=node.proctimes, updating=node.updating,
            window=node.window, span=tree.span, text=tree.text, input=node, offset=0, count=0,
        )  # fmt: skip
    updating = node.updating or "ORDER BY with LIMIT takes rows back as others come"
    return Rank(
        columns=node.columns, rowtimes=node.rowtimes, proctimes=node.proctimes, updating=updating, window=node.window,
        span=tree.span, text=tree.text, input=node, keys=(), order=tuple(columns), first=tree.offset + 1,
        last=tree.offset + (tree.limit or 0), number=None, windowed=None, time=None,
    )  # fmt: skip


def _sorted(context: Context, tree: Ordered, node: Node) -> Node:
    scope = Scope(tree.text, names_of(node.columns), context.dialect)
    columns: list[SortColumn] = []
    for item in tree.order_by:
        bare = scope.expression(item.expr).bare if not isinstance(item.expr, n.Literal) else None
        if isinstance(item.expr, n.Literal) and isinstance(item.expr.value, int):
            place = item.expr.value
            if not 1 <= place <= len(node.columns):
                raise scope.fail(item.expr, f"ORDER BY {place}: the query has {len(node.columns)} columns")
            bare = node.columns[place - 1].name
        if bare is None:
            raise scope.fail(item.expr, "ORDER BY takes columns of the SELECT list: name the expression there")
        nulls_first = not item.descending if item.nulls_first is None else item.nulls_first
        columns.append(SortColumn(bare, item.descending, nulls_first))
    if tree.limit is not None:
        return _first_rows(tree, node, columns)
    first, *others = columns
    if first.name not in node.rowtimes | node.proctimes or first.descending:
        raise scope.fail(tree.order_by[0].expr, refusal("ORDER BY of values"))
    if node.updating:
        raise scope.fail(tree.order_by[0].expr, f"ORDER BY needs rows that are not taken back: {node.updating}")
    return Sort(
        columns=node.columns, rowtimes=node.rowtimes, proctimes=node.proctimes, window=node.window, span=tree.span,
        text=tree.text, input=node, time=first.name, order=tuple(others),
    )  # fmt: skip
