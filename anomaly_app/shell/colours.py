"""Statements in colours while they are typed."""

from __future__ import annotations

import re
from collections.abc import Callable

from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.lexers import Lexer
from prompt_toolkit.styles import Style

from anomaly_app.shell.words import KEYWORDS, functions

STYLE = Style.from_dict(
    {
        "prompt": "bold",
        "sql.keyword": "ansiblue bold",
        "sql.function": "ansicyan",
        "sql.text": "ansigreen",
        "sql.name": "ansiyellow",
        "sql.number": "ansimagenta",
        "sql.remark": "ansibrightblack italic",
        "page.title": "bold",
        "page.head": "bold underline",
        "page.here": "reverse",
        "page.status": "reverse",
    }
)

_TOKEN = re.compile(
    r"""
      (?P<remark>--[^\n]*|/\*.*?(?:\*/|\Z))
    | (?P<text>'(?:[^']|'')*(?:'|\Z))
    | (?P<name>`[^`]*(?:`|\Z)|"[^"]*(?:"|\Z))
    | (?P<number>\b\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    | (?P<word>[^\W\d][\w$]*)
    | (?P<other>\s+|.)
    """,
    re.VERBOSE | re.DOTALL,
)


class SqlLexer(Lexer):
    """Colours a text."""

    def __init__(self) -> None:
        self._functions = functions()

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        """The pieces of each line, with what they are."""
        lines: list[StyleAndTextTuples] = [[]]
        for match in _TOKEN.finditer(document.text):
            style = self._style(match.lastgroup or "", match[0])
            first, *more = match[0].split("\n")
            lines[-1].append((style, first))
            lines += [[(style, part)] for part in more]
        return lambda number: lines[number] if number < len(lines) else []

    def _style(self, kind: str, text: str) -> str:
        if kind == "word":
            kind = "keyword" if text.upper() in KEYWORDS else "function" if text.upper() in self._functions else ""
        return f"class:sql.{kind}" if kind not in ("", "other") else ""
