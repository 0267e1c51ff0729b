"""Changes that a step makes and takes back at once are none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from anomaly_app.changes import hashable
from anomaly_app.operators import Row


def values_at(places: Sequence[int]) -> Callable[[Row], Any]:
    """What a row has at some indexes: one value, or a tuple of several or none."""
    return itemgetter(*places) if places else _nothing


def _nothing(row: Row) -> tuple[()]:
    return ()


def compacted(rows: Sequence[Row], change: int, values_of: Callable[[Row], Any]) -> list[Row]:
    """The changes of a step without those that cancel each other: a row that comes and goes, or goes and comes again.

    Args:
        rows: of one step, in their order.
        change: index of the kind of change in a row.
        values_of: what somebody needs of a row: rows that are equal in it are equal.

    Example:
        >>> compacted([(0, 1, "ann", 1), (0, 1, "bob", 2), (0, 2, "ann", 2)], 3, values_at([2]))
        [(0, 1, 'bob', 2)]
    """
    open_: dict[Any, list[int]] = {}
    gone: set[int] = set()
    for number, row in enumerate(rows):
        values = values_of(row)
        try:
            known = open_.get(values)
        except TypeError:  # an array or a map
            values = hashable(values)
            known = open_.get(values)
        if known is None:
            open_[values] = [number]
        elif known and rows[known[-1]][change] % 2 != row[change] % 2:
            gone.add(known.pop())
            gone.add(number)
        else:
            known.append(number)
    if not gone:
        return list(rows)
    return [row for number, row in enumerate(rows) if number not in gone]
