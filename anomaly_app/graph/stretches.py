"""Things that are due at a time, by stretches of time: what is due comes out without a look at all the others."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

Due = TypeVar("Due", bound=tuple[Any, ...])


class Stretches(Generic[Due]):
    """Tuples that begin with a time, and of which no two compare equal before they differ.

    Args:
        length: of a stretch, in ms.

    Attributes:
        due: the tuples of each stretch, by its number.

    Example:
        >>> stretches = Stretches[tuple[int, int]](100)
        >>> for time in (250, 30, 10, 120):
        ...     stretches.add((time, 0))
        >>> stretches.take(120), stretches.take(120, roughly=True), stretches.take(1_000)
        ([(30, 0), (10, 0)], [], [(120, 0), (250, 0)])
    """

    __slots__ = ("_slots", "due", "length")

    def __init__(self, length: int) -> None:
        self.length = length
        self.due: dict[int, list[Due]] = {}
        self._slots: list[int] = []
        """Numbers of the stretches, which rise."""

    def add(self, one: Due) -> None:
        """Take one more."""
        slot = one[0] // self.length
        stretch = self.due.get(slot)
        if stretch is None:
            self.due[slot] = [one]
            insort(self._slots, slot)
        else:
            stretch.append(one)

    def extend(self, more: Sequence[Due]) -> None:
        """Take several more."""
        due, length = self.due, self.length
        ordered, first = sorted(more), 0
        while first < len(ordered):
            slot = ordered[first][0] // length
            end = bisect_left(ordered, ((slot + 1) * length,), first)
            stretch = due.get(slot)
            if stretch is None:
                due[slot] = ordered[first:end]
                insort(self._slots, slot)
            else:
                stretch += ordered[first:end]
            first = end

    def take(self, before: int, *, roughly: bool = False) -> list[Due]:
        """Give out those before a time, in no order.

        Args:
            before: time in ms.
            roughly: only those of whole stretches.
        """
        slots, due, last = self._slots, self.due, before // self.length
        found: list[Due] = []
        if not slots or slots[0] > last:
            return found
        count = bisect_left(slots, last)
        for slot in slots[:count]:
            found += due.pop(slot)
        del slots[:count]
        if roughly or not slots or slots[0] != last:
            return found
        held = due[last]
        over = [one for one in held if one[0] < before]
        if len(over) == len(held):
            del due[last], slots[0]
        elif over:
            due[last] = [one for one in held if one[0] >= before]
        return found + over
