"""A text of statements cut at its semicolons, and the statements that only the shell has."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from anomaly_app.errors import SqlSyntaxError
from anomaly_app.expressions.tokens import Token, tokenize

_PIECE = re.compile(
    r"""
      --[^\n]*(?:\n|\Z)
    | (?P<open>/\*(?:(?!\*/).)*\Z | '(?:[^']|'')*\Z | `(?:[^`]|``)*\Z | "(?:[^"]|"")*\Z)
    | /\*.*?\*/
    | [eE]'(?:[^'\\]|\\.|'')*'
    | '(?:[^']|'')*'
    | `(?:[^`]|``)*`
    | "(?:[^"]|"")*"
    | (?P<word>\w+)
    | (?P<end>;)
    """,
    re.VERBOSE | re.DOTALL,
)


class Piece(NamedTuple):
    """A statement in a text.

    Args:
        text: the statement where it stands: what is before it in the text is blank, so that places of errors are those
            in the text.
        whole: a semicolon ends it, which is left out, or it needs none.
    """

    text: str
    whole: bool

    @property
    def own(self) -> str:
        """The statement alone."""
        return self.text.strip()


def split(text: str) -> list[Piece]:
    r"""The statements of a text; a statement set is one.

    Example:
        >>> [(piece.own, piece.whole) for piece in split("SET 'a;' = 'b'; -- more\nSELECT 1; QUIT")]
        [("SET 'a;' = 'b'", True), ('-- more\nSELECT 1', True), ('QUIT', True)]
    """
    found: list[Piece] = []
    begin = 0
    words: list[str] = []
    for match in _PIECE.finditer(text):
        if match["word"] is not None:
            words.append(match["word"].upper())
        elif match["open"] is not None:
            words.append("")
        elif match["end"] is not None and _in_set(words):
            words.append(";")
        elif match["end"] is not None:
            if words or _says_something(text[begin : match.start()]):
                found.append(Piece(_blank(text[:begin]) + text[begin : match.start()], True))
            begin, words = match.end(), []
    rest = text[begin:]
    if words or _says_something(rest):
        found.append(Piece(_blank(text[:begin]) + rest, needs_no_end(rest)))
    return found


def alone(piece: Piece, start: int, end: int) -> Piece:
    """A part of a piece, where it stands."""
    return Piece(_blank(piece.text[:start]) + piece.text[start:end], True)


def is_whole(text: str) -> bool:
    """Whether nothing is missing at the end of a text."""
    pieces = split(text)
    return all(piece.whole for piece in pieces)


def needs_no_end(text: str) -> bool:
    """Whether it is a word such as QUIT, behind which a semicolon may be left out."""
    return text.strip().upper() in ("QUIT", "EXIT", "HELP", "CLEAR")


_REMARKS = re.compile(r"--[^\n]*(?:\n|\Z)|/\*.*?\*/", re.DOTALL)


def _says_something(text: str) -> bool:
    return bool(_REMARKS.sub("", text).strip())


def _in_set(words: Sequence[str]) -> bool:
    """Whether a statement set has begun and not ended."""
    begun = words[words[:1] == ["EXPLAIN"] :]
    begun = begun[begun[:1] == ["EXECUTE"] :]
    begins = begun[:3] in (["STATEMENT", "SET", "BEGIN"], ["BEGIN", "STATEMENT", "SET"])
    return begins and words[-2:] != [";", "END"]


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


# --- statements of the shell ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Quit:
    """``QUIT`` or ``EXIT``."""


@dataclass(frozen=True, slots=True)
class Clear:
    """``CLEAR``: of the terminal."""


@dataclass(frozen=True, slots=True)
class Help:
    """``HELP``."""


@dataclass(frozen=True, slots=True)
class Read:
    """``SOURCE 'file'``."""

    path: str


@dataclass(frozen=True, slots=True)
class ShowJobs:
    """``SHOW JOBS``."""


@dataclass(frozen=True, slots=True)
class StopJob:
    """``STOP JOB 'id'``."""

    id: str


@dataclass(frozen=True, slots=True)
class DescribeJob:
    """``DESCRIBE JOB 'id'``."""

    id: str


Own: TypeAlias = Quit | Clear | Help | Read | ShowJobs | StopJob | DescribeJob

_BARE: dict[tuple[str, ...], Own] = {
    ("QUIT",): Quit(),
    ("EXIT",): Quit(),
    ("CLEAR",): Clear(),
    ("HELP",): Help(),
    ("SHOW", "JOBS"): ShowJobs(),
}
_ID = "the id of a job in quotes, as SHOW JOBS gives it"
_WITH_TEXT: dict[tuple[str, ...], tuple[Callable[[str], Own], str]] = {
    ("SOURCE",): (Read, "the path of a file in quotes: SOURCE 'setup.sql'"),
    ("STOP", "JOB"): (StopJob, f"{_ID}: STOP JOB 'id'"),
    ("DESCRIBE", "JOB"): (DescribeJob, f"{_ID}: DESCRIBE JOB 'id'"),
    ("DESC", "JOB"): (DescribeJob, f"{_ID}: DESCRIBE JOB 'id'"),
}
"""What is made of the text behind the words, and what it should be."""


def own_statement(text: str) -> Own | None:
    """A statement that only the shell has; None if it is another.

    Raises:
        SqlSyntaxError: it begins as one of them, and goes on wrong.

    Example:
        >>> own_statement("STOP JOB 'a1'"), own_statement("SHOW TABLES")
        (StopJob(id='a1'), None)
    """
    words = tuple(_first_words(text))
    for begin in (words[:2], words[:1]):
        if begin in _BARE:
            _expect_end(text, tokenize(text)[len(begin)])
            return _BARE[begin]
        if begin in _WITH_TEXT:
            make, wanted = _WITH_TEXT[begin]
            given, *rest = tokenize(text)[len(begin) :]
            if given.kind != "text":
                raise SqlSyntaxError(f"expected {wanted}", text, *given.span)
            _expect_end(text, rest[0])
            return make(given.value)
    return None


def _expect_end(text: str, token: Token) -> None:
    if token.kind != "end":
        raise SqlSyntaxError("expected the end of the statement", text, *token.span)


def _first_words(text: str) -> Iterator[str]:
    for match in re.finditer(r"\w+|\S", _REMARKS.sub(" ", text)):
        if not match[0].isidentifier():
            return
        yield match[0].upper()
