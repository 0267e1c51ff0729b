"""EXPLAIN: the logical tree of a query, what each node derives, and the graph of operators that runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anomaly_app.plan.distribution import keys_of
from anomaly_app.plan.nodes import (
    Aggregate,
    Calc,
    Copies,
    Detect,
    Exchange,
    GroupingRows,
    KeptJoin,
    Limit,
    LookupJoin,
    Match,
    Node,
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
    WindowColumns,
    walk,
)
from anomaly_app.plan.query import PlannedQuery
from anomaly_app.plan.uniqueness import unique_columns
from anomaly_app.windows.assign import Sessions
from anomaly_app.words import duration

PASSING = (Calc, Copies, GroupingRows, Scan, Union, UnnestRows, ValuesRows)
"""Nodes that take rows one by one and keep nothing."""


def explain_plan(query: PlannedQuery) -> dict[str, Any]:
    """A plan as data.

    Args:
        query: the query.

    Returns:
        ``nodes``: from the result down, each once, with ``id`` and the ids of its ``inputs``; ``operators``: vertices
        of the graph in the order in which they run, with the numbers of their ``inputs`` or ``source``;
        ``distributed_by``: columns of the first table, None if any spreading will do; ``fragments``: how many;
        ``parts``: of each, those that others read first, its ``operators`` and what it ``reads``: the table, or the
        number of a fragment, and the columns by which its rows are spread.
    """
    order = list(walk(query.node))
    ids = {id(node): number for number, node in enumerate(reversed(order), 1)}
    nodes = [_derived(node, ids, query.ttl_ms) for node in reversed(order)]
    by = query.partition_by
    parts = [_part(one) for one in query.fragments()]
    return {
        "nodes": nodes,
        "distributed_by": None if by is None else list(by),
        "fragments": len(parts),
        "operators": _operators(query),
        "parts": parts,
    }


def _operators(query: PlannedQuery) -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "name": vertex.name,
            "inputs": [place + 1 if place >= 0 else f"source {-place}" for place in vertex.inputs],
        }
        for number, vertex in enumerate(query.physical.graph.vertices, 1)
    ]


def _part(query: PlannedQuery) -> dict[str, Any]:
    """A fragment."""
    reads = [
        {
            "table": None if isinstance(scan, Exchange) else scan.table,
            "fragment": scan.number if isinstance(scan, Exchange) else None,
            "distributed_by": None if by is None else list(by),
        }
        for scan, by in zip(query.scans, query.spread, strict=True)
    ]
    return {"reads": reads, "operators": _operators(query)}


def explain_text(query: PlannedQuery) -> str:
    """A plan as text, as EXPLAIN prints it."""
    plan = explain_plan(query)
    return "\n".join(plan_lines(plan)) + "\n"


def plan_lines(plan: Mapping[str, Any]) -> Sequence[str]:
    """Lines of what :func:`explain_plan` gives."""
    nodes = {node["id"]: node for node in plan["nodes"]}
    lines = ["== Logical plan =="]
    printed: set[int] = set()
    waiting = [(plan["nodes"][0]["id"], 0)]
    while waiting:
        number, depth = waiting.pop()
        again = " (as above)" if number in printed else ""
        lines.append(f"{'  ' * depth}[{number}] {nodes[number]['title']}{again}")
        if not again:
            printed.add(number)
            waiting += [(below, depth + 1) for below in reversed(nodes[number]["inputs"])]
    lines += ["", "== What follows for each node =="]
    for node in plan["nodes"]:
        lines.append(f"[{node['id']}] {node['title']}")
        lines += [f"    {name:<8} {words}" for name, words in _facts(node)]
    parts = plan["parts"]
    for number, part in enumerate(parts, 1):
        which = "one fragment" if len(parts) == 1 else f"fragment {number} of {len(parts)}"
        lines += ["", f"== Operators: {which}, {_reads(part['reads'])} =="]
        lines += [
            f"{operator['id']}  {operator['name']}  <- {', '.join(map(str, operator['inputs'])) or 'nothing'}"
            for operator in part["operators"]
        ]
    return lines


def _reads(reads: Sequence[Mapping[str, Any]]) -> str:
    """How the rows come."""
    if len(reads) == 1 and reads[0]["fragment"] is None:
        return _spread(reads[0]["distributed_by"])
    if any(one["distributed_by"] == [] for one in reads):
        return _spread(())
    told = []
    for number, one in enumerate(reads, 1):
        by = one["distributed_by"]
        table = one["table"] if one["fragment"] is None else f"fragment {one['fragment']}"
        source = f"source {number}: " if len(reads) > 1 else ""
        told.append(f"{source}rows of {table} spread {'in any way' if by is None else 'by ' + ', '.join(by)}")
    return "; ".join(told) or "no rows"


def _spread(by: Sequence[str] | None) -> str:
    if by is None:
        return "rows spread in any way"
    return f"rows spread by {', '.join(by)}" if by else "all rows in one place"


def _derived(node: Node, ids: Mapping[int, int], ttl_ms: int | None) -> dict[str, Any]:
    keys = keys_of(node)
    window = node.window
    kept, growth = _state(node, ttl_ms)
    return {
        "id": ids[id(node)],
        "node": type(node).__name__,
        "title": " ".join(node.title.split()),
        "inputs": [ids[id(below)] for below in node.inputs],
        "columns": [{"name": column.name, "type": str(column.type)} for column in node.columns],
        "rowtimes": [name for name in node.names if name in node.rowtimes],
        "proctimes": [name for name in node.names if name in node.proctimes],
        "changes": "insert-only" if not node.updating else "updating",
        "updating": node.updating,
        "unique": list(unique_columns(node)),
        "distributed_by": None if keys is None else list(keys),
        "window": None
        if window is None
        else {
            "windows": window.windows.words,
            "columns": [one for one in (window.start, window.end, window.time) if one],
        },
        "state": kept,
        "growth": growth,
    }


def _edges(window: WindowColumns) -> list[str]:
    return [name for name in (window.start, window.end, window.time) if name is not None]


def _facts(node: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    facts = [("columns", ", ".join(f"{column['name']} {column['type']}" for column in node["columns"]))]
    times = [f"{name} (event time)" for name in node["rowtimes"]] + [
        f"{name} (processing time)" for name in node["proctimes"]
    ]
    facts.append(("time", ", ".join(times) or "no time attribute"))
    facts.append(("changes", f"updating: {node['updating']}" if node["updating"] else "insert-only"))
    if node["unique"]:
        facts.append(("unique", ", ".join(node["unique"])))
    by = node["distributed_by"]
    if by is not None:
        facts.append(("keyed by", ", ".join(by) or "nothing: all rows in one place"))
    if node["window"] is not None:
        columns = ", ".join(node["window"]["columns"])
        facts.append(("window", node["window"]["windows"] + (f" in {columns}" if columns else "")))
    growth = f"; {node['growth']}" if node["growth"] else ""
    facts.append(("state", node["state"] + growth))
    return facts


def _state(node: Node, ttl_ms: int | None) -> tuple[str, str]:
    """What a node keeps, and how that grows."""
    for_ever = "kept for ever" if ttl_ms is None else f"dropped after {duration(ttl_ms)} without rows of the key"
    if isinstance(node, PASSING) or (isinstance(node, WindowAssign) and not isinstance(node.windows, Sessions)):
        return "none", ""
    if isinstance(node, Predict):
        if node.model.remote is None:
            return "none: the model is in this process", ""
        return "rows that wait for an answer, and answers that are there", "bounded by limits of the worker"
    if isinstance(node, LookupJoin):
        return f"none of its own: table {node.table.name} is held once in each process", "bounded by limits.lookup_rows"
    if isinstance(node, WindowAssign):
        return "rows of open sessions", "bounded by the rows of open windows"
    if isinstance(node, WindowAggregate):
        return "what its aggregates need, for each open group", "bounded by keys times open windows"
    if isinstance(node, Match):
        is_bounded = node.clause.within_ms is not None
        growth = "bounded by WITHIN" if is_bounded else "an open match is kept for ever: WITHIN bounds it"
        return "rows of open matches", growth
    if isinstance(node, Detect):
        return "a model for each key" if node.keys else "one model", f"grows with the keys; {for_ever}"
    if isinstance(node, Over):
        if node.frame.preceding is None:
            return "an accumulator for each key", f"grows with the keys; {for_ever}"
        unit = "rows" if node.frame.rows else "ms"
        return f"the last {node.frame.preceding:,} {unit} of each key", f"grows with the keys; {for_ever}"
    if isinstance(node, Rank):
        if node.windowed is not None:
            return f"{node.last} rows of each key and open window", "bounded by keys times open windows"
        if node.is_top and node.input.updating:
            return "all rows of each key", f"grows with the rows; {for_ever}"
        return f"{node.last} row{'s' * (node.last != 1)} of each key", f"grows with the keys; {for_ever}"
    if isinstance(node, Sort):
        return "rows that the watermark has not passed", "bounded by the watermark's delay"
    if isinstance(node, (KeptJoin, TimedJoin, Aggregate)):
        return node.kept(ttl_ms)
    if isinstance(node, Limit):
        return "how many rows have passed", "does not grow"
    return "rows or values for each key", f"grows with the keys; {for_ever}"
