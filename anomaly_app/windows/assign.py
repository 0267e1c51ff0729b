"""Which windows a time lies in: windows on a grid, and sessions.

Times are milliseconds since 1970 (UTC). A window holds the times from its start up to, and without, its end. A grid is
cut into slices: a row is taken into one slice, however many windows it lies in, and a window is made of slices when it
ends (J. Traub et al., "Scotty: General and Efficient Open-source Window Aggregation", TODS 46, 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

UNITS = ((86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second"), (1, "millisecond"))


@dataclass(frozen=True, slots=True)
class Grid:
    """Windows that begin and end on a grid: TUMBLE, HOP and CUMULATE.

    Args:
        size_ms: of a whole window.
        step_ms: of a slice: the size of TUMBLE, the slide of HOP, the step of CUMULATE.
        offset_ms: of the grid against the epoch.
        cumulates: windows grow by the step up to the size, and begin anew.

    Example:
        >>> hop = Grid(size_ms=10, step_ms=5)
        >>> hop.slice(12), hop.start(15), hop.last_end(10)
        (10, 5, 20)
        >>> day = Grid(size_ms=24, step_ms=1, cumulates=True)
        >>> day.start(27), day.last_end(26)
        (24, 48)
    """

    size_ms: int
    step_ms: int
    offset_ms: int = 0
    cumulates: bool = False

    def slice(self, time: int) -> int:
        """Start of the slice that a time lies in."""
        return time - (time - self.offset_ms) % self.step_ms

    def start(self, end: int) -> int:
        """Start of the window with this end."""
        return self._whole(end - 1) if self.cumulates else end - self.size_ms

    def last_end(self, slice_: int) -> int:
        """End of the last window that a slice is part of."""
        return (self._whole(slice_) if self.cumulates else slice_) + self.size_ms

    def _whole(self, time: int) -> int:
        return time - (time - self.offset_ms) % self.size_ms

    @property
    def shares(self) -> bool:
        """Whether a row may lie in several windows."""
        return self.size_ms > self.step_ms

    @property
    def words(self) -> str:
        """For people."""
        size, step = in_words(self.size_ms), in_words(self.step_ms)
        offset = f", {in_words(self.offset_ms)} off the grid" if self.offset_ms else ""
        if not self.shares:
            return f"windows of {size}{offset}"
        if self.cumulates:
            return f"windows that grow by {step} up to {size}{offset}"
        return f"windows of {size}, one every {step}{offset}"


@dataclass(frozen=True, slots=True)
class Sessions:
    """Windows of activity: a session ends ``gap_ms`` behind its last row. A row just at the end still belongs to it.

    Args:
        gap_ms: without a row of the key that ends its session.
    """

    gap_ms: int

    @property
    def words(self) -> str:
        """For people."""
        return f"sessions, which end when no row comes for {in_words(self.gap_ms)}"


def in_words(millis: int) -> str:
    """A duration in its largest whole unit.

    Example:
        >>> in_words(300_000), in_words(1_500), in_words(86_400_000)
        ('5 minutes', '1500 milliseconds', '1 day')
    """
    for length, name in UNITS:
        number, rest = divmod(millis, length)
        if not rest and number:
            return f"{number} {name}{'' if abs(number) == 1 else 's'}"
    return "0 milliseconds"
