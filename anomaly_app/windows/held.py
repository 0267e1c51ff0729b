"""Values of a group that may be taken back: counted, or in order of arrival.

What comes in is noted until it has been stored, so that what is written grows with what has changed, and not with what
is held.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from anomaly_app.schema import NAN


class Bag:
    """How often there is each value.

    Example:
        >>> bag = Bag()
        >>> bag.add(3), bag.add(5), bag.add(3)
        (True, True, False)
        >>> bag.least(), bag.greatest(), bag.remove(5), bag.greatest()
        (3, 5, True, 3)
    """

    __slots__ = ("changed", "counts", "order")

    def __init__(self) -> None:
        self.counts: dict[Any, int] = {}
        self.order: list[Any] | None = None
        """The values in their order, once somebody has asked for an extreme."""
        self.changed: dict[Any, None] = {}

    def __len__(self) -> int:
        return len(self.counts)

    def add(self, value: Any) -> bool:
        """One more; whether it is the first of its kind."""
        if value != value:
            value = NAN
        counts = self.counts
        self.changed[value] = None
        count = counts.get(value)
        if count is not None:
            counts[value] = count + 1
            return False
        counts[value] = 1
        if self.order is not None and value is not NAN:
            insort(self.order, value)
        return True

    def remove(self, value: Any) -> bool:
        """One less; whether it was the last of its kind. A value that is not there is let be."""
        if value != value:
            value = NAN
        counts = self.counts
        count = counts.get(value)
        if count is None:
            return False
        self.changed[value] = None
        if count > 1:
            counts[value] = count - 1
            return False
        del counts[value]
        if self.order is not None and value is not NAN:
            del self.order[bisect_left(self.order, value)]
        return True

    def _ordered(self) -> list[Any]:
        if self.order is None:
            self.order = sorted(value for value in self.counts if value is not NAN)
        return self.order

    def least(self) -> Any:
        """The least value; None if there is none. NaN is greater than all numbers."""
        order = self._ordered()
        return order[0] if order else NAN if self.counts else None

    def greatest(self) -> Any:
        """The greatest value; None if there is none."""
        if NAN in self.counts:
            return NAN
        order = self._ordered()
        return order[-1] if order else None

    def changes(self) -> Iterator[tuple[Any, int]]:
        """Values whose number has changed since the last call, and their number."""
        counts, changed = self.counts, self.changed
        self.changed = {}
        return ((value, counts.get(value, 0)) for value in changed)

    def everything(self) -> Iterable[tuple[Any, int]]:
        """The changes that make all of it."""
        self.changed = {}
        return self.counts.items()

    def take_back(self, changes: Iterable[tuple[Any, int]]) -> None:
        """Take changes back, in the order in which they were given."""
        for value, count in changes:
            if value != value:
                value = NAN
            if count:
                self.counts[value] = count
            else:
                self.counts.pop(value, None)


class Arrived:
    """Values in order of arrival; of equal ones, the first to come is taken back first, as in Flink.

    Args:
        hashable: from a value to one that is equal where it is, and can be a key; None if values can.

    Example:
        >>> held = Arrived()
        >>> for value in "aba": held.add(value)
        >>> held.remove("a"); held.values(), held.first(), held.last()
        (['b', 'a'], 'b', 'a')
    """

    __slots__ = ("changed", "hashable", "next", "places", "there")

    def __init__(self, hashable: Callable[[Any], Any] | None = None) -> None:
        self.there: dict[int, Any] = {}
        """Values by number, which rises."""
        self.places: dict[Any, list[int]] = {}
        self.next = 0
        self.changed: dict[int, None] = {}
        self.hashable = hashable

    def __len__(self) -> int:
        return len(self.there)

    def _key(self, value: Any) -> Any:
        if value != value:
            return NAN
        return value if self.hashable is None else self.hashable(value)

    def add(self, value: Any) -> None:
        """One more, behind all others."""
        self.changed[self.next] = None
        self._put(self.next, value)

    def _put(self, number: int, value: Any) -> None:
        self.there[number] = value
        self.places.setdefault(self._key(value), []).append(number)
        self.next = number + 1

    def remove(self, value: Any) -> None:
        """The first of its kind goes; a value that is not there is let be."""
        key = self._key(value)
        numbers = self.places.get(key)
        if numbers is None:
            return
        self._drop(key, numbers[0])

    def _drop(self, key: Any, number: int) -> None:
        numbers = self.places[key]
        numbers.remove(number)
        if not numbers:
            del self.places[key]
        del self.there[number]
        self.changed[number] = None

    def first(self) -> Any:
        """The first to come that is still there; None if none is."""
        return next(iter(self.there.values()), None)

    def last(self) -> Any:
        """The last to come that is still there; None if none is."""
        return next(reversed(self.there.values()), None)

    def values(self) -> list[Any]:
        """All of them."""
        return list(self.there.values())

    def changes(self) -> Iterator[tuple[int, bool, Any]]:
        """Numbers that have come or gone since the last call: number, whether it is there, value."""
        there, changed = self.there, self.changed
        self.changed = {}
        return ((number, number in there, there.get(number)) for number in changed)

    def everything(self) -> Iterable[tuple[int, bool, Any]]:
        """The changes that make all of it."""
        self.changed = {}
        return ((number, True, value) for number, value in self.there.items())

    def take_back(self, changes: Iterable[tuple[int, bool, Any]]) -> None:
        """Take changes back, in the order in which they were given."""
        for number, there, value in changes:
            if there:
                self._put(number, value)
            elif number in self.there:
                self._drop(self._key(self.there[number]), number)
        self.changed = {}


class Values:
    """Values that are never taken back, in order of arrival."""

    __slots__ = ("add", "stored", "there")

    def __init__(self) -> None:
        self.there: list[Any] = []
        self.add = self.there.append
        self.stored = 0

    def __len__(self) -> int:
        return len(self.there)

    def values(self) -> Sequence[Any]:
        """All of them."""
        return self.there

    def changes(self) -> Iterable[Any]:
        """Those that have come since the last call."""
        new = self.there[self.stored :]
        self.stored = len(self.there)
        return new

    def everything(self) -> Iterable[Any]:
        """All of them, as changes."""
        self.stored = len(self.there)
        return self.there

    def take_back(self, changes: Iterable[Any]) -> None:
        """Take changes back, in the order in which they were given."""
        self.there += changes
        self.stored = len(self.there)


class Seen:
    """Values of which it is enough to know that they have been.

    Example:
        >>> seen = Seen(); seen.add("a"), seen.add("a")
        (True, False)
    """

    __slots__ = ("new", "there")

    def __init__(self) -> None:
        self.there: set[Any] = set()
        self.new: list[Any] = []

    def __len__(self) -> int:
        return len(self.there)

    def add(self, value: Any) -> bool:
        """A value has come; whether it is the first of its kind."""
        if value != value:
            value = NAN
        if value in self.there:
            return False
        self.there.add(value)
        self.new.append(value)
        return True

    def changes(self) -> Iterable[Any]:
        """Those that have come since the last call."""
        new, self.new = self.new, []
        return new

    def everything(self) -> Iterable[Any]:
        """All of them, as changes."""
        self.new = []
        return self.there

    def take_back(self, changes: Iterable[Any]) -> None:
        """Take changes back."""
        self.there.update(NAN if value != value else value for value in changes)


def hashable(value: Any) -> Any:
    """A value of an array, a map or a row as one that can be a key.

    Example:
        >>> hashable([1, {"a": [2]}]) == hashable([1, {"a": [2]}])
        True
    """
    if isinstance(value, (list, tuple)):
        return tuple([hashable(one) for one in value])
    if isinstance(value, dict):
        return frozenset((hashable(key), hashable(one)) for key, one in value.items())
    return NAN if value != value else value
