"""Logical nodes: one class for each relational idea, with what follows from it derived once.

All of them can be imported from here; what they share stands in :mod:`anomaly_app.plan.node`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anomaly_app.plan.node import NOWHERE, WINDOW_END, WINDOW_START, WINDOW_TIME, Node, WindowColumns, walk
from anomaly_app.plan.window_nodes import AggregateCall, WindowAggregate, WindowAssign, WindowJoin
from anomaly_app.schema import Schema

if TYPE_CHECKING:
    from anomaly_app.patterns.clause import CheckedClause
    from anomaly_app.plan.scope import Expression
    from anomaly_app.sql.row_pattern import MatchRecognize
    from anomaly_app.windows.over import DetectorCall

__all__ = [
    "NOWHERE",
    "WINDOW_END",
    "WINDOW_START",
    "WINDOW_TIME",
    "AggregateCall",
    "Calc",
    "Detect",
    "Frame",
    "Limit",
    "Match",
    "Node",
    "Over",
    "Rank",
    "Scan",
    "Sort",
    "SortColumn",
    "Union",
    "UnnestRows",
    "ValuesRows",
    "WindowAggregate",
    "WindowAssign",
    "WindowColumns",
    "WindowJoin",
    "walk",
]


@dataclass(frozen=True, eq=False, kw_only=True)
class Scan(Node):
    """Rows of a table as they arrive."""

    table: str
    source: Schema

    @property
    def upsert_keys(self) -> Collection[frozenset[str]]:
        """The primary key of a table whose rows come and go: what is written holds it."""
        return (frozenset(self.source.primary_key),) if self.updating and self.source.primary_key else ()

    @property
    def title(self) -> str:
        """Table and time."""
        if self.source.rowtime is None:
            return f"Scan {self.table}"
        return f"Scan {self.table}, watermark {self.source.rowtime} - {self.source.watermark_delay_ms} ms"


@dataclass(frozen=True, eq=False, kw_only=True)
class Normalize(Node):
    """Upserts to all changes: it keeps the last row of each key, and takes it back when another one comes.

    Args:
        input: whose rows are upserts.
        keys: the primary key.
    """

    input: Node
    keys: tuple[str, ...]

    @property
    def inputs(self) -> tuple[Node, ...]:
        """One."""
        return (self.input,)

    @property
    def title(self) -> str:
        """The key."""
        return f"Last row by {', '.join(self.keys)}"

    @property
    def upsert_keys(self) -> Collection[frozenset[str]]:
        """The primary key."""
        return (frozenset(self.keys),)


@dataclass(frozen=True, eq=False, kw_only=True)
class ValuesRows(Node):
    """Rows that are written out; constant source of each value."""

    rows: tuple[tuple[Expression, ...], ...]

    @property
    def title(self) -> str:
        """How many."""
        return f"Values, {len(self.rows)} row{'s' * (len(self.rows) != 1)}"


@dataclass(frozen=True, eq=False, kw_only=True)
class Calc(Node):
    """Conditions and expressions over the columns of one row: WHERE, and a SELECT list.

    Args:
        input: whose rows.
        condition: rows for which it is not TRUE are left out; None for all.
        items: an expression for each column; an expression that is a bare column of the input keeps what it is.
    """

    input: Node
    condition: Expression | None
    items: tuple[Expression, ...]

    @property
    def inputs(self) -> tuple[Node, ...]:
        """One."""
        return (self.input,)

    @property
    def title(self) -> str:
        """What it does."""
        parts = [f"Filter {self.condition.words}"] if self.condition is not None else []
        if any(item.bare != name for item, name in zip(self.items, self.names, strict=True)) or not parts:
            parts.append("Project " + ", ".join(self.names))
        return "; ".join(parts)

    @property
    def upsert_keys(self) -> Collection[frozenset[str]]:
        """Those of the input that are still there."""
        moved = {old: new for new, old in reversed(list(self.origins.items()))}
        return [frozenset(moved[name] for name in key) for key in self.input.upsert_keys if key <= moved.keys()]

    @property
    def origins(self) -> Mapping[str, str]:
        """Columns that are a column of the input as it is, and which."""
        return {name: item.bare for name, item in zip(self.names, self.items, strict=True) if item.bare is not None}

    def moved_to(self, name: str | None) -> str | None:
        """The first column that is a column of the input as it is; None if none is, or for None."""
        if name is None:
            return None
        return next((new for new, old in self.origins.items() if old == name), None)


@dataclass(frozen=True, eq=False, kw_only=True)
class Union(Node):
    """UNION ALL: the rows of all inputs, column by column."""

    branches: tuple[Node, ...]

    @property
    def inputs(self) -> tuple[Node, ...]:
        """All branches."""
        return self.branches

    @property
    def title(self) -> str:
        """UNION ALL."""
        return f"Union of {len(self.branches)}"


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
class UnnestRows(Node):
    """UNNEST: each row once for each element of an array or map.

    Args:
        input: whose rows.
        value: the array or map.
        width: number of columns of an element.
        spread: an element is a ROW whose fields become columns.
        pairs: the value is a map.
        ordinality: the number of the element is a column, too.
        outer: a row without elements comes once, with NULLs.
    """

    input: Node
    value: Expression
    width: int
    spread: bool
    pairs: bool
    ordinality: bool
    outer: bool

    @property
    def inputs(self) -> tuple[Node, ...]:
        """One."""
        return (self.input,)

    @property
    def title(self) -> str:
        """What is unnested."""
        return f"Unnest {self.value.words}"


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
