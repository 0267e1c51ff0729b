"""The MATCH_RECOGNIZE clause as a tree (SQL:2016, ISO/IEC 9075-2 7.6; WITHIN as in Flink).

Beyond both: SHOW TIMEOUT MATCHES, AFTER MATCH NO SKIP, and NOT at the end of a pattern.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from anomaly_app.expressions.nodes import Node
from anomaly_app.expressions.tokens import Span


@dataclass(frozen=True, slots=True)
class PatternNode:
    """Base of the pattern's nodes."""

    span: Span


@dataclass(frozen=True, slots=True)
class Variable(PatternNode):
    """A pattern variable, as written."""

    name: str


@dataclass(frozen=True, slots=True)
class Concat(PatternNode):
    """Parts one after the other; none for the empty pattern ``()``."""

    parts: tuple[PatternNode, ...]


@dataclass(frozen=True, slots=True)
class Alternation(PatternNode):
    """One of the parts, the leftmost preferred."""

    parts: tuple[PatternNode, ...]


@dataclass(frozen=True, slots=True)
class Permute(PatternNode):
    """All parts, in any order; preferred in lexicographic order of the list."""

    parts: tuple[PatternNode, ...]


@dataclass(frozen=True, slots=True)
class Quantified(PatternNode):
    """A body repeated ``minimum`` to ``maximum`` times (None: without end); ``text`` is the quantifier as written."""

    body: PatternNode
    minimum: int
    maximum: int | None
    reluctant: bool
    text: str


@dataclass(frozen=True, slots=True)
class Exclusion(PatternNode):
    """``{- body -}``: matched, but left out of ALL ROWS output."""

    body: PatternNode


@dataclass(frozen=True, slots=True)
class Anchor(PatternNode):
    """``^`` (start of the partition) or ``$`` (its end)."""

    start: bool


@dataclass(frozen=True, slots=True)
class Absence(PatternNode):
    """``NOT body``: no row of the variable until WITHIN ends; at the end of a pattern only."""

    body: Variable


class RowsPerMatch(Enum):
    """What a match gives."""

    ONE = "ONE ROW PER MATCH"
    ALL_SHOW_EMPTY = "ALL ROWS PER MATCH SHOW EMPTY MATCHES"
    ALL_OMIT_EMPTY = "ALL ROWS PER MATCH OMIT EMPTY MATCHES"
    ALL_UNMATCHED = "ALL ROWS PER MATCH WITH UNMATCHED ROWS"


class SkipTo(Enum):
    """Where matching goes on after a match; ``NO_SKIP``: every row is a start, and every way from it a match."""

    PAST_LAST_ROW = "PAST LAST ROW"
    NEXT_ROW = "TO NEXT ROW"
    FIRST = "TO FIRST"
    LAST = "TO LAST"
    NO_SKIP = "NO SKIP"


@dataclass(frozen=True, slots=True)
class Skip:
    """AFTER MATCH SKIP; ``variable`` for FIRST and LAST."""

    to: SkipTo
    variable: str
    span: Span


@dataclass(frozen=True, slots=True)
class OrderItem:
    """An ORDER BY item; ``nulls_first`` is None if not said."""

    expr: Node
    descending: bool
    nulls_first: bool | None


@dataclass(frozen=True, slots=True)
class Measure:
    """``expr AS name``."""

    expr: Node
    name: str
    span: Span


@dataclass(frozen=True, slots=True)
class Subset:
    """``name = (members)``."""

    name: str
    members: tuple[str, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Definition:
    """``name AS condition``."""

    name: str
    condition: Node
    span: Span


@dataclass(frozen=True, slots=True)
class MatchRecognize:
    """The clause.

    ``rows_per_match`` and ``skip`` are None if not said; ``within_ms`` is None without WITHIN, ``timeouts`` (the place
    of SHOW TIMEOUT MATCHES) without that.
    """

    span: Span
    partition_by: tuple[Node, ...]
    order_by: tuple[OrderItem, ...]
    measures: tuple[Measure, ...]
    rows_per_match: RowsPerMatch | None
    skip: Skip | None
    pattern: PatternNode
    within_ms: int | None
    within_span: Span
    subsets: tuple[Subset, ...]
    define: tuple[Definition, ...]
    alias: str | None = None
    timeouts: Span | None = None
