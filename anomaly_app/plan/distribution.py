"""By which columns the rows of a table may be spread, so that all rows of a key meet."""

from __future__ import annotations

from collections.abc import Sequence

from anomaly_app.plan.groups import Aggregate, Copies, GroupingRows
from anomaly_app.plan.join_nodes import TimedJoin
from anomaly_app.plan.kept_joins import KeptJoin, RegularJoin
from anomaly_app.plan.lookup_node import LookupJoin
from anomaly_app.plan.materialize import Materialize
from anomaly_app.plan.nodes import (
    Calc,
    Detect,
    Match,
    Node,
    Normalize,
    Over,
    Rank,
    Scan,
    Union,
    UnnestRows,
    ValuesRows,
    WindowAggregate,
    WindowAssign,
    WindowJoin,
    walk,
)
from anomaly_app.windows.assign import Sessions


def distribution(result: Node) -> Sequence[str] | None:
    """Columns of the one table that key every operator.

    None if any spreading will do; () if all rows belong in one place, since nothing is common to all operators.
    """
    common: list[str] | None = None
    for node in walk(result):
        keys = keys_of(node)
        if keys is None:
            continue
        origins = [_origin(node.inputs[0], key) for key in keys]
        if isinstance(node, (WindowJoin, TimedJoin, KeptJoin)):  # both rows of a pair must lie in one place
            theirs = [_origin(node.right, key) for _, key in node.keys]
            origins = [own if own == other else None for own, other in zip(origins, theirs, strict=True)]
        own = list(dict.fromkeys(origin for origin in origins if origin is not None))
        common = own if common is None else [name for name in common if name in own]
    return None if common is None else tuple(common)


def keys_of(node: Node) -> tuple[str, ...] | None:
    """Columns of its input that key a node; None for one that takes rows one by one."""
    if isinstance(node, (Match, Detect, Over, Rank, WindowAggregate, Materialize, Normalize, Aggregate)):
        return node.keys
    if isinstance(node, (WindowJoin, TimedJoin, KeptJoin)):
        return tuple(key for key, _ in node.keys)
    if isinstance(node, WindowAssign):
        return node.keys if isinstance(node.windows, Sessions) else None
    passing = (Scan, Calc, LookupJoin, Union, UnnestRows, ValuesRows, GroupingRows, Copies)
    return None if isinstance(node, passing) else ()


def _origin(node: Node, name: str) -> str | None:
    """The column of the table that a column is, as it is; None if it is another, or of several branches."""
    while not isinstance(node, Scan):
        if isinstance(node, Calc):
            found = node.origins.get(name)
        elif isinstance(node, (WindowAggregate, Aggregate)):
            found = dict(zip(node.key_names, node.keys, strict=True)).get(name)
        elif isinstance(node, TimedJoin) and name not in node.left.names:
            theirs = node.own(name)
            return None if theirs is None else _origin(node.right, theirs)
        elif isinstance(node, (WindowJoin, RegularJoin)) and name not in node.left.names:
            own = next(own for own, behind in node.theirs.items() if behind == name)
            return _origin(node.right, own)
        elif isinstance(node, Match):
            found = name if name in node.keys else None
        elif isinstance(node, Union):
            origins = {_origin(branch, name) for branch in node.branches}
            return origins.pop() if len(origins) == 1 else None
        else:
            found = name if node.inputs and name in node.inputs[0].names else None
        if found is None:
            return None
        name, node = found, node.inputs[0]
    return name
