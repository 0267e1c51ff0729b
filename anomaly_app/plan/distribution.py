"""By which columns the rows of each table may be spread, so that all rows that belong together meet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from anomaly_app.expressions import nodes as n
from anomaly_app.plan.nodes import (
    Aggregate,
    Calc,
    Copies,
    Detect,
    GroupingRows,
    KeptJoin,
    LookupJoin,
    Match,
    Materialize,
    Node,
    Normalize,
    Over,
    Predict,
    Rank,
    RegularJoin,
    Scan,
    TimedJoin,
    Union,
    UnnestRows,
    WindowAggregate,
    WindowAssign,
    WindowJoin,
    walk,
)
from anomaly_app.schema import APPROXIMATE, TEXTS, WHOLE_NUMBERS, DataType, Kind
from anomaly_app.windows.assign import Sessions

Spread: TypeAlias = tuple[tuple[str, ...] | None, ...]
"""For each scan the columns that key its rows; equal values in equal places meet. None if any spreading will do, () if
all rows belong in one place, since nothing is common to all operators."""

_Columns: TypeAlias = dict[int, str]
"""A column of each scan, by the scan's number: rows of equal values belong together."""

MOST = 256
"""Ways to key that are looked at side by side; leaving some out may cost partitions, and never rows."""


def distribution(result: Node) -> Spread:
    """Columns of each scan below a node, in the order of :func:`walk`, that key every operator."""
    scans = _scans(result)
    common: list[_Columns] | None = None
    for _, own in _keyed(result, scans):
        common = own if common is None else _both(common, own)
    if common is None:
        return (None,) * len(scans)
    chosen: list[_Columns] = []
    taken: set[tuple[int, str]] = set()
    for columns in common:
        if taken.isdisjoint(columns.items()):
            chosen.append(columns)
            taken |= columns.items()
    if not chosen:
        return ((),) * len(scans)
    keyed = [tuple(columns[number] for columns in chosen if number in columns) for number in range(len(scans))]
    return tuple(columns or None for columns in keyed)


def conflict(result: Node) -> Node | None:
    """From above, the first node that has keys, and none in common with those above it; None if there is none."""
    common: list[_Columns] | None = None
    for node, own in _keyed(result, _scans(result)):
        both = own if common is None else _both(common, own)
        if not both:
            return _keyed_otherwise(node, own, common)
        common = both
    return None


def _scans(result: Node) -> list[Scan]:
    return [node for node in walk(result) if isinstance(node, Scan)]


def _keyed(result: Node, scans: Sequence[Scan]) -> Iterator[tuple[Node, list[_Columns]]]:
    """From above, the nodes that have keys, and those of their keys that are columns of scans."""
    numbers = {id(scan): number for number, scan in enumerate(scans)}
    for node in reversed(list(walk(result))):
        keys = _keys(node)
        if keys is not None:
            yield (
                node,
                [columns for key in keys if (columns := _columns(key, numbers)) and _hash_alike(columns, scans)],
            )


def _keyed_otherwise(node: Node, own: Sequence[_Columns], common: Sequence[_Columns] | None) -> Node | None:
    """Where to cut so that a node without a key in common may have one."""
    if own:
        return node if common else None
    # Its own keys are no columns of a table: those of a node below.
    keys = _keys(node)
    if not keys:
        return None
    for below in reversed(list(walk(node))):
        if below is not node and _keys(below):
            return below
    return None


def keys_of(node: Node) -> tuple[str, ...] | None:
    """Columns of its input that key a node; None for one that takes rows one by one."""
    if isinstance(node, (Match, Detect, Over, Rank, WindowAggregate, Materialize, Normalize, Aggregate)):
        return node.keys
    if isinstance(node, (WindowJoin, TimedJoin, KeptJoin)):
        return tuple(key for key, _ in node.keys)
    if isinstance(node, WindowAssign):
        return node.keys if isinstance(node.windows, Sessions) else None
    passing = (Scan, Calc, LookupJoin, Predict, Union, UnnestRows, GroupingRows, Copies)
    return None if isinstance(node, passing) else ()


