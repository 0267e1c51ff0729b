"""Regular joins: INNER, LEFT, RIGHT, FULL, with ON, USING or NATURAL; CROSS JOIN and the comma, with WHERE."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.tokens import Span
from anomaly_app.plan.analysis.context import Context
from anomaly_app.plan.analysis.join_sides import Keyed, Sides
from anomaly_app.plan.analysis.relation import Relation, identity
from anomaly_app.plan.conditions import conjuncts, has_queries
from anomaly_app.plan.nodes import Calc, RegularJoin
from anomaly_app.plan.scope import Exact, Expression, Name, Scope, free_name
from anomaly_app.schema import Column
from anomaly_app.sql.queries import Join

_JOIN = re.compile(r",|(?:[A-Z]+\s+)*JOIN", re.IGNORECASE)


def regular_joined(context: Context, join: Join, text: str) -> Relation:
    """The rows of a join, whatever their time.

    Raises:
        SqlValidationError: the condition means nothing.
    """
    left, right = context.item(join.left, text), context.item(join.right, text)
    merged = _merged(join, left, right, text)
    conditions = conjuncts(join.condition) if join.condition is not None else []
    if merged:
        sides = Sides.of(left.node, right.node)
        conditions += [
            n.Binary(join.span, "=", Exact.to(join.span, mine.column), _theirs(sides, theirs, join.span))
            for mine, theirs in merged
        ]
    kind = _kind(join)
    asking = [part for part in conditions if has_queries(part)]
    if asking and join.kind in ("INNER", "CROSS"):
        conditions = [part for part in conditions if not has_queries(part)]
    left, right, conditions = _pushed(context, kind, left, right, conditions)
    keyed = Keyed.of(context, left, right, conditions)
    node = joined_node(kind, keyed.sides, keyed.keys, keyed.null_equal, keyed.condition, _place(join, text), text)
    if kind != join.kind:  # the types are those of the join as it is written
        node = replace(node, columns=keyed.sides.joined_columns(join.kind))
    by_name = {column.name: column for column in node.columns}
    names = tuple(
        replace(name, column=by_name[name.column.name]) for name in keyed.sides.names(keyed.left, keyed.right)
    )
    relation = Relation(node, names, text)
    if asking and join.kind in ("INNER", "CROSS"):
        for part in asking:
            relation = context.filtered(relation, part, "ON")
    return _with_merged(context, kind, relation, merged, keyed.sides) if merged else relation


def _kind(join: Join) -> str:
    """Of rows that meet none, which are asked for."""
    left = join.kind in ("LEFT", "FULL") and not join.unwanted[0]
    right = join.kind in ("RIGHT", "FULL") and not join.unwanted[1]
    return {(True, True): "FULL", (True, False): "LEFT", (False, True): "RIGHT"}.get((left, right), "INNER")


def joined_node(
    kind: str, sides: Sides, keys: tuple[tuple[str, str], ...], null_equal: tuple[bool, ...],
    condition: Expression | None, span: Span, text: str,
) -> RegularJoin:  # fmt: skip
    """The node of a join.

    Args:
        kind: ``INNER``, ``LEFT``, ``RIGHT`` or ``FULL``.
        sides: the inputs.
        keys: columns that are equal, of the left and of the right.
        null_equal: for each key whether NULL equals NULL.
        condition: what else holds for a pair.
        span: where it stands.
        text: the whole text.
    """
    updating = sides.left.updating or sides.right.updating
    if kind != "INNER":
        updating = updating or f"a {kind} JOIN gives a row that meets none with NULLs, and takes it back when it does"
    return RegularJoin(
        columns=sides.joined_columns(kind), updating=updating, span=span, text=text, kind=kind, left=sides.left,
        right=sides.right, keys=keys, null_equal=null_equal, condition=condition, theirs=sides.theirs,
    )  # fmt: skip


def _theirs(sides: Sides, name: Name, span: Span) -> n.Node:
    return Exact.to(span, sides.renamed[name.column.name])


def _place(join: Join, text: str) -> Span:
    """Where the word JOIN, or the comma, stands."""
    words = _JOIN.search(text, join.left.span.end, max(join.right.span.start, join.left.span.end))
    return join.span if words is None else Span(*words.span())


# --- conditions on one side ---------------------------------------------------------------------------------


def _pushed(
    context: Context, kind: str, left: Relation, right: Relation, conditions: Sequence[n.Node]
) -> tuple[Relation, Relation, list[n.Node]]:
    """The sides without rows that meet none anyway, and the conditions that are left."""
    sides = Sides.of(left.node, right.node)
    scope = Scope(left.text, sides.names(left, right), context.dialect)
    own, others = set(sides.left.names), {column.name for column in sides.renamed.values()}
    mine: list[n.Node] = []
    theirs: list[n.Node] = []
    rest: list[n.Node] = []
    for condition in conditions:
        if isinstance(condition, n.Literal) and condition.value is True:
            continue
        reads = scope.expression(condition, "ON").reads
        if kind in ("INNER", "RIGHT") and reads and reads <= own:
            mine.append(condition)
        elif kind in ("INNER", "LEFT") and reads and reads <= others:
            theirs.append(condition)
        else:
            rest.append(condition)
    for condition in mine:
        left = context.filtered(left, condition, "ON")
    for condition in theirs:
        right = context.filtered(right, condition, "ON")
    return left, right, rest


# --- USING and NATURAL --------------------------------------------------------------------------------------


def _merged(join: Join, left: Relation, right: Relation, text: str) -> list[tuple[Name, Name]]:
    """The names that USING or NATURAL makes one of."""

    def find(relation: Relation, name: str, side: str) -> Name:
        found = [one for one in relation.names if one.visible == name and not one.qualified_only]
        if len(found) != 1:
            problem = f"the {side} side has no column {name!r}" if not found else f"{name!r} is ambiguous on the {side}"
            have = ", ".join(one.visible for one in relation.names)
            raise SqlValidationError(f"USING ({name}): {problem}; it has {have}", text, *join.span)
        return found[0]

    wanted = list(join.using)
    if join.natural:
        others = {name.visible for name in right.names}
        wanted = [name.visible for name in left.names if name.visible in others and not name.qualified_only]
        if not wanted:
            problem = "NATURAL JOIN joins by the columns that both sides have, and there is none"
            raise SqlValidationError(problem, text, *join.span)
    return [(find(left, name, "left"), find(right, name, "right")) for name in dict.fromkeys(wanted)]


def _with_merged(
    context: Context, kind: str, relation: Relation, merged: Sequence[tuple[Name, Name]], sides: Sides
) -> Relation:
    """A join whose equal columns have one name, in front of the others; that of each side takes the table's name."""
    node = relation.node
    pairs = [(node.column(mine.column.name), node.column(sides.theirs[other.column.name])) for mine, other in merged]
    if kind == "FULL":
        scope = context.scope(relation)
        columns = list(node.columns)
        items = list(identity(node, relation.text, context.dialect))
        ones: list[Column] = []
        for mine, other in pairs:
            both = n.Call(node.span, "COALESCE", (Exact.to(node.span, mine), Exact.to(node.span, other)))
            expression = scope.expression(both)
            ones.append(Column(free_name("$using", [column.name for column in columns]), expression.type))
            columns.append(ones[-1])
            items.append(expression)
        node = Calc(
            columns=tuple(columns), updating=node.updating, span=node.span, text=node.text, input=node,
            condition=None, items=tuple(items),
        )  # fmt: skip
    else:
        ones = [other if kind == "RIGHT" else mine for mine, other in pairs]
    gone = {column.name for pair in pairs for column in pair}
    names = [Name(frozenset(), mine.visible, one) for (mine, _), one in zip(merged, ones, strict=True)]
    names += [replace(one, qualified_only=one.qualified_only or one.column.name in gone) for one in relation.names]
    return Relation(node, tuple(names), relation.text)
