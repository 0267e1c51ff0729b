"""Logical nodes to which the order of their input's rows matters: patterns, detectors, OVER, ranks, ORDER BY, LIMIT."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from anomaly_app.patterns.clause import CheckedClause
from anomaly_app.plan.nodes.node import Node, WindowColumns
from anomaly_app.plan.nodes.windows import AggregateCall
from anomaly_app.plan.scope import Expression
from anomaly_app.sql.row_pattern import MatchRecognize
from anomaly_app.windows.over import DetectorCall


@dataclass(frozen=True, eq=False, kw_only=True)
class Match(Node):
    """MATCH_RECOGNIZE.

    Args:
        input: whose rows.
        clause: the tree.
        time: name of the time attribute that orders the rows; None without.
        checked: the clause, checked against the input.
    """

    input: Node
    clause: MatchRecognize
    time: str | None
    checked: CheckedClause

    @property
    def inputs(self) -> tuple[Node, ...]:
        """One."""
        return (self.input,)

    @property
    def keys(self) -> tuple[str, ...]:
        """Columns of PARTITION BY."""
        return tuple(column.name for column in self.checked.partition_by)

    @property
    def title(self) -> str:
        """Pattern and keys."""
        pattern = " ".join(self.text[slice(*self.clause.pattern.span)].split())
        return f"Match ({pattern})" + (f" by {', '.join(self.keys)}" if self.keys else "")


@dataclass(frozen=True, eq=False, kw_only=True)
class Detect(Node):
    """Detectors that learn: the input's columns, and behind them the result of each call.

    Args:
        input: whose rows.
        calls: the detectors, checked.
        values: what each is given.
        keys: columns of PARTITION BY.
        time: name of the time attribute.
        condition: rows of the input for which it is not TRUE are left out.
    """

    input: Node
    calls: tuple[DetectorCall, ...]
    values: tuple[tuple[Expression, ...], ...]
    keys: tuple[str, ...]
    time: str

    @property
    def inputs(self) -> tuple[Node, ...]:
        """One."""
        return (self.input,)

    @property
    def title(self) -> str:
        """Detectors and keys."""
        calls = ", ".join(f"{call.function.name}({call.text})" for call in self.calls)
        return f"Detect {calls}" + (f" by {', '.join(self.keys)}" if self.keys else "")


@dataclass(frozen=True, slots=True)
class Frame:
    """Rows that an OVER aggregate is about.

    Args:
        rows: they are counted; else they are those within a span of time.
        preceding: how many rows, or milliseconds, before the present row; None for all.
    """

    rows: bool
    preceding: int | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Over(Node):
    """Aggregates over the rows before each row: the input's columns, and behind them one for each call.

    Args:
        input: whose rows.
        calls: what is computed.
        keys: columns of PARTITION BY.
        time: name of the time attribute.
        frame: of all calls.
    """

    input: Node
    calls: tuple[AggregateCall, ...]
    keys: tuple[str, ...]
    time: str
    frame: Frame

    @property
    def inputs(self) -> tuple[Node, ...]:
        """One."""
        return (self.input,)

    @property
    def title(self) -> str:
        """Functions, keys and frame."""
        calls = ", ".join(call.call.name for call in self.calls)
        unit = "rows" if self.frame.rows else "ms"
        reach = "all before" if self.frame.preceding is None else f"{self.frame.preceding} {unit} before"
        return f"Over {calls}, {reach}" + (f", by {', '.join(self.keys)}" if self.keys else "")


MAX_RANK = 10_000_000
"""Greatest bound on ROW_NUMBER()."""


@dataclass(frozen=True, slots=True)
class SortColumn:
    """A column that rows are ordered by."""

    name: str
    descending: bool
    nulls_first: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class Rank(Node):
    """ROW_NUMBER() with a bound: deduplication and Top-N; the input's columns, and perhaps the number behind them.

    Args:
        input: whose rows.
        keys: columns of PARTITION BY, without the edges of a window.
        order: what ROW_NUMBER orders by.
        first: the least number that is wanted, from 1.
        last: the greatest.
        number: name of the column with the number; None if nobody asks for it.
        windowed: the rows are ranked within their windows.
        time: name of the time attribute by which rows are ordered; None for values.
    """

    input: Node
    keys: tuple[str, ...]
    order: tuple[SortColumn, ...]
    first: int
    last: int
    number: str | None
    windowed: WindowColumns | None
    time: str | None

    @property
    def inputs(self) -> tuple[Node, ...]:
        """One."""
        return (self.input,)

    @property
    def is_top(self) -> bool:
        """Whether it gives the rows that are first at a time, and takes them back as others come."""
        rises = self.time is not None and not self.order[0].descending
        return self.windowed is None and not rises

    @property
    def keeps_last(self) -> bool:
        """Whether it gives the last row of each key by time, of rows that are not taken back."""
        falls = self.time is not None and self.order[0].descending
        return self.is_top and falls and (self.first, self.last) == (1, 1) and not self.input.updating

    @property
    def upsert_keys(self) -> Collection[frozenset[str]]:
        """The key, where one row of it is left; else with the number."""
        if self.windowed is not None:
            return ()
        below = tuple(self.input.upsert_keys)
        if self.first != self.last and self.number is None:
            return below
        return (frozenset(self.keys if self.first == self.last else (*self.keys, self.number or "")), *below)

    @property
    def title(self) -> str:
        """Order, bound and keys."""
        order = ", ".join(f"{column.name}{' DESC' * column.descending}" for column in self.order) or "arrival"
        by = f" by {', '.join(self.keys)}" if self.keys else ""
        within = " within windows" if self.windowed else ""
        return f"Rank {self.first} to {self.last} in order of {order}{by}{within}"


@dataclass(frozen=True, eq=False, kw_only=True)
class Sort(Node):
    """ORDER BY the time attribute: rows in order of time, as the watermark passes them.

    Args:
        input: whose rows.
        time: name of the time attribute.
        order: further columns.
    """

    input: Node
    time: str
    order: tuple[SortColumn, ...]

    @property
    def inputs(self) -> tuple[Node, ...]:
        """One."""
        return (self.input,)

    @property
    def title(self) -> str:
        """The order."""
        return f"Sort by {', '.join([self.time, *(column.name for column in self.order)])}"


@dataclass(frozen=True, eq=False, kw_only=True)
class Limit(Node):
    """LIMIT and OFFSET: the first rows to come."""

    input: Node
    offset: int
    count: int | None

    @property
    def inputs(self) -> tuple[Node, ...]:
        """One."""
        return (self.input,)

    @property
    def title(self) -> str:
        """How many."""
        return f"Limit {self.count}, offset {self.offset}"
