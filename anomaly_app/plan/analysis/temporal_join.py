"""Temporal joins: which versions a table has, and by which columns a row finds its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.plan.analysis.context import Context
from anomaly_app.plan.analysis.interval_join import behind, called, common
from anomaly_app.plan.analysis.join_sides import Keyed, Sides
from anomaly_app.plan.analysis.relation import Relation
from anomaly_app.plan.conditions import conjunction, conjuncts
from anomaly_app.plan.nodes import Calc, Node, Normalize, Rank, Scan, TemporalJoin
from anomaly_app.plan.scope import Scope
from anomaly_app.sql.queries import Join, Subquery, TableRef

_WAYS = (
    "a table with a PRIMARY KEY and a WATERMARK, as of 'upsert-kafka', or a view that keeps the last row of each key: "
    "SELECT … FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts DESC) AS rn FROM t) WHERE rn = 1"
)


def temporally_joined(
    context: Context, join: Join, left: Relation, right: TableRef | Subquery, time: str, text: str
) -> Relation:
    """The rows of a join with the versions that a table had at a time of the left side.

    Args:
        context: whose tables.
        join: the whole join.
        left: its left side.
        right: the table.
        time: name of the time attribute of the left.
        text: the whole text, for errors.

    Raises:
        SqlValidationError: the table has no versions, the condition does not say which one is meant, or the kind of the
            join makes no sense.
    """
    if join.kind not in ("INNER", "LEFT"):
        problem = f"a temporal join is INNER or LEFT, and not {join.kind}: each row of the left asks for one version"
        raise SqlValidationError(problem, text, *right.span)
    if left.node.updating:
        problem = f"a temporal join needs rows that are not taken back: {left.node.updating}"
        raise SqlValidationError(problem, text, *join.span)
    table = context.item(replace(right, as_of=None), text)
    versions = _versions(table.node, right, text)
    if join.condition is None:
        word = "USING" if join.using else "NATURAL" if join.natural else "a join without ON"
        problem = f"{word} with FOR SYSTEM_TIME AS OF is not supported: write ON and the columns that are equal"
        raise SqlValidationError(problem, text, *right.span)
    keyed, rest = _keyed(context, left, table, conjuncts(join.condition), versions)
    keys = tuple((mine, str(versions.base(theirs))) for mine, theirs in keyed.keys)
    missing = [key for key in versions.keys if key not in [theirs for _, theirs in keys]]
    if missing:
        problem = (
            f"the join does not say which row of {_name(right)} is meant: its key is {', '.join(versions.keys)}, and "
            f"{', '.join(missing)} must equal something of the left side"
        )
        raise SqlValidationError(problem, text, *join.span)
    node = TemporalJoin(
        **common(keyed, join.kind, text), span=join.span, left=keyed.left.node, right=versions.node,
        keys=keys, table_keys=keyed.keys, null_equal=(False,) * len(keys),
        condition=keyed.scope.expression(rest, "ON") if rest is not None else None, times=(time, versions.time),
        aliases=(called(join.left, "left"), called(right, "right")), chain=versions.chain, number=versions.number,
        table=keyed.sides.right.columns,
    )  # fmt: skip
    return behind(node, keyed)


@dataclass(frozen=True, slots=True)
class _Versions:
    """The versions of the rows of a table.

    Args:
        node: brings them: rows that are not taken back.
        keys: columns of it that tell whose version a row is.
        time: its time attribute, from which on a version holds.
        chain: what makes rows of the table of them, the innermost first.
        number: a column of the chain's input that is always 1; None without.
    """

    node: Node
    keys: tuple[str, ...]
    time: str
    chain: tuple[Calc, ...]
    number: str | None = None

    def base(self, name: str | None) -> str | None:
        """The column of a version that a column of the table is, as it is."""
        for calc in reversed(self.chain):
            name = calc.origins.get(name) if name is not None else None
        return name


def _versions(table: Node, right: TableRef | Subquery, text: str) -> _Versions:
    chain: list[Calc] = []
    node = table
    while isinstance(node, Calc):
        chain.append(node)
        node = node.input
    calcs = tuple(reversed(chain))
    if isinstance(node, Rank) and node.windowed is None and node.time is not None and node.first == node.last == 1:
        if not node.keys:
            problem = f"{_name(right)} keeps one row of all: PARTITION BY says whose versions it has"
            raise SqlValidationError(problem, text, *right.span)
        if node.keeps_last:
            return _Versions(node.input, node.keys, node.time, calcs, node.number)
        if not node.is_top:
            return _Versions(node, node.keys, node.time, calcs)
    below = node.input if isinstance(node, Normalize) else node
    if isinstance(below, Scan):
        if not below.source.primary_key:
            raise SqlValidationError(_no(right, "it has no PRIMARY KEY"), text, *right.span)
        if below.source.rowtime is None:
            raise SqlValidationError(_no(right, "it has no event time"), text, *right.span)
        return _Versions(below, tuple(below.source.primary_key), below.source.rowtime, calcs)
    raise SqlValidationError(_no(right, "it is a query"), text, *right.span)


def _no(right: TableRef | Subquery, why: str) -> str:
    return (
        f"{_name(right)} has no versions to be joined FOR SYSTEM_TIME AS OF: {why}. What has versions is {_WAYS}. The "
        "latest rows of any table are joined FOR SYSTEM_TIME AS OF PROCTIME()"
    )


def _name(right: TableRef | Subquery) -> str:
    return right.name if isinstance(right, TableRef) else right.alias or "the query"


def _keyed(
    context: Context, left: Relation, table: Relation, conditions: Sequence[n.Node], versions: _Versions
) -> tuple[Keyed, n.Node | None]:
    """The join by the key of the versions, and what else must hold."""
    sides = Sides.of(left.node, table.node)
    scope = Scope(left.text, sides.names(left, table), context.dialect)
    keys = {column.name: name for name, column in sides.renamed.items() if versions.base(name) in versions.keys}
    taken: set[str] = set()
    equal: list[n.Node] = []
    rest: list[n.Node] = []
    for part in conditions:
        scope.expression(part, "ON")
        name = _key_of(part, scope, keys)
        if name is None or versions.base(keys[name]) in taken or not _is_about(part, name, scope, sides):
            rest.append(part)
        else:
            taken.add(str(versions.base(keys[name])))
            equal.append(part)
    keyed = Keyed.of(context, left, table, equal)
    if keyed.right.node is not table.node or keyed.rest:  # an expression became the key, or none did
        keyed = Keyed.of(context, left, table, [])
        rest = list(conditions)
    return keyed, conjunction(rest)


def _key_of(part: n.Node, scope: Scope, keys: dict[str, str]) -> str | None:
    """The column of the key that an equality is about."""
    if isinstance(part, n.Binary) and part.op == "=":
        for side in (part.left, part.right):
            if isinstance(side, n.ColumnRef):
                column, fields = scope.resolve(side)
                if not fields and column.name in keys:
                    return column.name
    return None


def _is_about(part: n.Node, name: str, scope: Scope, sides: Sides) -> bool:
    """Whether the other side of an equality is about the left side only."""
    others = scope.expression(part).reads - {name}
    return bool(others) and others <= set(sides.left.names)
