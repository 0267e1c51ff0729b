"""What WHERE says of the joins in FROM: FROM a, b WHERE a.k = b.k is a join by k, and outer rows may be unwanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.plan.aggregate_calls import is_aggregate
from anomaly_app.plan.analysis.context import Context
from anomaly_app.plan.conditions import conjunction, conjuncts, has_queries
from anomaly_app.plan.scope import Scope
from anomaly_app.sql.queries import FromItem, Join, Predict, Select, Subquery, TableRef, Unnest


def with_where(context: Context, select: Select) -> Select:
    """A SELECT whose inner joins have what WHERE says of them: FROM a, b WHERE a.k = b.k is a join by k."""
    if select.where is None or not isinstance(select.table, Join) or select.match is not None:
        return select
    parts = conjuncts(select.where)
    joined = [part for part in parts if _is_plain(part)]
    if not joined:
        return select
    relation = context.item(select.table, select.text)
    known = [part for part in joined if _resolves(part, context.scope(relation))]
    select = replace(select, table=_without_nulls(context, select.table, known, select.text))
    assert isinstance(select.table, Join)
    if select.table.kind not in ("INNER", "CROSS"):
        return select
    table, left_over = _placed(context, select.table, known, select.text)
    moved = {id(part) for part in known} - {id(part) for part in left_over}
    if not moved:
        return select
    where = conjunction([part for part in parts if id(part) not in moved])
    return replace(select, table=table, where=where)


def _placed(context: Context, item: FromItem, conditions: Sequence[n.Node], text: str) -> tuple[FromItem, list[n.Node]]:
    """An item whose inner joins have these conditions, each as far below as its names are known, and those left."""
    if not isinstance(item, Join) or item.kind not in ("INNER", "CROSS") or item.using or item.natural:
        return item, list(conditions)
    waiting = list(conditions)
    sides = []
    for side in (item.left, item.right):
        if isinstance(side, Join):
            scope = context.scope(context.item(side, text))
            below = [part for part in waiting if _resolves(part, scope)]
            side, left_over = _placed(context, side, below, text)
            gone = {id(part) for part in below} - {id(part) for part in left_over}
            waiting = [part for part in waiting if id(part) not in gone]
        sides.append(side)
    left, right = sides
    # What WHERE says of the row that a table had at a time filters afterwards, and decides about nothing else.
    if _is_no_table(item.right) or not waiting:
        return replace(item, left=left, right=right), waiting
    condition = conjunction([*(conjuncts(item.condition) if item.condition is not None else ()), *waiting])
    return replace(item, kind="INNER", left=left, right=right, condition=condition), []


def _is_no_table(item: FromItem) -> bool:
    """Whether an item is made of each row of the other side: elements, or the row that a table had at a time."""
    if isinstance(item, Predict):
        return item.data is None
    return isinstance(item, Unnest) or (isinstance(item, (TableRef, Subquery)) and item.as_of is not None)


def _without_nulls(context: Context, join: Join, conditions: Sequence[n.Node], text: str) -> Join:
    """An outer join that knows if a condition leaves out the NULLs of rows that meet none."""
    if join.kind not in ("LEFT", "RIGHT", "FULL") or _is_no_table(join.right):
        return join
    left, right = (context.scope(context.item(side, text)) for side in (join.left, join.right))
    # Rows of the left that meet none have NULLs on the right.
    no_left = any(_rejects_nulls(part, right, left) for part in conditions)
    no_right = any(_rejects_nulls(part, left, right) for part in conditions)
    return replace(join, unwanted=(no_left, no_right)) if no_left or no_right else join


_STRICT = ("=", "<>", "!=", "<", "<=", ">", ">=")
_ARITHMETIC = ("+", "-", "*", "/", "%", "||")


def _rejects_nulls(condition: n.Node, side: Scope, other: Scope) -> bool:
    """Whether a condition is not TRUE for a row all of whose columns of a side are NULL."""
    if isinstance(condition, n.Binary) and condition.op in _STRICT:
        return any(_is_null_with(part, side, other) for part in (condition.left, condition.right))
    if isinstance(condition, (n.Between, n.InList, n.Like)):
        return _is_null_with(condition.operand, side, other)
    if isinstance(condition, n.Is) and condition.what == "NULL" and condition.negated:
        return _is_null_with(condition.operand, side, other)
    return isinstance(condition, n.ColumnRef) and _is_null_with(condition, side, other)


def _is_null_with(tree: n.Node, side: Scope, other: Scope) -> bool:
    """Whether an expression is NULL where all columns of a side are."""
    if isinstance(tree, n.ColumnRef):
        return _resolves(tree, side) and not _resolves(tree, other)
    if isinstance(tree, n.Binary) and tree.op in _ARITHMETIC:
        return any(_is_null_with(part, side, other) for part in (tree.left, tree.right))
    if isinstance(tree, n.Unary) and tree.op != "NOT":
        return _is_null_with(tree.operand, side, other)
    return isinstance(tree, n.Cast) and _is_null_with(tree.operand, side, other)


def _is_plain(tree: n.Node) -> bool:
    """Whether a condition is about one row of FROM, and nothing else."""
    return not has_queries(tree) and not any(
        is_aggregate(part) or (isinstance(part, n.Call) and (part.over is not None or part.name == "CURRENT_WATERMARK"))
        for part in n.walk(tree)
    )


def _resolves(tree: n.Node, scope: Scope) -> bool:
    """Whether a condition reads columns, and all of its names are known."""
    refs = [part for part in n.walk(tree) if isinstance(part, n.ColumnRef)]
    try:
        for ref in refs:
            scope.resolve(ref)
    except SqlValidationError:
        return False
    return bool(refs)
