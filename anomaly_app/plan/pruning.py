"""Which columns of each node somebody needs, and which of them the time of its rows is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from anomaly_app.patterns.rule import Rule
from anomaly_app.plan.nodes import (
    Aggregate,
    Calc,
    Copies,
    Detect,
    Evaluate,
    GroupingRows,
    IntervalJoin,
    KeptJoin,
    Limit,
    LookupJoin,
    Match,
    Materialize,
    Node,
    Normalize,
    Over,
    Predict,
    Rank,
    Scan,
    Sort,
    TimedJoin,
    Union,
    UnnestRows,
    ValuesRows,
    WindowAggregate,
    WindowAssign,
    WindowJoin,
    walk,
)
from anomaly_app.plan.scope import HIDDEN
from anomaly_app.schema import CHANGE
from anomaly_app.windows.assign import Grid, Sessions


def needed_columns(result: Node) -> dict[int, set[str]]:
    """Columns of each node that somebody needs, by the identity of the node; of the result all."""
    needs: dict[int, set[str]] = {id(node): {CHANGE} if node.updating else set() for node in walk(result)}
    needs[id(result)] |= set(result.names)
    for node in reversed(list(walk(result))):
        for below, names in _reads(node, needs[id(node)]):
            needs[id(below)] |= names
    return needs


def _reads(node: Node, wanted: set[str]) -> Iterable[tuple[Node, set[str]]]:
    """Columns of its inputs that a node needs, so that it can give the wanted ones."""
    if isinstance(node, Calc):
        names = set(node.condition.reads) if node.condition is not None else set()
        for name, item in zip(node.names, node.items, strict=True):
            if name in wanted:
                names |= item.reads
        return [(node.input, names | wanted & HIDDEN)]
    if isinstance(node, Union):
        names = wanted & set(node.names) or {node.names[0]}
        return [(branch, names | _time_column(branch, row_time(node))) for branch in node.branches]
    if isinstance(node, WindowAggregate):
        names = {*node.keys}
        for call in node.aggregates:
            names |= _call_reads(call)
        if node.condition is not None:
            names |= node.condition.reads
        if node.attached is not None:
            names |= {name for name in (node.attached.start, node.attached.end) if name}
        else:
            names |= _time_column(node.input, node.time)
        return [(node.input, names)]
    if isinstance(node, Match):
        rule = Rule(node.clause, node.input.schema(node.time), node.text, node.checked.dialect)
        return [(node.input, set(rule.reads) | _time_column(node.input, node.time))]
    if isinstance(node, KeptJoin):
        return node.needs(wanted)
    if isinstance(node, WindowJoin):
        return [(side, _join_reads(node, place, wanted)) for place, side in enumerate(node.inputs)]
    if isinstance(node, TimedJoin):
        both = zip(node.inputs, node.times, strict=True)
        return [(side, node.read(place, wanted) | _time_column(side, time)) for place, (side, time) in enumerate(both)]
    below = node.inputs[0] if node.inputs else None
    if below is None:
        return []
    of_groups = _read_by_groups(node, wanted)
    if of_groups is not None:
        return [(below, of_groups)]
    names = wanted & set(below.names)
    if isinstance(node, WindowAssign):
        names |= {*node.keys} | _time_column(below, node.time)
    elif isinstance(node, Detect):
        names |= {*node.keys} | _time_column(below, node.time)
        for values in node.values:
            for value in values:
                names |= value.reads
    elif isinstance(node, Over):
        names |= {*node.keys} | _time_column(below, node.time)
        for call in node.calls:
            names |= _call_reads(call)
    elif isinstance(node, Rank) and node.windowed is not None:
        names |= {*node.keys, *(column.name for column in node.order)}
        names |= {name for name in (node.windowed.end,) if name}
    elif isinstance(node, Rank):
        by_value = {column.name for column in node.order} if node.is_top and not node.keeps_last else set()
        names |= {*node.keys} | by_value | _time_column(below, node.time)
    elif isinstance(node, (Materialize, Normalize)):
        names |= {*node.keys}
    elif isinstance(node, UnnestRows):
        names |= node.value.reads
    elif isinstance(node, Evaluate):
        names |= node.reads & set(below.names)
    elif isinstance(node, Predict):
        names |= node.reads
    elif isinstance(node, LookupJoin):
        names |= node.reads & set(below.names)
    elif isinstance(node, Sort):
        names |= {column.name for column in node.order} | _time_column(below, node.time)
    return [(below, names)]


def _join_reads(node: WindowJoin, place: int, wanted: set[str]) -> set[str]:
    """Columns of one side that a window join needs."""
    names = wanted | node.condition.reads if node.condition is not None else wanted
    side = node.inputs[place]
    assert side.window is not None
    edges = {name for name in (side.window.start, side.window.end) if name}
    behind = {name: name for name in side.names} if place == 0 else node.theirs
    return {own for own, name in behind.items() if name in names} | edges | {key[place] for key in node.keys}


def row_time(node: Node) -> str | None:
    """The column that the time of a row of a node is, whether the row has that column or not; None if none is."""
    moved: list[Calc] = []
    passing = (Calc, UnnestRows, Limit, LookupJoin, Materialize, Normalize, Predict)
    while isinstance(node, passing) or (isinstance(node, Rank) and node.is_top):
        if isinstance(node, Calc):
            moved.append(node)
        node = node.input
    time: str | None = None
    if isinstance(node, Scan):
        time = node.source.rowtime or node.source.proctime
    elif isinstance(node, Union):
        time = next((name for name in node.names if name in node.rowtimes | node.proctimes), None)
    elif isinstance(node, WindowAssign) and isinstance(node.windows, Sessions):
        time = node.window.time if node.window is not None else None
    elif isinstance(node, (WindowAggregate, WindowJoin)) or (isinstance(node, Rank) and node.windowed is not None):
        time = node.window.time if node.window is not None else None
    elif isinstance(node, (WindowAssign, Detect, Over, Rank, Sort)):
        time = node.time
    elif isinstance(node, TimedJoin):
        time = node.row_time
    for calc in reversed(moved):
        time = calc.moved_to(time)
    return time


def is_stateless(node: Node) -> bool:
    """Whether the rows of a node come as those of the tables do: at once, in order of the last row they are made of."""
    return all(
        isinstance(one, (Scan, Calc, LookupJoin, Predict, Union, UnnestRows, ValuesRows))
        or (isinstance(one, WindowAssign) and isinstance(one.windows, Grid))
        or (isinstance(one, IntervalJoin) and one.kind == "INNER")
        for one in walk(node)
    )


def _time_column(node: Node, time: str | None) -> set[str]:
    """The column of a time attribute, if it is needed because the time of the rows is another one."""
    return set() if time is None or row_time(node) == time else {time}


def _call_reads(call: Any) -> set[str]:
    names = set(call.value.reads) if call.value is not None else set()
    if call.condition is not None:
        names |= call.condition.reads
    if call.call.name == "LAG" and len(call.call.args) == 3:  # the default
        names |= call.value.scope.expression(call.call.args[2]).reads
    return names


def _read_by_groups(node: Node, wanted: set[str]) -> set[str] | None:
    """Columns of its input that one of these nodes needs, so that it can give the wanted ones; None for others."""
    if isinstance(node, Aggregate):
        names = {*node.keys}
        for call in node.aggregates:
            for expression in (call.value, call.condition):
                names |= expression.reads if expression is not None else set()
        return names
    if isinstance(node, GroupingRows):
        return wanted & set(node.input.names) | {*node.keys}
    if isinstance(node, Copies):
        return wanted & set(node.input.names) | {node.count}
    return None
