"""What all joins share: two sides, what their columns are called behind the join, and the parts of a condition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from anomaly_app.expressions import nodes as n
from anomaly_app.plan.nodes import Node
from anomaly_app.plan.scope import Name, Scope, free_name
from anomaly_app.schema import TEXTS, WHOLE_NUMBERS, Column, DataType, Kind

if TYPE_CHECKING:
    from anomaly_app.plan.relation import Relation

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


def conjuncts(node: n.Node) -> list[n.Node]:
    """What AND puts together, from left to right."""
    found: list[n.Node] = []
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, n.Binary) and one.op == "AND":
            waiting += [one.right, one.left]
        else:
            found.append(one)
    return found


def conjunction(parts: Sequence[n.Node]) -> n.Node | None:
    """Conditions put together by AND; None for none."""
    rest: n.Node | None = None
    for part in parts:
        rest = part if rest is None else n.Binary(part.span, "AND", rest, part)
    return rest


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
