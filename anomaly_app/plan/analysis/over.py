"""OVER: aggregates over the rows before, ROW_NUMBER with its bound, and detectors."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.aggregates import AGGREGATES
from anomaly_app.expressions.parser import parse_expression
from anomaly_app.expressions.refused import refusal
from anomaly_app.plan.aggregate_calls import OF_SOME, checked_aggregate
from anomaly_app.plan.analysis import detecting
from anomaly_app.plan.analysis.context import Context
from anomaly_app.plan.analysis.relation import Relation
from anomaly_app.plan.analysis.windowing import why_no_time
from anomaly_app.plan.conditions import conjuncts
from anomaly_app.plan.nodes import MAX_RANK, AggregateCall, Calc, Detect, Frame, Node, Over, Rank, SortColumn
from anomaly_app.plan.scope import Exact, Scope, free_name, names_of
from anomaly_app.schema import BIGINT, Column, Kind

NUMBERINGS = ("ROW_NUMBER", "RANK", "DENSE_RANK")
OFFSETS = ("LAG", "LEAD")
_FRAME = re.compile(
    r"(?P<unit>RANGE|ROWS) (?:BETWEEN )?(?P<from>UNBOUNDED PRECEDING|CURRENT ROW|.+? PRECEDING)(?: AND (?P<to>.+))?"
)


def has_calls(node: n.Node) -> bool:
    """Whether an expression has a call with OVER, or one that needs it."""
    return any(isinstance(part, n.Call) and part.over is not None for part in n.walk(node))


def with_calls(
    context: Context, relation: Relation, trees: Sequence[n.Node]
) -> tuple[Relation, Callable[[n.Node], n.Node]]:
    """A relation that has the results of all calls with OVER as columns, and what replaces the calls by these.

    Raises:
        SqlValidationError: a call is none that may stand there, or its window is not supported.
    """
    calls = {
        n.shape(part): part
        for tree in trees
        for part in n.walk(tree)
        if isinstance(part, n.Call) and part.over is not None
    }
    known: dict[Any, Column] = {}
    groups: dict[Any, list[n.Call]] = {}
    for shape, call in calls.items():
        if detecting.is_detector(call):
            groups.setdefault("detectors", []).append(call)
        elif call.name in NUMBERINGS:
            groups[shape] = [call]
        elif call.name in AGGREGATES or call.name in OFFSETS:
            window = call.over
            key = (n.shape(window), call.name in OFFSETS)
            groups.setdefault(key, []).append(call)
        else:
            raise SqlValidationError(detecting.no_window_function(call), relation.text, *call.span)
    for key, group in groups.items():
        if key == "detectors":
            relation = _detect(context, relation, group, known)
        elif group[0].name in NUMBERINGS:
            relation = _number(context, relation, group[0], known)
        else:
            relation = _over(context, relation, group, known)

    def replaced(tree: n.Node) -> n.Node:
        def change(part: n.Node) -> n.Node:
            if isinstance(part, n.Call) and part.over is not None:
                return Exact.to(part.span, known[n.shape(part)])
            return n.with_children(part, change)

        return change(tree)

    hidden = names_of(known.values())
    return replace(relation, names=(*relation.names, *hidden)), replaced


# --- aggregates -----------------------------------------------------------------------------------------


def _over(context: Context, relation: Relation, calls: Sequence[n.Call], known: dict[Any, Column]) -> Relation:
    window = calls[0].over
    assert window is not None
    relation, keys = context.with_columns(relation, window.partition_by)
    node, scope = relation.node, context.scope(relation)
    _insert_only(node, calls[0], scope, f"{calls[0].name} … OVER")
    time = _order_by_time(node, window, scope, calls[0].name)
    frame = _frame(window, scope) if calls[0].name not in OFFSETS else Frame(rows=True, preceding=None)
    columns, aggregates = list(node.columns), list[AggregateCall]()
    for call in calls:
        name = free_name("$over", [column.name for column in columns])
        if call.name in OFFSETS:
            aggregate, column = _offset(call, scope, name)
        else:
            aggregate, type_ = checked_aggregate(replace(call, over=None), scope, name)
            if call.name in OF_SOME and not frame.rows and frame.preceding:
                type_ = type_.with_nullable(True)  # Flink takes the frame of an interval for one that may be empty
            column = Column(name, type_)
        aggregates.append(aggregate)
        columns.append(column)
        known[n.shape(call)] = column
    over = Over(
        columns=tuple(columns), rowtimes=node.rowtimes, proctimes=node.proctimes, window=node.window,
        span=calls[0].span, text=relation.text, input=node, calls=tuple(aggregates), keys=keys, time=time, frame=frame,
    )  # fmt: skip
    return relation.over(over)


def _offset(call: n.Call, scope: Scope, name: str) -> tuple[AggregateCall, Column]:
    if call.name == "LEAD":
        raise scope.fail(call, refusal("LEAD … OVER"))
    if not 1 <= len(call.args) <= 3:
        raise scope.fail(call, f"LAG takes a value, perhaps an offset and a default, not {len(call.args)} arguments")
    value = scope.expression(call.args[0])
    if len(call.args) > 1:
        offset = call.args[1]
        if not isinstance(offset, n.Literal) or not isinstance(offset.value, int) or not 0 <= offset.value <= 100_000:
            raise scope.fail(offset, "the offset of LAG must be a whole number from 0 to 100,000, written out")
    type_ = value.type.with_nullable(True)
    if len(call.args) == 3:
        default = scope.expression(n.Cast(call.args[2].span, call.args[2], type_, False))
        type_ = type_.with_nullable(value.type.nullable or default.type.nullable)
    return AggregateCall(name, call, value, None), Column(name, type_)


def _order_by_time(node: Node, window: n.Window, scope: Scope, name: str) -> str:
    if not window.order_by:
        raise scope.fail(window, f"{name} … OVER needs ORDER BY the time attribute")
    first, *others = window.order_by
    column, fields = scope.resolve(first.expr) if isinstance(first.expr, n.ColumnRef) else (None, ())
    if column is None or fields or column.name not in node.rowtimes | node.proctimes:
        attributes = ", ".join(name for name in node.names if name in node.rowtimes | node.proctimes)
        have = f"({attributes})" if attributes else f"and there is none here: {why_no_time(node)}"
        problem = f"{name} … OVER goes by time: ORDER BY must be a time attribute {have}"
        raise scope.fail(first, problem)
    if first.descending:
        raise scope.fail(first, f"ORDER BY of {name} … OVER must be ascending: what comes later is not known yet")
    if others:
        raise scope.fail(others[0], f"ORDER BY of {name} … OVER takes the time attribute only")
    return column.name


def _frame(window: n.Window, scope: Scope) -> Frame:
    """The rows of a window; the default is RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW."""
    if not window.frame:
        return Frame(rows=False, preceding=None)

    def fail(problem: str) -> SqlValidationError:
        return SqlValidationError(problem, scope.text, *window.frame_span)

    found = _FRAME.fullmatch(window.frame)
    if found is None or (found["to"] or "CURRENT ROW") != "CURRENT ROW":
        raise fail("the frame must be RANGE or ROWS BETWEEN … PRECEDING AND CURRENT ROW: later rows are not known yet")
    rows, begin = found["unit"] == "ROWS", found["from"]
    if begin == "UNBOUNDED PRECEDING":
        return Frame(rows, None)
    if begin == "CURRENT ROW":
        return Frame(rows, 0)
    written = scope.text[slice(*window.frame_span)]
    bound = re.search(r"(?is)(?:BETWEEN\s+)?(?P<bound>(?:INTERVAL\b|\d).*?)\s+PRECEDING", written)
    if bound is None:
        raise fail("the frame must begin at UNBOUNDED PRECEDING, a number of rows or an interval PRECEDING")
    if rows:
        if not bound["bound"].isdigit():
            raise fail("ROWS takes a whole number, as in ROWS BETWEEN 5 PRECEDING AND CURRENT ROW")
        return Frame(True, int(bound["bound"]))
    literal = parse_expression(bound["bound"])
    if not isinstance(literal, n.Literal) or literal.type.kind is not Kind.INTERVAL_DAY or literal.value < 0:
        raise fail("RANGE takes an interval of days or less, as in RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND …")
    return Frame(False, int(literal.value))


def _insert_only(node: Node, call: n.Call, scope: Scope, what: str) -> None:
    if node.updating:
        raise scope.fail(call, f"{what} needs rows that are not taken back: {node.updating}")


# --- detectors --------------------------------------------------------------------------------------------


def _detect(context: Context, relation: Relation, calls: Sequence[n.Call], known: dict[Any, Column]) -> Relation:
    node, scope = relation.node, context.scope(relation)
    _insert_only(node, calls[0], scope, calls[0].name)
    checked = detecting.checked(calls, node, scope)
    columns = list(node.columns)
    for call, detector in zip(calls, checked.calls, strict=True):
        column = Column(free_name("$detector", [column.name for column in columns]), detector.function.result)
        columns.append(column)
        known[n.shape(call)] = column
    detect = Detect(
        columns=tuple(columns), rowtimes=node.rowtimes, proctimes=node.proctimes, window=node.window,
        span=calls[0].span, text=relation.text, input=node, calls=checked.calls, values=checked.values,
        keys=checked.keys, time=checked.time,
    )  # fmt: skip
    return relation.over(detect)


# --- ROW_NUMBER ---------------------------------------------------------------------------------------------


def _number(context: Context, relation: Relation, call: n.Call, known: dict[Any, Column]) -> Relation:
    """ROW_NUMBER() without a bound yet: a condition around may give it one."""
    window, text = call.over, relation.text
    assert window is not None
    if call.name != "ROW_NUMBER":
        raise SqlValidationError(refusal(f"{call.name} … OVER"), text, *call.span)
    if call.args:
        raise SqlValidationError("ROW_NUMBER takes no argument", text, *call.args[0].span)
    if not window.order_by:
        raise SqlValidationError("ROW_NUMBER() needs ORDER BY in its OVER", text, *window.span)
    trees = [*window.partition_by, *(item.expr for item in window.order_by)]
    relation, names = context.with_columns(relation, trees)
    node = relation.node
    keys, ordered = names[: len(window.partition_by)], names[len(window.partition_by) :]
    order = tuple(
        SortColumn(name, item.descending, not item.descending if item.nulls_first is None else item.nulls_first)
        for name, item in zip(ordered, window.order_by, strict=True)
    )
    edges = node.window
    windowed = edges if edges is not None and {edges.start, edges.end} <= set(keys) else None
    number = Column(free_name("$number", node.names), BIGINT.with_nullable(False))
    inside = {windowed.start, windowed.end, windowed.time} if windowed is not None else set()
    time = order[0].name if len(order) == 1 and order[0].name in node.rowtimes | node.proctimes else None
    rank = Rank(
        columns=(*node.columns, number), rowtimes=node.rowtimes, proctimes=node.proctimes, updating=node.updating,
        window=node.window, span=call.span, text=text, input=node,
        keys=tuple(key for key in keys if key not in inside), order=order, first=1, last=MAX_RANK, number=number.name,
        windowed=windowed, time=time,
    )  # fmt: skip
    known[n.shape(call)] = number
    return relation.over(told(rank))


def told(rank: Rank) -> Rank:
    """A rank that says whether it takes rows back."""
    updating = rank.input.updating
    if rank.is_top:
        updating = updating or "ROW_NUMBER() in this order takes rows back as others come"
    return replace(rank, updating=updating)


@dataclass(frozen=True, slots=True)
class _Bound:
    column: str
    first: int
    last: int


def bounded(node: Node, condition: n.Node, scope: Scope) -> tuple[Node, n.Node | None] | None:
    """A node whose ROW_NUMBER() has the bound that a condition gives it, and what is left of the condition.

    None if the condition bounds none.
    """
    parts = conjuncts(condition)
    for part in parts:
        bound = _bound(part, scope)
        if bound is None:
            continue
        ranked = _with_bound(node, bound)
        if ranked is not None:
            rest: n.Node | None = None
            for other in parts:
                if other is not part:
                    rest = other if rest is None else n.Binary(condition.span, "AND", rest, other)
            again = bounded(ranked, rest, scope) if rest is not None else None
            return again if again is not None else (ranked, rest)
    return None


_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "="}


def _bound(node: n.Node, scope: Scope) -> _Bound | None:
    """What a comparison of a column with a whole number says."""
    if isinstance(node, n.Between) and not node.negated:
        low, high = _whole(node.low), _whole(node.high)
        name = _bare(node.operand, scope)
        return _Bound(name, low, high) if name is not None and low is not None and high is not None else None
    if not isinstance(node, n.Binary) or node.op not in _FLIPPED:
        return None
    name, value, op = _bare(node.left, scope), _whole(node.right), node.op
    if name is None or value is None:
        name, value, op = _bare(node.right, scope), _whole(node.left), _FLIPPED[node.op]
    if name is None or value is None:
        return None
    ranges = {
        "=": (value, value), "<": (1, value - 1), "<=": (1, value), ">": (value + 1, MAX_RANK), ">=": (value, MAX_RANK)
    }  # fmt: skip
    return _Bound(name, *ranges[op])


def _whole(node: n.Node) -> int | None:
    whole = isinstance(node, n.Literal) and isinstance(node.value, int) and not isinstance(node.value, bool)
    return node.value if whole and isinstance(node, n.Literal) else None


def _bare(node: n.Node, scope: Scope) -> str | None:
    if not isinstance(node, n.ColumnRef):
        return None
    column, fields = scope.resolve(node)
    return None if fields else column.name


def _with_bound(node: Node, bound: _Bound) -> Node | None:
    if isinstance(node, Calc):
        origin = node.origins.get(bound.column)
        below = None
        if origin is not None and node.condition is None:
            below = _with_bound(node.input, replace(bound, column=origin))
        return replace(node, input=below, updating=below.updating) if below is not None else None
    if isinstance(node, Rank) and node.number == bound.column:
        return told(replace(node, first=max(node.first, bound.first), last=min(node.last, bound.last)))
    return None
