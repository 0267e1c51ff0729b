"""How much memory values take, about, how much they may take together, and where the others are."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import islice
from typing import Any, Protocol

SLOTS = 200
"""Bytes of the places of a key in the dicts of a state, which are at most half full."""


MEASURED = 64
"""Elements of a collection that are measured; the others count as much."""


def size_in_memory(value: Any) -> int:
    """Bytes that a value takes, with all that it holds, about; what is shared with others counts, too.

    Example:
        >>> size_in_memory([1_000, "ann"]) >= size_in_memory(1_000) + size_in_memory("ann")
        True
    """
    size = sys.getsizeof(value)
    if isinstance(value, (str, bytes, int, float)) or value is None:
        return size
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        some: list[Any] = list(islice(value.items() if isinstance(value, dict) else value, MEASURED))
        held = sum(map(size_in_memory, (part for pair in some for part in pair) if isinstance(value, dict) else some))
        return size + (held * len(value) // len(some) if some else 0)
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    own = [getattr(value, name) for name in slots if hasattr(value, name)]
    return size + sum(map(size_in_memory, [*own, *getattr(value, "__dict__", {}).values()]))


class Room:
    """How much memory the values of some states may take together; those of one worker share one.

    Args:
        most: bytes, as they are estimated: one value of many is measured.

    Example:
        >>> Room(256 << 20).most
        268435456
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0.0
        self.sharers = 0

    def give(self, taken: float) -> float:
        """Bytes that a state which takes so many should give back; 0 for none."""
        over = self.taken - self.most
        if over <= 0:
            return 0.0
        fair = self.most / max(1, self.sharers)
        # Somewhat more than needed, so that it is not asked for with every batch.
        return max(0.0, min(over + self.most / 16, taken - fair))


class Backing(Protocol):
    """Where values are that do not live: what was flushed, by name."""

    def get_many(self, names: Sequence[bytes]) -> Sequence[bytes | None]:
        """What stands under each name; None for nothing."""
        ...

    def scan(self, behind: bytes, most: int) -> Sequence[tuple[bytes, bytes]]:
        """The first entries, in order of their names, behind a name."""
        ...
