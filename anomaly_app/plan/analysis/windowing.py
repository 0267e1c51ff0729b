"""Window table functions over any relation, and the edges of windows through projections."""

from __future__ import annotations

from dataclasses import replace

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.typed import Dialect
from anomaly_app.plan.analysis.context import Context
from anomaly_app.plan.analysis.relation import Relation, bare
from anomaly_app.plan.nodes import WINDOW_END, WINDOW_START, WINDOW_TIME, Calc, Node, WindowAssign, WindowColumns, walk
from anomaly_app.plan.scope import Name, Scope, free_name, names_of
from anomaly_app.schema import Column, DataType, Kind
from anomaly_app.sql.windows import WindowFunction
from anomaly_app.windows.assign import Grid, Sessions

EDGE = DataType(Kind.TIMESTAMP, 3, nullable=False)
"""Type of window_start and window_end, over TIMESTAMP_LTZ too."""


def assigned(context: Context, relation: Relation, function: WindowFunction) -> Relation:
    """A relation with the windows of its rows.

    Raises:
        SqlValidationError: the column is no time attribute, or the lengths make no windows.
    """
    node, text = relation.node, relation.text
    scope = context.scope(relation)
    time = time_attribute(scope, node, function.time)
    windows = windows_of(function, text)
    if node.updating and time not in node.rowtimes:
        problem = f"windows over time of arrival need rows that are not taken back: {node.updating}"
        raise SqlValidationError(problem, text, *function.span)
    keys = tuple(scope.resolve(key)[0].name for key in function.partition_by)
    edges = edge_columns(node, time, {column.name for column in node.columns})
    columns = WindowColumns(edges[0].name, edges[1].name, edges[2].name, windows)
    assign = WindowAssign(
        columns=(*node.columns, *edges), rowtimes=node.rowtimes | ({edges[2].name} if time in node.rowtimes else set()),
        proctimes=node.proctimes | ({edges[2].name} if time in node.proctimes else set()),
        updating="" if isinstance(windows, Sessions) else node.updating,  # a session comes when it is over
        window=columns, span=function.span, text=text, input=node, time=time, windows=windows, keys=keys,
    )  # fmt: skip
    qualifiers = frozenset(q for name in relation.names for q in name.qualifiers)
    visible = zip((WINDOW_START, WINDOW_END, WINDOW_TIME), edges, strict=True)
    names = (*relation.names, *(Name(qualifiers, name, edge) for name, edge in visible))
    return replace(relation, node=assign, names=names)


def edge_columns(node: Node, time: str, taken: set[str]) -> tuple[Column, Column, Column]:
    """The columns that windows over a time attribute add to others."""
    attribute = DataType(node.column(time).type.kind, 3, nullable=False)
    names = [free_name(name, taken) for name in (WINDOW_START, WINDOW_END, WINDOW_TIME)]
    start, end, window_time = (Column(name, type_) for name, type_ in zip(names, (EDGE, EDGE, attribute), strict=True))
    return start, end, window_time


def time_attribute(scope: Scope, node: Node, ref: n.ColumnRef) -> str:
    """The time attribute that a reference names; raises ``SqlValidationError`` if it is none."""
    column, fields = scope.resolve(ref)
    if not fields and column.name in node.rowtimes | node.proctimes:
        return column.name
    shown = scope.text[slice(*ref.span)]
    attributes = [name for name in node.names if name in node.rowtimes | node.proctimes]
    if column.type.kind not in (Kind.TIMESTAMP, Kind.TIMESTAMP_LTZ) and attributes:
        shown_type, have = column.type.with_nullable(True), ", ".join(attributes)
        raise scope.fail(ref, f"{shown} is {shown_type}: it must be a time attribute, here {have}")
    if not attributes:
        raise scope.fail(ref, f"{shown} is no time attribute, and there is none here: {why_no_time(node)}")
    have = ", ".join(attributes)
    why = "CAST, arithmetic and COALESCE make a plain timestamp of one"
    raise scope.fail(ref, f"{shown} is no time attribute: here that is {have}. {why}")


def why_no_time(node: Node) -> str:
    """Why a node has no time attribute, and what gives it one."""
    if any(one.rowtimes or one.proctimes for one in walk(node)):
        return (
            "what is below has one, and a query keeps it if it gives the column as it is; CAST, arithmetic and "
            "COALESCE make a plain timestamp of it, GROUP BY has window_time, MATCH_RECOGNIZE has MATCH_ROWTIME()"
        )
    return "a table has one by WATERMARK FOR a column (rowtime= of Rows), or AS PROCTIME()"


def windows_of(function: WindowFunction, text: str) -> Grid | Sessions:
    """What windows a function makes; raises ``SqlValidationError``."""
    size = _millis(function.size, "the gap" if function.kind == "SESSION" else "the size", text)
    if function.kind == "SESSION":
        return Sessions(size)
    offset = 0
    if function.offset is not None:
        offset = _millis(function.offset, "the offset", text, least=None)
        if abs(offset) >= size:
            raise SqlValidationError("the offset of a window must be less than its size", text, *function.offset.span)
    if function.step is None:
        return Grid(size, size, offset)
    name = "the slide" if function.kind == "HOP" else "the step"
    step = _millis(function.step, name, text)
    if size % step:
        raise SqlValidationError(
            f"the size of {function.kind} must be a multiple of {name}", text, *function.size.span
        )  # fmt: skip
    return Grid(size, step, offset, cumulates=function.kind == "CUMULATE")


def _millis(literal: n.Literal, what: str, text: str, least: int | None = 1) -> int:
    problem = ""
    if literal.type.kind is not Kind.INTERVAL_DAY:
        problem = f"{what} of a window must be days or less: months differ in length"
    elif least is not None and literal.value < least:
        problem = f"{what} of a window must be positive"
    if problem:
        raise SqlValidationError(problem, text, *literal.span)
    return int(literal.value)


def below_windows(node: Node, text: str, dialect: Dialect) -> tuple[Node, WindowAssign] | None:
    """Rows in front of the windows that a node's rows carry, if projections and filters can go in front, too."""
    if isinstance(node, WindowAssign):
        return node.input, node
    if not isinstance(node, Calc):
        return None
    below = below_windows(node.input, text, dialect)
    if below is None:
        return None
    source, assign = below
    window = node.input.window
    assert window is not None
    edges = {window.start, window.end, window.time}
    kept = [
        (column, item)
        for column, item in zip(node.columns, node.items, strict=True)
        if not (item.bare is not None and item.bare in edges)
    ]
    reads = {name for _, item in kept for name in item.reads}
    if node.condition is not None:
        reads |= node.condition.reads
    if reads & edges:
        return None
    time = next((column.name for column, item in kept if item.bare == assign.time), None)
    if time is None:
        attribute = source.column(assign.time)
        time = free_name("$time", [column.name for column, _ in kept])
        scope = Scope(text, names_of(source.columns), dialect)
        kept.append((replace(attribute, name=time), bare(attribute, scope)))
    calc = Calc(
        columns=tuple(column for column, _ in kept),
        rowtimes=frozenset({time} if assign.time in source.rowtimes else ()),
        proctimes=frozenset({time} if assign.time in source.proctimes else ()),
        updating=source.updating, span=node.span, text=node.text, input=source, condition=node.condition,
        items=tuple(item for _, item in kept),
    )  # fmt: skip
    return calc, replace(assign, time=time)


def assignment(node: Node) -> WindowAssign | None:
    """Where the rows of a node get their windows, if only projections and filters are between."""
    while isinstance(node, Calc):
        node = node.input
    return node if isinstance(node, WindowAssign) else None
