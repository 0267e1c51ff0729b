"""What may be typed next: names of tables and columns, functions, keywords, options."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from anomaly_app.errors import SqlError
from anomaly_app.session import Session
from anomaly_app.shell.options import KNOWN
from anomaly_app.shell.words import AFTER, KEYWORDS, STATEMENTS, functions


class Suggestion(NamedTuple):
    """A word that may stand here.

    Args:
        text: of the word.
        typed: how many characters of it are there.
        what: it is.
    """

    text: str
    typed: int
    what: str


_WORD = re.compile(r"'(?:[^']|'')*'?|`[^`]*`?|[\w$]+|[^\s\w]")
_PLAIN = re.compile(r"[^\W\d]\w*\Z")
_TABLE_COMES = ("FROM", "JOIN", "INTO", "TABLE", "VIEW", "DESCRIBE", "DESC", "COLUMNS", "LIKE")


def suggest(before: str, session: Session) -> list[Suggestion]:
    """Words that fit at the end of a text.

    Args:
        before: what is typed so far.
        session: whose tables.

    Example:
        >>> from anomaly_app import Rows, Session
        >>> session = Session({"sales": Rows(columns=[("qty", "INT"), ("quality", "STRING")])})
        >>> [one.text for one in suggest("SELECT * FROM sa", session)]
        ['sales']
        >>> [one.text for one in suggest("SELECT s.q FROM sales s; SELECT s.qu FROM sales s WHERE s.qu", session)]
        ['quality']
    """
    words = _WORD.findall(before)
    while ";" in words:
        words = words[words.index(";") + 1 :]
    partial = ""
    if words and before.endswith(words[-1]) and re.match(r"[\w$`']", words[-1]):
        partial = words.pop()
    last = words[-1].upper() if words else ""
    first = words[0].upper() if words else ""
    if first in ("SET", "RESET") and len(words) == 1:
        # Behind the quote, which is there or comes with the word.
        return [Suggestion(f"'{key}'", len(partial), "option") for key in _fitting(KNOWN, partial.strip("'"))]
    if partial.startswith("'"):
        return []
    if last == ".":
        names = _columns(session, _table_of(words, words[-2]) if len(words) > 1 else None)
        return _as(_fitting(names, partial.strip("`")), partial, "column")
    if first in AFTER and len(words) == 1:
        return _as(_fitting(AFTER[first], partial), partial, "keyword")
    if not words:
        return _as(_fitting(STATEMENTS, partial), partial, "keyword")
    if last in _TABLE_COMES:
        found = _as(_fitting(sorted(session.catalog.names()), partial.strip("`")), partial, "table")
        return found or _as(_fitting(("TABLE",), partial), partial, "keyword")
    if not partial:
        return []
    tables = session.catalog.names()
    mentioned = {word.strip("`") for word in words} & set(tables)
    columns = {name for table in mentioned or tables for name in _columns(session, table)}
    own = [name.upper() for name in session.catalog.functions]
    return [
        *_as(_fitting(sorted(columns), partial.strip("`")), partial, "column"),
        *_as(_fitting(sorted({*functions(), *own}), partial), partial, "function"),
        *_as(_fitting(sorted(KEYWORDS), partial), partial, "keyword"),
    ]


def _fitting(words: Iterable[str], partial: str) -> list[str]:
    return [word for word in words if word.lower().startswith(partial.lower()) and word != partial]


def _as(words: Sequence[str], partial: str, what: str) -> list[Suggestion]:
    """Keywords and functions in the case that is typed, names quoted where they must be."""
    if what in ("table", "column"):
        return [Suggestion(_quoted(word), len(partial), what) for word in words]
    lower = partial.islower()
    return [Suggestion(word.lower() if lower else word, len(partial), what) for word in words]


def _quoted(name: str) -> str:
    parts = name.split(".")
    plain = all(_PLAIN.match(part) and part.upper() not in KEYWORDS for part in parts)
    return name if plain else ".".join(f"`{part}`" for part in parts)


def _table_of(words: Sequence[str], name: str) -> str:
    """The table that an alias of the statement stands for, or the name itself."""
    for table, following, other in zip(words, words[1:], [*words[2:], ""], strict=False):
        alias = other if following.upper() == "AS" else following
        if alias == name and table.upper() not in KEYWORDS and re.match(r"[\w`]", table):
            return table.strip("`")
    return name.strip("`")


def _columns(session: Session, table: str | None) -> Sequence[str]:
    """Columns of a table or view; none if it is unknown, or a view that is wrong by now."""
    if table is None or table not in session.catalog.names():
        return ()
    path = ".".join(f"`{part}`" for part in table.split("."))
    try:
        return [str(row[0]) for row in session.execute(f"DESCRIBE {path}").rows]
    except SqlError:
        return ()
