"""Finding out which of many the other side refuses, when it refuses them together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias, TypeVar

T = TypeVar("T")

REFUSALS = frozenset({400, 413, 422})
"""Answers that are about what was sent. Others are about the way there, which may be put right."""

Verdict: TypeAlias = str | Sequence[tuple[int, str]]
"""Of a request: a reason to refuse some of it, nobody knows which; or the places of those that are refused, and why."""


async def refused_of(items: Sequence[T], write: Callable[[Sequence[T]], Awaitable[Verdict]]) -> list[tuple[T, str]]:
    """Write all of them but those that are refused, each of which is found by halving.

    Writing an item again must be harmless: those beside a refused one are written several times.

    Args:
        items: in order.
        write: writes some of them in one request.

    Returns:
        those that are refused, and why.
    """
    refused: list[tuple[T, str]] = []
    waiting = [items]
    while waiting:
        part = waiting.pop()
        if not part:
            continue
        verdict = await write(part)
        if not isinstance(verdict, str):
            refused += [(part[place], why) for place, why in verdict]
        elif len(part) == 1:
            refused.append((part[0], verdict))
        else:
            middle = len(part) // 2
            waiting += [part[middle:], part[:middle]]
    return refused
