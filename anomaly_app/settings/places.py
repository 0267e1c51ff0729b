"""Where in a TOML file a value stands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

Step: TypeAlias = str | int
"""Name of a key, or number of an element of an array."""

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\[\]#]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")


def written(path: Sequence[Step]) -> str:
    """A path as people write it.

    Example:
        >>> written(["delivery", "route", "routes", 2, "receiver"])
        'delivery.route.routes[2].receiver'
    """
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def line_of(text: str, path: Sequence[Step]) -> int | None:
    r"""Number of the line of a value, or of what is written around it; None if nothing of it is there.

    Args:
        text: of the file, which is valid TOML.
        path: keys, and numbers from 0 of elements of arrays.

    Example:
        >>> text = '[delivery.route]\nreceiver = "a"\n[[delivery.route.routes]]\nreceiver = "b"\n'
        >>> line_of(text, ["delivery", "route", "routes", 0, "receiver"]), line_of(text, ["delivery", "route", "x"])
        (4, 1)
        >>> line_of(text, ["web", "port"]) is None
        True
    """
    best: tuple[int, int] | None = None
    table: list[Step] = []
    counts: dict[tuple[Step, ...], int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header:
            table = _resolve(_parts(header[2]), counts, header[1] == "[[")
            found = table
        elif key := _KEY.match(line):
            found = [*table, *_parts(key[1])]
        else:
            continue
        # A table is what is written around its keys; the key itself is nearer.
        if list(path[: len(found)]) == found and (best is None or len(found) > best[0]):
            best = len(found), number
    return None if best is None else best[1]


def _parts(dotted: str) -> list[str]:
    return [part.strip("\"'") for part in _PART.findall(dotted)]


def _resolve(parts: Sequence[str], counts: dict[tuple[Step, ...], int], element: bool) -> list[Step]:
    """The path of a header: names of arrays of tables mean their last element."""
    path: list[Step] = []
    for place, part in enumerate(parts):
        path.append(part)
        name = tuple(path)
        if element and place == len(parts) - 1:
            counts[name] = counts.get(name, -1) + 1
        if name in counts:
            path.append(counts[name])
    return path
