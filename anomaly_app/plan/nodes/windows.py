"""Logical nodes about windows: rows with their windows, groups, joins within windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from anomaly_app.expressions import nodes as n
from anomaly_app.plan.nodes.node import Node, WindowColumns
from anomaly_app.plan.scope import Expression
from anomaly_app.windows.assign import Grid, Sessions


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
