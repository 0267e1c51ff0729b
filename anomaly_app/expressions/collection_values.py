"""Helpers of the functions of ARRAY and MAP. Arrays and maps are never changed, they are made anew."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from anomaly_app.errors import EvaluationError


def frozen(value: Any) -> Hashable:
    """A value that can be looked up in a set; equal for equal values."""
    if isinstance(value, (list, tuple)):
        return tuple(frozen(part) for part in value)
    if isinstance(value, dict):
        return frozenset((frozen(key), frozen(part)) for key, part in value.items())
    if isinstance(value, float) and value != value:
        return "NaN"
    result: Hashable = value
    return result


def contains(items: list[Any], needle: Any) -> bool:
    """Whether an element is there; NULL is looked for like any other."""
    return needle in items


def position(items: list[Any], needle: Any) -> int:
    """First place of an element, counted from 1; 0 without."""
    return items.index(needle) + 1 if needle in items else 0


def append(items: list[Any], item: Any) -> list[Any]:
    """With one more element at the end."""
    return [*items, item]


def prepend(items: list[Any], item: Any) -> list[Any]:
    """With one more element at the start."""
    return [item, *items]


def remove(items: list[Any], needle: Any) -> list[Any]:
    """Without the elements that are equal to one."""
    return [item for item in items if item != needle]


def concat(*arrays: list[Any]) -> list[Any]:
    """One after the other."""
    return [item for items in arrays for item in items]


def distinct(items: Iterable[Any]) -> list[Any]:
    """Each element once, where it is first.

    Example:
        >>> distinct([3, 1, None, 3, None])
        [3, 1, None]
    """
    first: dict[Hashable, Any] = {}
    for item in items:
        first.setdefault(frozen(item), item)
    return list(first.values())


def union(left: list[Any], right: list[Any]) -> list[Any]:
    """Elements of either, each once."""
    return distinct([*left, *right])


def intersect(left: list[Any], right: list[Any]) -> list[Any]:
    """Elements of both, each once."""
    others = {frozen(item) for item in right}
    return distinct(item for item in left if frozen(item) in others)


def difference(left: list[Any], right: list[Any]) -> list[Any]:
    """Elements of the first that the second does not have, each once."""
    others = {frozen(item) for item in right}
    return distinct(item for item in left if frozen(item) not in others)


def join(items: list[str | None], delimiter: str, null_text: str | None = None) -> str:
    """Texts with a delimiter between them; NULLs are left out, or replaced by a text."""
    return delimiter.join(item for item in (null_text if i is None else i for i in items) if item is not None)


def greatest(items: list[Any]) -> Any:
    """The greatest element that is not NULL."""
    return max((item for item in items if item is not None), default=None)


def smallest(items: list[Any]) -> Any:
    """The smallest element that is not NULL."""
    return min((item for item in items if item is not None), default=None)


def backwards(items: list[Any]) -> list[Any]:
    """The other way round."""
    return items[::-1]


def part(items: list[Any], start: int, end: int | None = None) -> list[Any]:
    """From one place to another, both counted from 1 and included, or from the end if negative; 0 is 1 (there, too).

    Example:
        >>> part([1, 2, 3], -2), part([1, 2, 3], 0, 2), part([1, 2, 3], 3, 1)
        ([2, 3], [1, 2], [])
    """
    count = len(items)
    first = max(count + start + 1 if start < 0 else start, 1)
    last = count if end is None else count + end + 1 if end < 0 else end
    return items[first - 1 : last or 1] if (last or 1) >= first else []


def arranged(items: list[Any], ascending: bool = True, nulls_first: bool | None = None) -> list[Any]:
    """Sorted; NULLs come first if ascending, last if not, unless ``nulls_first`` says where.

    Example:
        >>> arranged([3, None, 1]), arranged([3, None, 1], False), arranged([3, None, 1], True, False)
        ([None, 1, 3], [3, 1, None], [1, 3, None])
    """
    values = sorted((item for item in items if item is not None), reverse=not ascending)
    nulls = [None] * (len(items) - len(values))
    return nulls + values if (ascending if nulls_first is None else nulls_first) else values + nulls


def only(items: list[Any]) -> Any:
    """The element of an array of one; NULL of an empty one.

    Raises:
        EvaluationError: there are more.
    """
    if len(items) > 1:
        raise EvaluationError("ELEMENT takes an array of one element, this one has more")
    return items[0] if items else None


def keys(entries: dict[Any, Any]) -> list[Any]:
    """The keys."""
    return list(entries)


def values(entries: dict[Any, Any]) -> list[Any]:
    """The values."""
    return list(entries.values())


def pairs(entries: dict[Any, Any]) -> list[tuple[Any, Any]]:
    """Rows of key and value."""
    return list(entries.items())


def merged(*maps: dict[Any, Any]) -> dict[Any, Any]:
    """All entries; the last map wins."""
    return {key: value for entries in maps for key, value in entries.items()}


def from_arrays(names: list[Any], items: list[Any]) -> dict[Any, Any]:
    """A map of keys and values.

    Raises:
        EvaluationError: there are more of one than of the other.
    """
    if len(names) != len(items):
        raise EvaluationError(f"MAP_FROM_ARRAYS has {len(names)} keys and {len(items)} values")
    return dict(zip(names, items, strict=True))
