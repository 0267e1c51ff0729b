"""Kinds of changes: how the rows of a result that is updated say what becomes of it.

A table that is never taken back from has only insertions, and its rows say nothing. Where rows may be taken back, each
carries its kind in a hidden column behind the others. The kinds, and how they are written, are those of Flink.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any

from anomaly_app.schema import CHANGE, Column, DataType, Kind


class Change(IntEnum):
    """What a row does to the table that it is a change of; odd kinds take a row back.

    Example:
        >>> [(change.symbol, change.takes_back) for change in Change]
        [('+I', False), ('-U', True), ('+U', False), ('-D', True)]
        >>> Change.of("-D") is Change.DELETE
        True
    """

    INSERT = 0
    BEFORE = 1
    """The row before an update goes."""
    AFTER = 2
    """The row behind an update comes."""
    DELETE = 3

    @property
    def symbol(self) -> str:
        """As Flink writes it."""
        return _SYMBOLS[self]

    @property
    def takes_back(self) -> bool:
        """Whether a row goes."""
        return self % 2 == 1

    @classmethod
    def of(cls, symbol: str) -> Change:
        """The kind of a symbol; raises ``ValueError``."""
        if symbol not in _SYMBOLS:
            raise ValueError(f"{symbol!r} is no kind of change: it must be one of {', '.join(_SYMBOLS)}")
        return cls(_SYMBOLS.index(symbol))


_SYMBOLS = ("+I", "-U", "+U", "-D")

CHANGE_COLUMN = Column(CHANGE, DataType(Kind.TINYINT, nullable=False))
"""The hidden column; it is the last one of a row."""


def rows_left(changes: Iterable[tuple[int, Any]]) -> list[Any]:
    """The rows that are there behind all changes, in the order in which they came.

    Args:
        changes: kind and row; a row that is not there cannot be taken back, and is let go.

    Example:
        >>> rows_left([(0, ("a", 1)), (0, ("b", 1)), (1, ("a", 1)), (2, ("a", 2))])
        [('b', 1), ('a', 2)]
    """
    places: dict[Any, list[int]] = {}
    rows: list[Any] = []
    gone: set[int] = set()
    for kind, row in changes:
        key = hashable(row)
        if kind % 2 == 0:
            places.setdefault(key, []).append(len(rows))
            rows.append(row)
        elif places.get(key):
            gone.add(places[key].pop())
    return [row for number, row in enumerate(rows) if number not in gone]


def hashable(value: Any) -> Any:
    """A value that is equal where the value is: NaN is itself, and lists and maps are their contents."""
    if isinstance(value, (tuple, list)):
        return tuple([hashable(one) for one in value])
    if isinstance(value, dict):
        return frozenset((hashable(key), hashable(one)) for key, one in value.items())
    if isinstance(value, float):
        return "NaN" if value != value else (value, str(value))
    return value


def with_change(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Columns with the hidden one behind them."""
    return (*columns, CHANGE_COLUMN)
