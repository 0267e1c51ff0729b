"""Patterns of Java's ``DateTimeFormatter`` as items: fields, literals and optional sections."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

MOST = {
    **dict.fromkeys("dhHkKmsw", 2), **dict.fromkeys("MLQqEec", 5), **dict.fromkeys("aFW", 1), "D": 3, "G": 5, "S": 9,
    "X": 5, "x": 5, "Z": 5, "O": 4, "z": 4, "v": 4, "V": 2, "B": 4,
}  # fmt: skip
"""How often a letter may be repeated."""

_ANY_NUMBER = "yuYgAnN"
_ONLY = {"V": (2,), "O": (1, 4), "v": (1, 4), "c": (1, 3, 4, 5), "B": (1, 4)}
ZONES = frozenset("XxZOzvV")
"""Letters of a zone, which a TIMESTAMP does not have."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field: its letter, how often it is repeated, and the width that it is padded to with blanks (0: it is not)."""

    letter: str
    count: int
    width: int = 0

    @property
    def text(self) -> bool:
        """Whether it is a name rather than a number."""
        return self.letter in "aGBE" or (self.letter in "MLQqec" and self.count >= 3)


@dataclass(frozen=True, slots=True)
class Option:
    """A section that may be missing."""

    items: tuple[Item, ...]


Item: TypeAlias = "Field | str | Option"

_QUOTED = re.compile(r"'((?>(?:[^']|'')*))'")
_RUN = re.compile(r"(p+)?(?:([A-Za-z])\2*)?")


def read(pattern: str) -> tuple[Item, ...]:
    """The items of a pattern.

    Raises:
        ValueError: it is no pattern.

    Example:
        >>> read("yyyy-MM['T'HH]")
        (Field(letter='y', count=4, width=0), '-', Field(letter='M', count=2, width=0), \
Option(items=('T', Field(letter='H', count=2, width=0))))
    """
    levels: list[list[Item]] = [[]]
    place = 0
    while place < len(pattern):
        character = pattern[place]
        if character.isascii() and character.isalpha():
            found = _RUN.match(pattern, place)
            assert found is not None
            run = found[0][len(found[1] or "") :]
            if not run:
                raise ValueError(f"the date pattern {pattern!r} has no field behind {found[0]!r}")
            levels[-1].append(_field(run, len(found[1] or ""), pattern))
            place = found.end()
            continue
        if character == "'":
            text, place = quoted(pattern, place)
            levels[-1].append(text)
            continue
        if character == "[":
            levels.append([])
        elif character == "]":
            if len(levels) == 1:
                raise ValueError(f"the date pattern {pattern!r} has a ] without a [ before it")
            inner = tuple(levels.pop())
            levels[-1].append(Option(inner))
        elif character in "{}#":
            raise ValueError(f"{character!r} in the date pattern {pattern!r} must stand in quotes")
        else:
            levels[-1].append(character)
        place += 1
    while len(levels) > 1:
        inner = tuple(levels.pop())
        levels[-1].append(Option(inner))
    return tuple(levels[0])


def quoted(pattern: str, place: int) -> tuple[str, int]:
    """A text in quotes that begins at a place, and the place behind it; two quotes are one, inside and outside."""
    found = _QUOTED.match(pattern, place)
    if found is None:
        raise ValueError(f"the date pattern {pattern!r} has a quote that is not closed")
    return found[1].replace("''", "'") or "'", found.end()


def _field(run: str, width: int, pattern: str) -> Field:
    letter, count = run[0], len(run)
    if letter in _ANY_NUMBER:
        return Field(letter, count, width)
    if letter not in MOST:
        raise ValueError(f"{letter!r} in the date pattern {pattern!r} is no field; quote it if it is meant as text")
    if count > MOST[letter] or count not in _ONLY.get(letter, (count,)):
        raise ValueError(f"{run!r} in the date pattern {pattern!r} has the wrong number of letters {letter!r}")
    return Field(letter, count, width)
