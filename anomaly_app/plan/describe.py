"""What a planned query does, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anomaly_app.plan.distribution import keys_of
from anomaly_app.plan.nodes import (
    Aggregate,
    Calc,
    Detect,
    KeptJoin,
    LookupJoin,
    Match,
    Node,
    Predict,
    Scan,
    TimedJoin,
    WindowAggregate,
    walk,
)
from anomaly_app.plan.physical.calculation import is_everything
from anomaly_app.words import duration


def alert_type(main: Node) -> str:
    """What alerts of a query are called."""
    if isinstance(main, Match):
        return "pattern"
    return "anomaly" if isinstance(main, Detect) else "window" if isinstance(main, WindowAggregate) else "selection"


def description(result: Node, main: Node) -> str:
    """One line about a query that is no row pattern."""
    if isinstance(main, Detect):
        calls = " and ".join(f"{call.function.name}({call.text})" for call in main.calls)
        return calls + (f" for each {', '.join(main.keys)}" if main.keys else " over all rows")
    conditions = [_collapsed(node) for node in _conditions(result) if not isinstance(main, WindowAggregate)]
    if isinstance(main, WindowAggregate):
        conditions = [_collapsed(node) for node in _conditions(result, main)]
        by = f" by {', '.join(main.key_names)}" if main.keys else ""
        return main.windows.words + by + (f", if {' and '.join(conditions)}" if conditions else "")
    groups = next((node for node in reversed(list(walk(result))) if isinstance(node, Aggregate)), None)
    if groups is not None:
        what = ("groups" if groups.aggregates else "distinct rows") + (
            f" by {groups.by}" if groups.keys else " of all rows"
        )
        return what + (f", filter {' and '.join(conditions)}" if conditions else "")
    core = result
    while isinstance(core, Calc):
        core = core.input
    if isinstance(core, TimedJoin):
        return core.title[0].lower() + core.title[1:] + (f", if {' and '.join(conditions)}" if conditions else "")
    asked = [node.model.title for node in walk(result) if isinstance(node, Predict)]
    if asked:
        return f"what {' and '.join(asked)} gives" + (f", filter {' and '.join(conditions)}" if conditions else "")
    return f"filter {' and '.join(conditions)}" if conditions else "every row"


def words(result: Node) -> Sequence[str]:
    """What a query does, as phrases in the order in which things happen."""
    nodes = [node for node in walk(result) if not isinstance(node, Scan)]
    first = next((node for node in nodes if not isinstance(node, Calc)), None)
    below = [node for node in nodes[: nodes.index(first)] if isinstance(node, Calc)] if first is not None else nodes
    conditions = [_collapsed(node) for node in below if isinstance(node, Calc) and node.condition is not None]
    phrases = ["takes each row" + (f" where {' and '.join(conditions)}" if conditions else "")]
    for node in nodes[nodes.index(first) :] if first is not None else ():
        phrases += _phrases(node)
    if any(isinstance(node, Detect) for node in nodes):
        phrases.append("alerts for rows that a detector flags")
    elif first is None:
        phrases.append("gives one row for each")
    return phrases


def _phrases(node: Node) -> list[str]:
    if isinstance(node, Calc):
        return [f"keeps it only if {_collapsed(node)}"] if node.condition is not None else []
    if isinstance(node, WindowAggregate):
        by_arrival = node.time in node.input.proctimes
        over = "time of arrival" if by_arrival else "the watermark"
        keys = f"{', '.join(node.key_names)} and " if node.keys else ""
        return [
            f"puts it into {node.windows.words}, over {node.time}",
            f"gives one row for each {keys}window, when {over} passes the end of the window",
        ]
    if isinstance(node, Detect):
        before = f"the earlier rows of the same {', '.join(node.keys)}" if node.keys else "all earlier rows"
        judged = []
        for call in node.calls:
            options = ", ".join(f"{name} {call.options[name]}" for name in call.given)
            judged.append(
                f"judges {call.text} by {call.function.name} ({options or 'no options: the defaults'}) "
                f"from {before}, then learns from it"
            )
        return judged
    if isinstance(node, Aggregate):
        each = f"each {node.by}" if node.keys else "all rows"
        if not node.updating:
            return [f"gives the first row of {each}"]
        return [f"gives one row for {each}, and what becomes of it as rows come"]
    if isinstance(node, Predict):
        return [f"adds {', '.join(node.given)} of model {node.model.title}"]
    if isinstance(node, LookupJoin):
        by = " and ".join(f"{key.found.words} = {key.asked.words}" for key in node.keys)
        rows = "the row" if node.is_unique else "each row"
        alone = ", or NULLs" if node.kind == "LEFT" else ""
        return [f"adds {rows} that {node.table.name} has at that moment with {by}{alone}"]
    return [node.title[0].lower() + node.title[1:]]


def state(result: Node, ttl_ms: int | None) -> str:
    """What is kept."""
    kept = [_state(node, ttl_ms) for node in walk(result) if keys_of(node) is not None]
    return "; ".join(kept) or "none: rows pass one by one"


def _state(node: Node, ttl_ms: int | None) -> str:
    if isinstance(node, WindowAggregate):
        return "of each open group its last row and what its aggregates need; no other rows"
    if isinstance(node, Detect):
        kept = "a model for each key" if node.keys else "one model"
        if ttl_ms is not None:
            return f"{kept}, written with the rows that change it, dropped after {duration(ttl_ms)} without rows"
        return f"{kept}, written with the rows that change it, kept for ever"
    if isinstance(node, (KeptJoin, Aggregate)):
        return ", ".join(node.kept(ttl_ms))
    return f"what {node.title[0].lower() + node.title[1:]} needs"


def labels(result: Node) -> Mapping[str, str]:
    """What columns without a name are called: their expressions."""
    if not isinstance(result, Calc):
        return {}
    named = zip(result.columns, result.items, strict=True)
    return {column.name: item.words for column, item in named if column.name.startswith("EXPR$")}


def gives_everything(result: Node, main: Node) -> bool:
    """Whether a query gives the columns of a node as they are, in their order."""
    chain: list[Calc] = []
    node = result
    while isinstance(node, Calc) and node is not main:
        chain.append(node)
        node = node.input
    return node is main and is_everything(chain)


def _conditions(result: Node, above: Node | None = None) -> list[Calc]:
    """Nodes with a condition; with ``above`` only those above that node."""
    nodes = list(walk(result))
    if above is not None:
        nodes = nodes[nodes.index(above) :]
    return [node for node in nodes if isinstance(node, Calc) and node.condition is not None]


def _collapsed(node: Calc) -> str:
    return node.condition.words if node.condition is not None else ""
