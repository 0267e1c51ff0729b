"""A cursor over tokens, on which the parsers build."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import TypeVar

from anomaly_app.errors import SqlSyntaxError
from anomaly_app.expressions.tokens import Span, Token, tokenize

T = TypeVar("T")

MAX_DEPTH = 100
"""Nesting at most: deeper input is a mistake or an attack, and would overflow the stack."""

RESERVED = frozenset(
    "SELECT FROM WHERE GROUP HAVING ORDER LIMIT UNION AND OR NOT IS NULL TRUE FALSE CASE WHEN THEN ELSE END BETWEEN IN "
    "LIKE AS ON JOIN INNER LEFT RIGHT FULL CROSS MATCH_RECOGNIZE DEFINE MEASURES PATTERN WITHIN PARTITION BY INTO "
    "VALUES INSERT CREATE TABLE WITH DISTINCT CAST ESCAPE SUBSET".split()
)


STATEMENTS = frozenset(
    "ALTER BEGIN CREATE DESC DESCRIBE DROP EXECUTE EXPLAIN INSERT RESET SELECT SET SHOW USE WITH".split()
)
"""Words that begin a statement."""


class TokenReader:
    """A cursor over tokens with errors that tell what was expected."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokenize(text)
        self.place = 0
        self.depth = 0

    @property
    def token(self) -> Token:
        """The next token, not taken yet."""
        return self.tokens[self.place]

    def ahead(self, distance: int = 1) -> Token:
        """A token further on."""
        return self.tokens[min(self.place + distance, len(self.tokens) - 1)]

    def take(self) -> Token:
        """Take the next token."""
        token = self.token
        if token.kind != "end":
            self.place += 1
        return token

    def span_from(self, start: int) -> Span:
        """From an offset to the end of the last token taken."""
        return Span(start, max(start, self.tokens[self.place - 1].span.end if self.place else start))

    def at_next_statement(self) -> bool:
        """Whether a statement begins here though no semicolon has ended the one before, but a comment has."""
        if self.token.upper not in STATEMENTS or not self.place:
            return False
        return bool(self.text[self.tokens[self.place - 1].span.end : self.token.span.start].strip())

    def at(self, *words: str) -> bool:
        """Whether these keywords or signs come next, in this order."""
        for distance, word in enumerate(words):
            if self.ahead(distance).word != word:
                return False
        return True

    def accept(self, *words: str) -> bool:
        """Take these keywords or signs if they come next."""
        if len(words) == 1:  # the usual case, in one piece
            token = self.tokens[self.place]
            if token.word != words[0]:
                return False
            self.place += 1
            return True
        if not self.at(*words):
            return False
        for _ in words:
            self.take()
        return True

    def accept_any(self, words: Iterable[str]) -> str:
        """Take one of these keywords or signs if it comes next; "" if none does."""
        for word in words:
            if self.accept(word):
                return word
        return ""

    def expect(self, *words: str) -> Token:
        """Take these keywords or signs; an error if they do not come."""
        for word in words:
            if not self.at(word):
                raise self.expected(word)
            token = self.take()
        return token

    def expected(self, *what: str, token: Token | None = None) -> SqlSyntaxError:
        """An error at a token: what was expected there, what stands there, and what was perhaps meant."""
        token = token or self.token
        wanted = what[0] if len(what) == 1 else ", ".join(what[:-1]) + " or " + what[-1]
        found = "the end of the text" if token.kind == "end" else repr(self.text[token.span.start : token.span.end])
        near = difflib.get_close_matches(token.upper, [w for w in what if w.isupper()], 1) if token.upper else []
        hint = f"; did you mean {near[0]}?" if near and near[0] != token.upper else ""
        return SqlSyntaxError(f"expected {wanted}, found {found}{hint}", self.text, *token.span)

    def identifier(self, what: str = "a name") -> str:
        """Take an identifier."""
        if self.token.kind == "quoted" or (self.token.kind == "word" and self.token.upper not in RESERVED):
            return self.take().value
        raise self.expected(what)

    def path(self, what: str = "a name") -> tuple[str, ...]:
        """Take a dotted path of identifiers."""
        parts = [self.identifier(what)]
        while self.accept("."):
            parts.append(self.identifier(what))
        return tuple(parts)

    def whole_number(self, what: str = "a whole number") -> int:
        """Take an unsigned whole number."""
        if self.token.kind == "number" and self.token.value.isdigit():
            return int(self.take().value)
        raise self.expected(what)

    def literal_text(self, what: str = "a text in quotes") -> str:
        """Take a text literal."""
        if self.token.kind == "text":
            return self.take().value
        raise self.expected(what)

    def listed(self, item: Callable[[], T]) -> tuple[T, ...]:
        """Items with commas between them."""
        items = [item()]
        while self.accept(","):
            items.append(item())
        return tuple(items)

    def deeper(self) -> None:
        """Enter one level of nesting; the caller leaves it by ``self.depth -= 1``."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise SqlSyntaxError(f"nested more than {MAX_DEPTH} levels deep", self.text, *self.token.span)
