"""Interval joins: which condition of a join bounds how far apart the times of its two rows may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.type_parser import INTERVAL_MILLIS
from anomaly_app.expressions.typed import Code, Environment
from anomaly_app.plan.analysis.context import Context
from anomaly_app.plan.analysis.join_sides import Keyed, Sides
from anomaly_app.plan.analysis.relation import Relation
from anomaly_app.plan.conditions import conjuncts
from anomaly_app.plan.nodes import IntervalJoin, Node
from anomaly_app.plan.scope import Expression, Scope
from anomaly_app.schema import TIMESTAMPS, Kind
from anomaly_app.sql.queries import FromItem, Join, Subquery, TableRef

_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "="}


def interval_joined(context: Context, join: Join, text: str) -> Relation | None:
    """The rows of a join that bounds how far apart two times are; None if it does not.

    Args:
        context: whose tables.
        join: the whole join.
        text: the whole text, for errors.

    Raises:
        SqlValidationError: the condition means nothing, or rows may be taken back.
    """
    if join.condition is None or join.kind not in ("INNER", "LEFT", "RIGHT", "FULL"):
        return None
    left, right = context.item(join.left, text), context.item(join.right, text)
    sides = Sides.of(left.node, right.node)
    names = sides.names(left, right)
    scope = Scope(text, names, context.dialect)
    found = _interval(conjuncts(join.condition), scope, sides)
    if found is None:
        return None
    times, interval, rest = found
    _refuse(sides, times, join, text)
    keyed = Keyed.of(context, left, right, rest)
    node = IntervalJoin(
        **common(keyed, join.kind, text), span=join.span, left=keyed.left.node, right=keyed.right.node,
        keys=keyed.keys, null_equal=keyed.null_equal, condition=keyed.condition, times=times,
        aliases=(called(join.left, "left"), called(join.right, "right")), low=interval.low, high=interval.high,
    )  # fmt: skip
    return behind(node, keyed)


def common(keyed: Keyed, kind: str, text: str) -> dict[str, Any]:
    """What nodes of joins by time have of their sides: columns with time attributes, and names."""
    sides, theirs = keyed.sides, keyed.sides.theirs
    return {
        "columns": sides.joined_columns(kind),
        "rowtimes": sides.left.rowtimes | {theirs[name] for name in sides.right.rowtimes},
        "proctimes": sides.left.proctimes | {theirs[name] for name in sides.right.proctimes},
        "text": text,
        "kind": kind,
        "theirs": theirs,
    }


def behind(node: Node, keyed: Keyed) -> Relation:
    """The relation of a join: names mean its columns."""
    columns = {column.name: column for column in node.columns}
    names = keyed.sides.names(keyed.left, keyed.right)
    return replace(
        keyed.left, node=node, names=tuple(replace(name, column=columns[name.column.name]) for name in names)
    )


def called(item: FromItem, otherwise: str) -> str:
    """What a side of a join is called, for people."""
    if isinstance(item, (TableRef, Subquery)) and item.alias is not None:
        return item.alias
    return item.path[-1] if isinstance(item, TableRef) else otherwise


@dataclass(frozen=True, slots=True)
class _Bound:
    """A bound on the time of the right less that of the left, in ms.

    Args:
        times: columns of the left and of the right, by their own names.
        low: at least; None for no bound.
        high: at most; None for no bound.
    """

    times: tuple[str, str]
    low: int | None
    high: int | None


@dataclass(frozen=True, slots=True)
class _Interval:
    low: int
    high: int


def _interval(
    conditions: Sequence[n.Node], scope: Scope, sides: Sides
) -> tuple[tuple[str, str], _Interval, list[n.Node]] | None:
    """The times that are bounded on both sides, their bounds, and what is left of the conditions."""
    reader = _Reader(scope, sides)
    parts = [(part, reader.bounds(part)) for part in conditions]
    for times in dict.fromkeys(bound.times for _, bounds in parts for bound in bounds):
        rest, lows, highs = list[n.Node](), list[int](), list[int]()
        for part, bounds in parts:
            own = [bound for bound in bounds if bound.times == times]
            if not own:
                rest.append(part)
            lows += [bound.low for bound in own if bound.low is not None]
            highs += [bound.high for bound in own if bound.high is not None]
        if lows and highs:
            return times, _Interval(max(lows), min(highs)), rest
    return None


class _Reader:
    """Reads conditions of a join as bounds on two times."""

    def __init__(self, scope: Scope, sides: Sides) -> None:
        self._scope = scope
        self._mine = sides.left.rowtimes | sides.left.proctimes
        self._theirs = {
            behind: own for own, behind in sides.theirs.items() if own in sides.right.rowtimes | sides.right.proctimes
        }
        self._types = {column.name: column.type.kind for column in sides.columns}

    def bounds(self, part: n.Node) -> list[_Bound]:
        """The bounds that a condition says; [] if it is about something else."""
        if isinstance(part, n.Between) and not part.negated and not part.symmetric:
            low, high = self._bound(part.operand, ">=", part.low), self._bound(part.operand, "<=", part.high)
            if low is None or high is None or low.times != high.times:
                return []
            return [low, high]
        if isinstance(part, n.Binary) and part.op in _FLIPPED:
            bound = self._bound(part.left, part.op, part.right)
            return [bound] if bound is not None else []
        return []

    def _bound(self, first: n.Node, op: str, second: n.Node) -> _Bound | None:
        one, other = self._shifted(first), self._shifted(second)
        if one is None or other is None:
            return None
        if one[0] in self._theirs and other[0] in self._mine:
            one, other, op = other, one, _FLIPPED[op]
        if one[0] not in self._mine or other[0] not in self._theirs:
            return None
        if self._types[one[0]] is not self._types[other[0]]:
            return None
        times = (one[0], self._theirs[other[0]])
        apart = one[1] - other[1]  # left + a op right + b: right - left is on the other side of a - b
        low = {"=": apart, "<=": apart, "<": apart + 1}.get(op)
        high = {"=": apart, ">=": apart, ">": apart - 1}.get(op)
        return _Bound(times, low, high)

    def _shifted(self, node: n.Node) -> tuple[str, int] | None:
        """A time attribute and what is added to it, in ms."""
        if isinstance(node, n.ColumnRef):
            column, fields = self._scope.resolve(node)
            is_time = not fields and (column.name in self._mine or column.name in self._theirs)
            held_in_ms = column.type.kind in TIMESTAMPS and (column.type.precision or 0) <= 3
            return (column.name, 0) if is_time and held_in_ms else None
        if isinstance(node, n.Call) and node.name == "TIMESTAMPADD" and len(node.args) == 2:
            return self._added(node)
        if not isinstance(node, n.Binary) or node.op not in ("+", "-"):
            return None
        shifted, by = self._shifted(node.left), self._millis(node.right)
        if shifted is None and node.op == "+":
            shifted, by = self._shifted(node.right), self._millis(node.left)
        if shifted is None or by is None:
            return None
        return shifted[0], shifted[1] + (by if node.op == "+" else -by)

    def _added(self, node: n.Call) -> tuple[str, int] | None:
        unit, (count, time) = INTERVAL_MILLIS.get(node.words[0]), node.args
        shifted = self._shifted(time)
        if shifted is None or unit is None or any(isinstance(part, n.ColumnRef) for part in n.walk(count)):
            return None
        value = _constant(self._scope.expression(count))
        return (shifted[0], shifted[1] + value * unit) if isinstance(value, int) else None

    def _millis(self, node: n.Node) -> int | None:
        """A constant interval in ms; None if it is something else."""
        if any(isinstance(part, n.ColumnRef) for part in n.walk(node)):
            return None
        expression = self._scope.expression(node)
        if expression.type.kind is not Kind.INTERVAL_DAY:
            return None
        value: int | None = _constant(expression)
        return value


def _constant(expression: Expression) -> Any:
    env = Environment()
    source = expression.compile(_no_column, env).source
    return env.function("value", f"def value():\n    return {source}")()


def _refuse(sides: Sides, times: tuple[str, str], join: Join, text: str) -> None:
    for side, time in zip((sides.left, sides.right), times, strict=True):
        if side.updating:
            problem = f"an interval join needs rows that are not taken back: {side.updating}"
            raise SqlValidationError(problem, text, *join.span)
        if time not in side.rowtimes:
            problem = (
                f"an interval join over processing time ({time}) is not supported: bound the event time of both "
                "sides, which a table has by WATERMARK FOR ts AS ts - INTERVAL '5' SECOND"
            )
            raise SqlValidationError(problem, text, *join.span)


def _no_column(name: str) -> Code:
    raise AssertionError(f"a constant reads {name}")
