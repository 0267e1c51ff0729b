"""What all logical nodes have in common.

A node is made by :mod:`anomaly_app.plan.analysis`, which has checked everything it holds. Names of columns are unique
within a node. Nodes compare by identity: a view or a name of WITH that is used twice is one node, and runs once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from anomaly_app.expressions.tokens import Span
from anomaly_app.schema import Column, Schema
from anomaly_app.windows.assign import Grid, Sessions

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
    def upsert_keys(self) -> Collection[frozenset[str]]:
        """Sets of columns of which no two of its rows, as they stand at a time, have the same; those that are known."""
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

    def moved_window(self, names: Mapping[str, str]) -> WindowColumns | None:
        """The edges of windows behind a projection; None if it leaves out all of them.

        Args:
            names: what columns that stay as they are are called behind it.
        """
        if self.window is None:
            return None
        window = self.window
        edges = (names.get(name) if name is not None else None for name in (window.start, window.end, window.time))
        start, end, time = edges
        return WindowColumns(start, end, time, window.windows) if start or end or time else None

    def schema(self, rowtime: str | None = None) -> Schema:
        """The node as a table for operators that know of one time attribute only.

        Args:
            rowtime: which of its event-time attributes that is; the first one if None.
        """
        if rowtime is None:
            rowtime = next((name for name in self.names if name in self.rowtimes), None)
        proctime = next((name for name in self.names if name in self.proctimes), None)
        return Schema(self.columns, rowtime, 0, proctime if rowtime is None else None)


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
