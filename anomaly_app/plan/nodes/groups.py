"""Logical nodes of groups that change: GROUP BY without a window, DISTINCT, and what stands below and above them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from anomaly_app.plan.nodes.node import Node
from anomaly_app.plan.nodes.windows import AggregateCall
from anomaly_app.words import duration

_OF_VALUES = frozenset({"ARRAY_AGG", "LISTAGG", "MEDIAN", "MAD"})
"""Aggregates that need all values, even where none is taken back."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Aggregate(Node):
    """GROUP BY without a window: a row for each group, told anew whenever it changes.

    Args:
        input: whose rows.
        keys: names of columns of the input.
        key_names: and what they are called in the output.
        aggregates: what is computed; nothing for DISTINCT.
    """

    input: Node
    keys: tuple[str, ...]
    key_names: tuple[str, ...]
    aggregates: tuple[AggregateCall, ...]

    @property
    def inputs(self) -> tuple[Node, ...]:
        """One."""
        return (self.input,)

    @property
    def upsert_keys(self) -> Collection[frozenset[str]]:
        """The keys of the groups."""
        return (frozenset(self.key_names),)

    @property
    def title(self) -> str:
        """Aggregates and keys."""
        calls = ", ".join(dict.fromkeys(call.call.name for call in self.aggregates))
        by = f" by {self.by}" if self.keys else ""
        return f"Aggregate {calls}{by}" if calls else f"Distinct{by}"

    @property
    def by(self) -> str:
        """The keys that somebody has written, in words."""
        return ", ".join(name for name in self.key_names if not name.startswith("$"))

    def kept(self, ttl_ms: int | None) -> tuple[str, str]:
        """What it keeps, and how that grows."""
        values = [call.call.name for call in self.aggregates if call.call.distinct or call.call.name in _OF_VALUES]
        many = f", and the values of {', '.join(dict.fromkeys(values))}" if values else ""
        what = f"numbers for each group{many}" if self.aggregates else "which rows there are"
        if not self.keys:
            return what, "grows with the values" if values else "does not grow"
        if ttl_ms is None:
            return what, "grows with the keys, for ever: SET 'table.exec.state.ttl' bounds it"
        return what, f"grows with the keys; a group is dropped {duration(ttl_ms)} after its last row"


@dataclass(frozen=True, eq=False, kw_only=True)
class GroupingRows(Node):
    """GROUPING SETS, ROLLUP and CUBE: each row once for each set, with the keys that are not in it NULL.

    Args:
        input: whose rows.
        keys: names of its columns; the output has them once more, under ``added``.
        added: names of these.
        sets: places of the keys of each set.
        number: name of a column with the number of the set.
        constants: further columns, and the value of each for each set.
    """

    input: Node
    keys: tuple[str, ...]
    added: tuple[str, ...]
    sets: tuple[tuple[int, ...], ...]
    number: str
    constants: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def inputs(self) -> tuple[Node, ...]:
        """One."""
        return (self.input,)

    @property
    def title(self) -> str:
        """The sets."""
        shown = ", ".join(f"({', '.join(self.keys[place] for place in members)})" for members in self.sets)
        return f"Grouping sets {shown}"


@dataclass(frozen=True, eq=False, kw_only=True)
class Copies(Node):
    """Each row as often as one of its columns says: INTERSECT ALL and EXCEPT ALL.

    Args:
        input: whose rows.
        count: name of that column.
    """

    input: Node
    count: str

    @property
    def inputs(self) -> tuple[Node, ...]:
        """One."""
        return (self.input,)

    @property
    def title(self) -> str:
        """The column."""
        return f"As many copies as {self.count}"
