"""Joins by time: rows of two relations whose times are near each other, or the version that a row had at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from anomaly_app.plan.nodes.node import Node
from anomaly_app.plan.nodes.rows import Calc
from anomaly_app.plan.scope import Expression
from anomaly_app.schema import Column
from anomaly_app.words import duration


@dataclass(frozen=True, eq=False, kw_only=True)
class TimedJoin(Node):
    """What joins by time share.

    Args:
        kind: ``INNER``, ``LEFT``, ``RIGHT`` or ``FULL``.
        left: whose rows.
        right: and whose.
        keys: columns that are equal, of the left and of the right.
        null_equal: for each key whether NULL equals NULL.
        condition: what else holds for a pair, over the columns of both as they are called behind the join; None for
            nothing.
        theirs: what the columns of the right are called behind the join.
        times: name of the time attribute of each side that the join goes by.
        aliases: what the sides are called, for evidence.
    """

    kind: str
    left: Node
    right: Node
    keys: tuple[tuple[str, str], ...]
    null_equal: tuple[bool, ...]
    condition: Expression | None
    theirs: Mapping[str, str]
    times: tuple[str, str]
    aliases: tuple[str, str]

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Two."""
        return (self.left, self.right)

    @property
    def by(self) -> str:
        """The keys, for titles."""
        return f" by {', '.join(left for left, _ in self.keys)}" if self.keys else " of all rows"

    def kept(self, ttl_ms: int | None) -> tuple[str, str]:
        """What it keeps, and how that grows."""
        raise NotImplementedError

    @property
    def pair_keys(self) -> tuple[tuple[str, str], ...]:
        """Columns that are equal, of the left and of the right as pairs are made of it."""
        return self.keys

    @property
    def right_columns(self) -> tuple[Column, ...]:
        """Columns of the right, of which pairs are made."""
        return self.right.columns

    def own(self, behind: str) -> str | None:
        """The column of the right that a column behind the join is, as it is; None if it is none."""
        return next((own for own, name in self.theirs.items() if name == behind), None)

    @property
    def row_time(self) -> str | None:
        """The column that the time of a row is; None if it is now one and now the other."""
        if self.kind == "FULL":
            return None
        return self.theirs[self.times[1]] if self.kind == "RIGHT" else self.times[0]

    def wanted(self, place: int, wanted: set[str]) -> set[str]:
        """Columns of a side, as pairs are made of them, that it needs, so that it can give the wanted ones."""
        names = wanted | self.condition.reads if self.condition is not None else wanted
        if place == 0:
            return {name for name in self.left.names if name in names} | {left for left, _ in self.keys}
        return {own for own, name in self.theirs.items() if name in names} | {right for _, right in self.pair_keys}

    def read(self, place: int, wanted: set[str]) -> set[str]:
        """Columns of an input that it needs for that, but for the time."""
        return self.wanted(place, wanted)


@dataclass(frozen=True, eq=False, kw_only=True)
class IntervalJoin(TimedJoin):
    """Pairs of rows whose times are near each other, at once; rows without any when nothing can match any more.

    Args:
        low: time of the right less that of the left at least, in ms.
        high: and at most.
    """

    low: int
    high: int

    @property
    def title(self) -> str:
        """Kind, keys and bounds."""
        mine, theirs = self.times
        reach = f"{self.theirs[theirs]} from {_shifted(mine, self.low)} to {_shifted(mine, self.high)}"
        return f"Interval join, {self.kind.lower()},{self.by}, {reach}"

    def kept(self, ttl_ms: int | None) -> tuple[str, str]:
        """Rows that others may still meet."""
        mine, theirs = (duration(max(0, reach)) for reach in self.reaches)
        return (
            f"rows of the left until the watermark has passed them by {mine}, of the right by {theirs}",
            "bounded by the interval, and by how far one input is ahead of the other",
        )

    @property
    def reaches(self) -> tuple[int, int]:
        """By how many milliseconds a row of the other side may be later at most, for each side."""
        return self.high, -self.low

    @property
    def hold(self) -> int:
        """By how many milliseconds its watermark trails that of its inputs: no row that it gives is behind it."""
        reaches = [self.high + (self.kind in ("LEFT", "FULL")), -self.low + (self.kind in ("RIGHT", "FULL"))]
        return max(0, *reaches)


@dataclass(frozen=True, eq=False, kw_only=True)
class TemporalJoin(TimedJoin):
    """Each row of the left with the version that a row of a table had at the time of the left.

    The right is what brings the versions: rows that come and are not taken back. ``theirs`` and the condition are about
    the columns of the table, which are made of them.

    Args:
        chain: filters and projections that make the table of the versions, the innermost first; a version that a
            filter leaves out is a deletion.
        number: a column of the chain's input that is always 1: of ROW_NUMBER(); None without.
        table: columns of the table.
        table_keys: as ``keys``, but by the names that the columns have in the table.
    """

    chain: tuple[Calc, ...]
    number: str | None
    table: tuple[Column, ...]
    table_keys: tuple[tuple[str, str], ...]

    @property
    def title(self) -> str:
        """Kind, keys and time."""
        return f"Temporal join, {self.kind.lower()},{self.by}, as of {self.times[0]}"

    @property
    def pair_keys(self) -> tuple[tuple[str, str], ...]:
        """Those of the table."""
        return self.table_keys

    def kept(self, ttl_ms: int | None) -> tuple[str, str]:
        """Rows that wait, and versions."""
        held = "rows of the left that the watermark has not passed; of each key the version that holds, and later ones"
        if ttl_ms is None:
            return held, "grows with the keys that are not deleted: SET 'table.exec.state.ttl' bounds it"
        return held, f"grows with the keys; dropped {duration(ttl_ms)} after the last row of the key"

    @property
    def right_columns(self) -> tuple[Column, ...]:
        """Those of the table."""
        return self.table

    def own(self, behind: str) -> str | None:
        """The column of a version that a column behind the join is, as it is."""
        return self.base(super().own(behind))

    def base(self, name: str | None) -> str | None:
        """The column of a version that a column of the table is, as it is; None if it is none."""
        for calc in reversed(self.chain):
            name = calc.origins.get(name) if name is not None else None
        return name

    def read(self, place: int, wanted: set[str]) -> set[str]:
        """Columns of an input that it needs, but for the time."""
        names = self.wanted(place, wanted)
        for calc in reversed(self.chain) if place == 1 else ():
            reads = set(calc.condition.reads) if calc.condition is not None else set()
            for name, item in zip(calc.names, calc.items, strict=True):
                if name in names:
                    reads |= item.reads
            names = reads
        return names - {self.number} if place == 1 and self.number is not None else names


def _shifted(time: str, by: int) -> str:
    return time if by == 0 else f"{time} {'+' if by > 0 else '-'} {duration(abs(by))}"
