"""What all joins share: two sides, what their columns are called behind the join, and the parts of a condition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.typed import common_type
from anomaly_app.plan.analysis.context import Context
from anomaly_app.plan.analysis.relation import Relation
from anomaly_app.plan.conditions import conjunction
from anomaly_app.plan.nodes import Node
from anomaly_app.plan.scope import Exact, Expression, Name, Scope, free_name
from anomaly_app.schema import NUMBERS, TEXTS, TIMESTAMPS, WHOLE_NUMBERS, Column, DataType, Kind

_TIMES = TIMESTAMPS | {Kind.DATE, Kind.TIME}
_KEYS = NUMBERS | TEXTS | _TIMES | {Kind.BOOLEAN, Kind.BYTES, Kind.INTERVAL_DAY, Kind.INTERVAL_YEAR}
_EXACT = WHOLE_NUMBERS | {Kind.BOOLEAN, Kind.DATE}


@dataclass(frozen=True, slots=True)
class Sides:
    """The inputs of a join.

    Args:
        left: one input.
        right: the other.
        renamed: its columns, by their names, as they are called behind the join.
    """

    left: Node
    right: Node
    renamed: dict[str, Column]

    @classmethod
    def of(cls, left: Node, right: Node) -> Sides:
        """The sides of a join, with names that differ."""
        taken = list(left.names)
        renamed: dict[str, Column] = {}
        for column in right.columns:
            renamed[column.name] = replace(column, name=free_name(column.name, taken))
            taken.append(renamed[column.name].name)
        return cls(left, right, renamed)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns of both, as they are called behind the join."""
        return (*self.left.columns, *self.renamed.values())

    @property
    def theirs(self) -> dict[str, str]:
        """What the columns of the right are called behind the join, by their names."""
        return {name: column.name for name, column in self.renamed.items()}

    def names(self, left: Relation, right: Relation) -> tuple[Name, ...]:
        """What expressions over pairs may call the columns."""
        return (*left.names, *(replace(name, column=self.renamed[name.column.name]) for name in right.names))

    def joined_columns(self, kind: str) -> tuple[Column, ...]:
        """Columns of the pairs of a kind of join: those of the side that may be missing can be NULL.

        Args:
            kind: ``INNER``, ``LEFT``, ``RIGHT`` or ``FULL``.
        """
        return (
            *(_nullable(column, kind in ("RIGHT", "FULL")) for column in self.left.columns),
            *(_nullable(column, kind in ("LEFT", "FULL")) for column in self.renamed.values()),
        )


@dataclass(frozen=True, slots=True)
class Keyed:
    """A join whose condition has been split: keys that are columns of both sides, and the rest.

    Args:
        left: one input; an expression that is a key has become a column of it.
        right: the other.
        sides: both.
        scope: names in the rest.
        keys: columns that are equal: of the left, and of the right by their own names.
        null_equal: for each key whether NULL equals NULL.
        rest: what else must hold for a pair.
    """

    left: Relation
    right: Relation
    sides: Sides
    scope: Scope
    keys: tuple[tuple[str, str], ...]
    null_equal: tuple[bool, ...]
    rest: tuple[n.Node, ...]

    @classmethod
    def of(cls, context: Context, left: Relation, right: Relation, conditions: Sequence[n.Node]) -> Keyed:
        """Split conditions that must all hold.

        An equality (or IS NOT DISTINCT FROM) of something of the left with something of the right is a key: columns, or
        expressions, brought to one type as a comparison does.

        Args:
            context: whose dialect.
            left: one input.
            right: the other.
            conditions: over the columns of both, by the names that they have behind the join.

        Raises:
            SqlValidationError: a condition means nothing.
        """
        text = left.text
        scope = Scope(text, Sides.of(left.node, right.node).names(left, right), context.dialect)
        found: list[tuple[n.Node, n.Node, bool]] = []
        rest: list[n.Node] = []
        sides = Sides.of(left.node, right.node)
        for condition in conditions:
            scope.expression(condition, "ON")
            pair = _equality(condition, scope, sides)
            if pair is None:
                rest.append(condition)
            else:
                assert isinstance(condition, n.Binary)
                found.append((*pair, condition.op != "="))
        taken = {*left.node.names, *right.node.names}
        called = []
        for _ in found:
            called.append(free_name("$key", taken))
            taken.add(called[-1])
        left, mine = context.with_columns(left, [one for one, _, _ in found], called)
        right, theirs = context.with_columns(right, [one for _, one, _ in found], called)
        sides = Sides.of(left.node, right.node)
        scope = Scope(text, sides.names(left, right), context.dialect)
        nulls = tuple(null_equal for _, _, null_equal in found)
        return cls(left, right, sides, scope, tuple(zip(mine, theirs, strict=True)), nulls, tuple(rest))

    @property
    def condition(self) -> Expression | None:
        """The rest as one expression; None for nothing."""
        rest = conjunction(self.rest)
        return None if rest is None else self.scope.expression(rest, "ON")


