"""Lookup joins: rows of a stream with the rows that a table has at the moment when they come."""

from __future__ import annotations

from dataclasses import replace

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.comparisons import comparable
from anomaly_app.expressions.tokens import Span
from anomaly_app.expressions.typed import Code, Environment
from anomaly_app.graph.lookup import LookupTable
from anomaly_app.plan.analysis.context import Context
from anomaly_app.plan.analysis.join_sides import Sides
from anomaly_app.plan.analysis.relation import Relation
from anomaly_app.plan.conditions import conjunction, conjuncts
from anomaly_app.plan.nodes import Calc, LookupJoin, LookupKey, Node, Normalize, Scan
from anomaly_app.plan.scope import Expression, Scope
from anomaly_app.schema import TEXTS, Changelog, DataType, Kind
from anomaly_app.sql.queries import Join, Subquery, TableRef

_NO_KEYS = frozenset({Kind.ARRAY, Kind.MAP, Kind.ROW, Kind.NULL})


def looked_up(
    context: Context, join: Join, left: Relation, right: TableRef | Subquery, as_of: n.Node, text: str
) -> Relation:
    """The rows of a join with the latest rows of a table.

    Args:
        context: whose tables.
        join: the whole join.
        left: its left side.
        right: the table.
        as_of: the time of processing, as it is written.
        text: the whole text, for errors.

    Raises:
        SqlValidationError: there is nothing to look up by, or the table or the kind of the join makes no sense.
    """
    if join.kind in ("RIGHT", "FULL"):
        problem = f"a lookup join is INNER or LEFT: {join.kind} would wait for rows that come later"
        raise SqlValidationError(problem, text, *join.right.span)
    if join.using or join.natural:
        word = "USING" if join.using else "NATURAL"
        problem = f"{word} with FOR SYSTEM_TIME AS OF is not supported: write ON and the columns that are equal"
        raise SqlValidationError(problem, text, *join.right.span)
    node = left.node
    if node.updating:
        problem = f"a lookup join needs rows that are not taken back: {node.updating}"
        raise SqlValidationError(problem, text, *join.span)
    table = context.item(replace(right, as_of=None), text)
    scan, chain = _table_below(table.node, right.span, text)
    sides = Sides.of(node, table.node)
    names = sides.names(left, table)
    scope = Scope(text, names, context.dialect)
    keys, condition = _split(join.condition, scope, frozenset(sides.theirs.values()), scan.table, join, text)
    kind = "LEFT" if join.kind == "LEFT" else "INNER"
    joined = LookupJoin(
        columns=sides.joined_columns(kind), rowtimes=node.rowtimes, proctimes=node.proctimes, window=node.window,
        span=join.span, text=text, kind=kind, input=node,
        table=context.lookups.setdefault(scan.table, LookupTable(scan.table, scan.source)), scan=scan, chain=chain,
        keys=keys, condition=condition, theirs=sides.theirs, as_of_call=isinstance(as_of, n.Call),
    )  # fmt: skip
    by_name = {column.name: column for column in joined.columns}
    return replace(left, node=joined, names=tuple(replace(name, column=by_name[name.column.name]) for name in names))


def _table_below(node: Node, span: Span, text: str) -> tuple[Scan, tuple[Calc, ...]]:
    """The table that a relation is, and the filters and projections over it."""
    chain: list[Calc] = []
    below = node
    while isinstance(below, Calc):
        chain.append(below)
        below = below.input
    if isinstance(below, Normalize):
        below = below.input
    if not isinstance(below, Scan):
        problem = f"a lookup reads a table, or a view with columns and WHERE of one: here it would read {below.title}"
        raise SqlValidationError(problem, text, *span)
    if below.source.changelog is not Changelog.APPEND and not below.source.primary_key:
        problem = f"table {below.table} is one that changes: a lookup needs its PRIMARY KEY, to know which row is meant"
        raise SqlValidationError(problem, text, *span)
    return below, tuple(reversed(chain))


def _split(
    tree: n.Node | None, scope: Scope, theirs: frozenset[str], table: str, join: Join, text: str
) -> tuple[tuple[LookupKey, ...], Expression | None]:
    """What is looked up by, and what else must hold for a pair."""
    keys: list[LookupKey] = []
    others: list[n.Node] = []
    for part in conjuncts(tree) if tree is not None else ():
        key = _key(part, scope, theirs)
        if key is not None:
            keys.append(key)
        else:
            others.append(part)
    rest = conjunction(others)
    if not keys:
        problem = (
            f"a lookup join needs a column of {table} that is equal to something, as in ON o.k = t.k: further "
            "conditions may stand beside it"
        )
        raise SqlValidationError(problem, text, *(tree.span if tree is not None else join.right.span))
    return tuple(keys), scope.expression(rest, "ON") if rest is not None else None


def _key(part: n.Node, scope: Scope, theirs: frozenset[str]) -> LookupKey | None:
    """The equality that a condition is, if it says what to look up; None if it is something else."""
    if not isinstance(part, n.Binary) or part.op != "=":
        return None
    sides = [scope.expression(side) for side in (part.left, part.right)]
    found = next((side for side in sides if side.reads and side.reads <= theirs), None)
    if found is None:
        return None
    asked = sides[1] if found is sides[0] else sides[0]
    if asked.reads & theirs or {asked.type.kind, found.type.kind} & _NO_KEYS:
        return None
    if (asked.type.kind in TEXTS) != (found.type.kind in TEXTS):
        if not asked.reads:
            return None  # a value that is written out may be the text of a date
        target = _shown(found.type)
        problem = (
            f"{found.words} is {target} and {asked.words} is {_shown(asked.type)}: rows are looked up by equal types, "
            f"as in CAST({asked.words} AS {target}) = {found.words}"
        )
        raise scope.fail(part, problem)
    pair = comparable(Environment(), scope.dialect, Code("a", asked.type), Code("b", found.type))
    return LookupKey(asked, found) if pair is not None else None


def _shown(type_: DataType) -> str:
    return str(type_.with_nullable(True))
