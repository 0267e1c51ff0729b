"""Logical nodes: one class for each relational idea, with what follows from it derived once.

A node is made by :mod:`anomaly_app.plan.analysis`, which has checked everything it holds. Names of columns are unique
within a node. Nodes compare by identity: a view or a name of WITH that is used twice is one node, and runs once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from anomaly_app.expressions.tokens import Span
from anomaly_app.schema import Column, Schema
from anomaly_app.windows.assign import Grid, Sessions

if TYPE_CHECKING:
    from anomaly_app.expressions import nodes as n
    from anomaly_app.patterns.clause import CheckedClause
    from anomaly_app.plan.scope import Expression
    from anomaly_app.sql.row_pattern import MatchRecognize
    from anomaly_app.windows.over import DetectorCall

WINDOW_START, WINDOW_END, WINDOW_TIME = "window_start", "window_end", "window_time"
NOWHERE = Span(0, 0)
"""Of what stands nowhere in the text."""


@dataclass(frozen=True, slots=True)
class WindowColumns:
    """Columns that are the edges of the window of a row; None where a projection has left one out.

    Args:
        start: name of the column with the start.
        end: and with the end.
        time: and with the time attribute.
        windows: which windows they are; equal for two nodes whose windows are the same.
    """

    start: str | None
    end: str | None
    time: str | None
    windows: Grid | Sessions


@dataclass(frozen=True, eq=False, kw_only=True)
class Node:
    """Base of all nodes.

    Args:
        columns: what it gives; a time attribute is marked in ``rowtimes`` or ``proctimes``.
        rowtimes: names of the columns that are event-time attributes.
        proctimes: names of those that are processing-time attributes.
        updating: why rows may be taken back later, in words; "" for insert-only.
        window: which columns are the edges of a window.
        span: where it stands in the text.
        text: the whole text.
    """

    columns: tuple[Column, ...]
    rowtimes: frozenset[str] = frozenset()
    proctimes: frozenset[str] = frozenset()
    updating: str = ""
    window: WindowColumns | None = None
    span: Span = NOWHERE
    text: str = ""

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Nodes that it reads."""
        return ()

    @property
    def title(self) -> str:
        """What it is, in a few words, as EXPLAIN prints it."""
        return type(self).__name__

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its columns."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        """A column by its exact name; raises ``KeyError``."""
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns}

    def schema(self, rowtime: str | None = None) -> Schema:
        """The node as a table for operators that know of one time attribute only.

        Args:
            rowtime: which of its event-time attributes that is; the first one if None.
        """
        if rowtime is None:
            rowtime = next((name for name in self.names if name in self.rowtimes), None)
        proctime = next((name for name in self.names if name in self.proctimes), None)
        return Schema(self.columns, rowtime, 0, proctime if rowtime is None else None)


@dataclass(frozen=True, eq=False, kw_only=True)
class Scan(Node):
    """Rows of a table as they arrive."""

    table: str
    source: Schema

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
class WindowAssign(Node):
    """A window table function: each row once for each window that it is in, with the window's edges.

    Args:
        input: whose rows.
        time: name of the time attribute.
        windows: which.
        keys: of SESSION.
    """

    input: Node
    time: str
    windows: Grid | Sessions
    keys: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[Node, ...]:
        """One."""
        return (self.input,)

    @property
    def title(self) -> str:
        """Which windows."""
        return f"Windows {self.windows.words} over {self.time}"


@dataclass(frozen=True, slots=True)
class AggregateCall:
    """An aggregate of a group.

    Args:
        name: of its column.
        call: as written.
        value: its argument; None for rows.
        condition: of FILTER; None without.
    """

    name: str
    call: n.Call
    value: Expression | None
    condition: Expression | None


@dataclass(frozen=True, eq=False, kw_only=True)
class WindowAggregate(Node):
    """GROUP BY with the edges of a window: one row for each key and window, when the watermark passes its end.

    Args:
        input: whose rows; they carry no edges unless ``attached``.
        keys: names of columns of the input, beside the window.
        key_names: and what they are called in the output.
        aggregates: what is computed.
        windows: which; with ``attached`` those of the input's rows.
        time: name of the time attribute; with ``attached`` of the window's.
        attached: the rows of the input carry the edges of their windows.
        condition: rows of the input for which it is not TRUE are left out.
    """

    input: Node
    keys: tuple[str, ...]
    key_names: tuple[str, ...]
    aggregates: tuple[AggregateCall, ...]
    windows: Grid | Sessions
    time: str
    attached: WindowColumns | None = None
    condition: Expression | None = None

    @property
    def inputs(self) -> tuple[Node, ...]:
        """One."""
        return (self.input,)

    @property
    def title(self) -> str:
        """Windows, keys, aggregates."""
        by = f" by {', '.join(self.keys)}" if self.keys else ""
        return f"Aggregate {self.windows.words}{by}"


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
    def title(self) -> str:
        """Order, bound and keys."""
        order = ", ".join(f"{column.name}{' DESC' * column.descending}" for column in self.order)
        by = f" by {', '.join(self.keys)}" if self.keys else ""
        within = " within windows" if self.windowed else ""
        return f"Rank {self.first} to {self.last} in order of {order}{by}{within}"


@dataclass(frozen=True, eq=False, kw_only=True)
class WindowJoin(Node):
    """Pairs of rows in the same window, when the watermark passes its end; or rows of the left with or without any.

    Args:
        kind: ``INNER``, ``LEFT``, ``RIGHT``, ``FULL``; ``SEMI`` and ``ANTI`` give rows of the left.
        left: whose rows; they carry their windows.
        right: and whose.
        keys: columns that are equal, of the left and of the right.
        condition: what else holds for a pair, over the columns of both; None for nothing.
        theirs: what the columns of the right are called behind the join.
    """

    kind: str
    left: Node
    right: Node
    keys: tuple[tuple[str, str], ...]
    condition: Expression | None
    theirs: Mapping[str, str]

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Two."""
        return (self.left, self.right)

    @property
    def title(self) -> str:
        """Kind and columns."""
        by = f" by {', '.join(left for left, _ in self.keys)}" if self.keys else ""
        return f"Window join, {self.kind.lower()},{by or ' of all rows'} of a window"


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


def walk(node: Node) -> Iterator[Node]:
    """All nodes below and with a node, each once, inputs first."""
    seen: set[int] = set()
    waiting: list[tuple[Node, bool]] = [(node, False)]
    while waiting:
        one, is_done = waiting.pop()
        if is_done:
            yield one
        elif id(one) not in seen:
            seen.add(id(one))
            waiting.append((one, True))
            waiting += [(below, False) for below in reversed(one.inputs)]
