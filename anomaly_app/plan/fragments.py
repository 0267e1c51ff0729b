"""A plan cut into fragments, where what stands above is keyed by other columns than what stands below.

Rows go from one fragment to the next through a repartition topic, keyed for the next one. Only an edge whose rows are
never taken back is cut, and only below what is a function of its input alone: after a crash a fragment gives again what
it gave before, and the rows are recognised by their numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, fields, replace
from typing import Any

from anomaly_app.plan.distribution import conflict
from anomaly_app.plan.nodes import Calc, Exchange, LookupJoin, Node, Predict, Scan, ValuesRows, walk
from anomaly_app.plan.pruning import needed_columns, row_time
from anomaly_app.schema import Schema


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of a plan that runs in one place for each key.

    Args:
        number: from 1, those that it reads first.
        node: its result.
        time: name of the column that the time of its rows is to be, where it would be another that the rows lack.
    """

    number: int
    node: Node
    time: str | None = None

    @property
    def reads(self) -> Sequence[Exchange]:
        """Fragments whose rows it reads."""
        return [node for node in walk(self.node) if isinstance(node, Exchange)]


def fragments(result: Node, name: str = "") -> Sequence[Fragment]:
    """The fragments of a plan, those that others read first; one if it cannot be cut, or need not be.

    Args:
        result: of the plan.
        name: begins the names of the tables that their rows are.
    """
    if any(map(_hangs_on_more, walk(result))):
        return [Fragment(1, result)]
    found: list[Fragment] = []
    if not _cut(result, None, name, found):
        return [Fragment(1, result)]
    # What is behind the last exchange is given to nobody who would count it.
    passing = [node for one in found[:-1] for node in walk(one.node)]
    return [Fragment(1, result)] if any(map(_may_differ, passing)) else found


def table_of(name: str, number: int) -> str:
    """What the rows of a fragment are called as a table."""
    return f"${name}-{number}"


def _hangs_on_more(node: Node) -> bool:
    """Whether rows of a node hang on more than the rows that it is given, in their order."""
    timeless = isinstance(node, Scan) and bool(node.proctimes)
    return timeless or isinstance(node, (LookupJoin, ValuesRows))


def _may_differ(node: Node) -> bool:
    """Whether a node asks a model at an address, which may answer otherwise, or fail on other rows, the next time."""
    return isinstance(node, Predict) and node.model.remote is not None


def _cut(result: Node, time_of_result: str | None, name: str, found: list[Fragment]) -> bool:
    """Add the fragments of a part of the plan, the last with that column as its time; whether that is possible."""
    while (node := conflict(result)) is not None:
        edge = _up(node, result)
        own = row_time(edge)
        time = own if own is not None else _other_time(edge)
        if edge is result or edge.updating or time is None or edge.proctimes:
            return False
        given = _narrowed(edge, needed_columns(result)[id(edge)] | {time})
        if not _cut(given, time if own is None else None, name, found):
            return False
        number = len(found)
        exchange = Exchange(
            columns=given.columns, rowtimes=given.rowtimes, window=given.window, span=edge.span, text=edge.text,
            table=table_of(name, number), source=Schema(given.columns, time), number=number,
        )  # fmt: skip
        result = _with(result, {id(edge): exchange})
    found.append(Fragment(len(found) + 1, result, time_of_result))
    return True


def _narrowed(edge: Node, needed: Set[str]) -> Node:
    """A projection without the columns that nobody above it reads: what is below need not read or keep them either."""
    if not isinstance(edge, Calc) or edge.window is not None:
        return edge
    kept = [place for place, name in enumerate(edge.names) if name in needed]
    columns, items = tuple(edge.columns[place] for place in kept), tuple(edge.items[place] for place in kept)
    return replace(edge, columns=columns, items=items, rowtimes=edge.rowtimes & {column.name for column in columns})


def _other_time(edge: Node) -> str | None:
    """A time attribute that each row has: a row of an outer join may have none of the other side."""
    if any(getattr(node, "kind", "INNER") != "INNER" for node in walk(edge)):
        return None
    return next((name for name in edge.names if name in edge.rowtimes), None)


def _up(node: Node, result: Node) -> Node:
    """The last filter or projection that stands above a node alone: it goes with the node, since rows become fewer.

    A model in a file that stands between goes with them: it is given many columns, and few stay behind it.
    """
    users: dict[int, list[Node]] = {}
    for one in walk(result):
        for below in one.inputs:
            users.setdefault(id(below), []).append(one)
    above = node
    while len(own := users.get(id(above), [])) == 1 and _takes_rows(own[0]):
        above = own[0]
        if isinstance(above, Calc):
            node = above
    return node


def _takes_rows(node: Node) -> bool:
    """Whether a node takes rows one by one, and gives the same for them in a replay."""
    return isinstance(node, Calc) or (isinstance(node, Predict) and not _may_differ(node))


def _with(result: Node, others: Mapping[int, Node]) -> Node:
    """A plan with other nodes in the place of some."""
    made: dict[int, Node] = dict(others)
    for node in walk(result):
        if id(node) in made:
            continue
        changed = {field.name: value for field in fields(node) if (value := _changed(getattr(node, field.name), made))}
        made[id(node)] = replace(node, **changed) if changed else node
    return made[id(result)]


def _changed(value: Any, made: Mapping[int, Node]) -> Any:
    """A field with its nodes replaced; None if it has none that are."""
    several = type(value) is tuple
    given: list[Any] = list(value) if several else [value]
    others = [made.get(id(one), one) if isinstance(one, Node) else one for one in given]
    if all(other is one for other, one in zip(others, given, strict=True)):
        return None
    return tuple(others) if several else others[0]