def _equality(condition: n.Node, scope: Scope, sides: Sides) -> tuple[n.Node, n.Node] | None:
    """What of the left and what of the right an equality is about, as expressions over each; None for no such."""
    if not isinstance(condition, n.Binary) or condition.op not in ("=", "IS NOT DISTINCT FROM"):
        return None
    mine, theirs = condition.left, condition.right
    own, others = set(sides.left.names), {column.name for column in sides.renamed.values()}
    a, b = scope.expression(mine), scope.expression(theirs)
    if not a.reads or not b.reads:
        return None
    if a.reads <= others and b.reads <= own:
        mine, theirs, a, b = theirs, mine, b, a
    elif not (a.reads <= own and b.reads <= others):
        return None
    if not equal_in_memory(a.type, b.type):
        target = key_type(a.type, b.type)
        if target is None:
            return None
        mine, theirs = as_key(mine, a.type, *target), as_key(theirs, b.type, *target)
    return mine, over_side(theirs, scope, sides)


def over_side(tree: n.Node, scope: Scope, sides: Sides) -> n.Node:
    """An expression that reads columns of the right only, as one over the right itself."""
    original = {column.name: sides.right.column(name) for name, column in sides.renamed.items()}

    def moved(part: n.Node) -> n.Node:
        if not isinstance(part, n.ColumnRef):
            return part
        column, fields = scope.resolve(part)
        return with_fields(Exact.to(part.span, original[column.name]), fields)

    return n.rewritten(tree, moved)


def with_fields(tree: n.Node, fields: Sequence[str]) -> n.Node:
    """Fields of a ROW."""
    for name in fields:
        tree = n.Field(tree.span, tree, name)
    return tree


def key_type(a: DataType, b: DataType) -> tuple[DataType, bool] | None:
    """The type in which values of two types are compared as keys, and whether one that does not fit it is NULL.

    None if there is none, or if it holds values that are no keys. A text that is compared with a number or a time
    becomes one.
    """
    kinds = {a.kind, b.kind}
    if kinds & TEXTS and not kinds <= TEXTS:
        other = b if a.kind in TEXTS else a
        if other.kind in _TIMES:
            return other, True
        return (other, False) if other.kind in NUMBERS | {Kind.BOOLEAN} else None
    type_ = common_type([a, b])
    if type_ is None or type_.kind not in _KEYS:
        return None
    if type_.kind is Kind.FLOAT and Kind.BIGINT in kinds:
        return DataType(Kind.DOUBLE), False
    return type_, False


def as_key(tree: n.Node, type_: DataType, target: DataType, safe: bool) -> n.Node:
    """An expression of a type as a key of another one, as :func:`key_type` gives it."""
    if type_.with_nullable(True) == target.with_nullable(True):
        return tree
    return n.Cast(tree.span, tree, target.with_nullable(True), safe and type_.kind in TEXTS)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a condition of a join is made of.

    Args:
        keys: columns that are equal: of the left, and of the right by their own names.
        rest: what else must hold for a pair; None for nothing.
    """

    keys: tuple[tuple[str, str], ...]
    rest: n.Node | None

    @classmethod
    def of(cls, conditions: Sequence[n.Node], scope: Scope, sides: Sides) -> Parts:
        """Split conditions that must all hold.

        Args:
            conditions: the conditions.
            scope: names in them.
            sides: of the join.

        Raises:
            SqlValidationError: a name means nothing.
        """
        original = {column.name: name for name, column in sides.renamed.items()}
        types = {column.name: column.type for column in sides.columns}
        keys: list[tuple[str, str]] = []
        rest: list[n.Node] = []
        for part in conditions:
            pair = _columns(part, scope, original)
            if pair is not None and equal_in_memory(types[pair[0]], types[pair[1]]):
                keys.append((pair[0], original[pair[1]]))
            else:
                rest.append(part)
        return cls(tuple(keys), conjunction(rest))


def equal_in_memory(a: DataType, b: DataType) -> bool:
    """Whether equal values of two types are equal in memory, so that a column of each can be a key as it is."""
    if a.kind in TEXTS or a.kind in _EXACT:
        return (b.kind in TEXTS) if a.kind in TEXTS else a.kind is b.kind or {a.kind, b.kind} <= WHOLE_NUMBERS
    return a.kind is b.kind and a.kind in (Kind.TIMESTAMP, Kind.TIMESTAMP_LTZ) and a.precision == b.precision


def _columns(part: n.Node, scope: Scope, of_right: dict[str, str]) -> tuple[str, str] | None:
    """The column of the left and the one of the right that a condition says are equal."""
    if not isinstance(part, n.Binary) or part.op != "=":
        return None
    pair = []
    for side in (part.left, part.right):
        if not isinstance(side, n.ColumnRef):
            return None
        column, fields = scope.resolve(side)
        if fields:
            return None
        pair.append(column.name)
    first, second = pair
    if (first in of_right) == (second in of_right):
        return None
    return (second, first) if first in of_right else (first, second)


def _nullable(column: Column, missing: bool) -> Column:
    return replace(column, type=column.type.with_nullable(True)) if missing else column
