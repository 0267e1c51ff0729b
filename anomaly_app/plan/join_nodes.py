"""Joins by time: rows of two relations whose times are near each other, or the version that a row had at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anomaly_app.plan.nodes import Node
from anomaly_app.words import duration

if TYPE_CHECKING:
    from anomaly_app.plan.scope import Expression


@dataclass(frozen=True, eq=False, kw_only=True)
class TimedJoin(Node):
    """What joins by time share.

    Args:
        kind: ``INNER``, ``LEFT``, ``RIGHT`` or ``FULL``.
        left: whose rows.
        right: and whose.
        keys: columns that are equal, of the left and of the right.
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

    @property
    def row_time(self) -> str | None:
        """The column that the time of a row is; None if it is now one and now the other."""
        if self.kind == "FULL":
            return None
        return self.theirs[self.times[1]] if self.kind == "RIGHT" else self.times[0]

    def read(self, place: int, wanted: set[str]) -> set[str]:
        """Columns of a side that it reads, so that it can give the wanted ones; but for the time."""
        names = wanted | self.condition.reads if self.condition is not None else wanted
        behind = {name: name for name in self.left.names} if place == 0 else self.theirs
        return {own for own, name in behind.items() if name in names} | {key[place] for key in self.keys}


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
    """Each row of the left with the version that a row of the right had at the time of the left.

    Args:
        versions: why the right is a versioned table, in words.
    """

    versions: str

    @property
    def title(self) -> str:
        """Kind, keys and time."""
        return f"Temporal join, {self.kind.lower()},{self.by}, as of {self.times[0]}"


def _shifted(time: str, by: int) -> str:
    return time if by == 0 else f"{time} {'+' if by > 0 else '-'} {duration(abs(by))}"
