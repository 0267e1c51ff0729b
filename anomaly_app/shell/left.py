"""What a query that takes rows back has left: the table that its changes add up to."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from anomaly_app.changes import Change

Row = tuple[Any, ...]


class Left:
    """Rows that stand, in the order in which each came first; a row that is updated keeps its place.

    Args:
        most: rows that are kept; beyond it the oldest go.
        key: what tells rows apart, as something hashable.

    Attributes:
        dropped: how many went because there were too many.

    Example:
        >>> left = Left(10, key=str)
        >>> left.take([(Change.INSERT, ("ann", 1)), (Change.INSERT, ("bob", 1))])
        >>> left.take([(Change.BEFORE, ("ann", 1)), (Change.AFTER, ("ann", 2)), (Change.DELETE, ("bob", 1))])
        >>> left.rows()
        [('ann', 2)]
    """

    def __init__(self, most: int, key: Callable[[Row], Any]) -> None:
        self._most, self._key = most, key
        self._rows: dict[int, Row] = {}
        self._next = 0
        self._places: dict[Any, list[int]] | None = None  # made when the first row is taken back
        self._free: deque[int] = deque()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self) -> list[Row]:
        """All of them."""
        return list(self._rows.values())

    def take(self, changes: Sequence[tuple[Change, Row]]) -> None:
        """Apply changes in their order."""
        for change, row in changes:
            if change is Change.INSERT:
                self._put(self._new(), row)
            elif change is Change.AFTER:
                self._put(self._free.popleft() if self._free else self._new(), row)
            else:
                self._remove(row, keep=change is Change.BEFORE)
        for number in self._free:  # taken back, and nothing came in its place
            self._rows.pop(number, None)
        self._free.clear()
        while len(self._rows) > self._most:
            number = next(iter(self._rows))
            row = self._rows.pop(number)
            self.dropped += 1
            if self._places is not None:
                self._forget(number, row)

    def _new(self) -> int:
        self._next += 1
        return self._next

    def _put(self, number: int, row: Row) -> None:
        self._rows[number] = row
        if self._places is not None:
            self._places.setdefault(self._key(row), []).append(number)

    def _remove(self, row: Row, *, keep: bool) -> None:
        if self._places is None:
            self._places = {}
            for number, known in self._rows.items():
                self._places.setdefault(self._key(known), []).append(number)
        numbers = self._places.get(self._key(row))
        if not numbers:
            return  # it was dropped: there were too many
        number = numbers[-1]
        self._forget(number, row)
        if keep:
            self._free.append(number)
        else:
            del self._rows[number]

    def _forget(self, number: int, row: Row) -> None:
        assert self._places is not None
        key = self._key(row)
        numbers = self._places[key]
        numbers.remove(number)
        if not numbers:
            del self._places[key]