def _keys(node: Node) -> Sequence[Sequence[tuple[Node, str]]] | None:
    """Each key of a node as the columns of its inputs that have its value; None for one that takes rows one by one."""
    if isinstance(node, (WindowJoin, TimedJoin, KeptJoin)):
        return [[(node.left, left), (node.right, right)] for left, right in node.keys]
    keys = keys_of(node)
    return None if keys is None else [[(node.inputs[0], key)] for key in keys]


def _hash_alike(columns: _Columns, scans: Sequence[Scan]) -> bool:
    return len({_hashed_as(scans[number].column(name).type) for number, name in columns.items()}) == 1


def _both(some: Sequence[_Columns], others: Sequence[_Columns]) -> list[_Columns]:
    """What keys both; scans that only one side knows take its column."""
    found: list[_Columns] = []
    for columns in some:
        for own in others:
            if all(columns.get(number, name) == name for number, name in own.items()):
                both = columns | own
                if both not in found:
                    found.append(both)
                if len(found) >= MOST:
                    return found
    return found


def _columns(key: Iterable[tuple[Node, str]], numbers: dict[int, int]) -> _Columns | None:
    """The columns of the scans that columns of nodes are, as they are; None if one is something else."""
    found: _Columns = {}
    waiting, seen = list(key), set[tuple[int, str]]()
    while waiting:
        node, name = waiting.pop()
        if (id(node), name) in seen:
            continue
        seen.add((id(node), name))
        if isinstance(node, Scan):
            if found.setdefault(numbers[id(node)], name) != name:
                return None
            continue
        below = _below(node, name)
        if not below:
            return None
        waiting += below
    return found


def _below(node: Node, name: str) -> Sequence[tuple[Node, str]]:
    """The columns of a node's inputs that a column of it is, as they are; () if it is something else."""
    found: str | None
    if isinstance(node, Union):
        return [(branch, name) for branch in node.branches]
    if isinstance(node, (WindowJoin, TimedJoin, RegularJoin)):
        # A row without a partner has NULLs for the other side, and lies where its own key says.
        if name in node.left.names:
            return [(node.left, name)] if node.kind not in ("RIGHT", "FULL") else ()
        theirs = (own for own, behind in node.theirs.items() if behind == name)
        own = node.own(name) if isinstance(node, TimedJoin) else next(theirs, None)
        return [(node.right, own)] if own is not None and node.kind not in ("LEFT", "FULL") else ()
    if isinstance(node, Calc):
        found = node.origins.get(name) or _widened(node, name)
    elif isinstance(node, (WindowAggregate, Aggregate)):
        found = dict(zip(node.key_names, node.keys, strict=True)).get(name)
    elif isinstance(node, Match):
        found = name if name in node.keys else None
    else:
        found = name if node.inputs and name in node.inputs[0].names else None
    return [(node.inputs[0], found)] if found is not None else ()


def _widened(calc: Calc, name: str) -> str | None:
    """The column of the input that a column is in a wider type, with the same values."""
    item = calc.items[calc.names.index(name)]
    cast = item.node
    if not isinstance(cast, n.Cast) or not isinstance(cast.operand, n.ColumnRef) or len(item.reads) != 1:
        return None
    (read,) = item.reads
    if read not in calc.input.names:
        return None
    given, wanted = calc.input.column(read).type, item.type
    if given.kind in WHOLE_NUMBERS and wanted.kind in WHOLE_NUMBERS:
        return read if _WIDTHS.index(given.kind) <= _WIDTHS.index(wanted.kind) else None
    return read if given.kind in TEXTS and wanted.kind in TEXTS and wanted.precision is None else None


_WIDTHS = (Kind.TINYINT, Kind.SMALLINT, Kind.INT, Kind.BIGINT)


def _hashed_as(type_: DataType) -> Any:
    """Values that operators take for equal have the same bytes to hash, if their types are alike here.

    A DECIMAL has as many digits as its type says, and a timestamp another unit with its precision.
    """
    if type_.kind in WHOLE_NUMBERS:
        return Kind.BIGINT
    if type_.kind in TEXTS:
        return Kind.STRING
    if type_.kind in APPROXIMATE:
        return Kind.DOUBLE
    return str(type_.with_nullable(True))
