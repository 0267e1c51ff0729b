"""A table on a page of the terminal: which of its rows and columns are to be seen, and where the reader is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from prompt_toolkit.utils import get_cwidth

from anomaly_app.schema import Column
from anomaly_app.shell.cells import cells_function, fitted, width_of
from anomaly_app.shell.tableau import OP
from anomaly_app.shell.views import Changes, left_of

GAP = "  "
"""Between two columns."""


class Line(NamedTuple):
    """A line of the page; ``here`` is that of the reader."""

    text: str
    here: bool = False


class Content(Protocol):
    """Rows that come and go."""

    dropped: int
    """How many are not kept any more."""

    def take(self, changes: Changes) -> None:
        """Some more."""

    def rows(self) -> Sequence[tuple[Any, ...]]:
        """Those that are there, with the op in front if it has one."""


class Log:
    """Changes as they come, with the op in front.

    Args:
        most: that are kept; beyond it the oldest go.

    Example:
        >>> from anomaly_app.changes import Change
        >>> log = Log(2)
        >>> log.take([(Change.INSERT, ("a",)), (Change.BEFORE, ("a",)), (Change.AFTER, ("b",))])
        >>> log.rows(), log.dropped
        ([('-U', 'a'), ('+U', 'b')], 1)
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: list[tuple[Any, ...]] = []
        self.dropped = 0

    def take(self, changes: Changes) -> None:
        """Some more."""
        self._rows += [(change.symbol, *row) for change, row in changes]
        excess = len(self._rows) - self._most
        if excess > 0:
            del self._rows[:excess]
            self.dropped += excess

    def rows(self) -> Sequence[tuple[Any, ...]]:
        """Those that are kept."""
        return self._rows


class Sheet:
    """The page of a result.

    Args:
        columns: of the rows.
        width: of columns whose values may be of any length.
        most: rows that are kept.
        changes: it shows all changes, and not what they add up to.

    Attributes:
        following: the reader is at the end, and stays there when rows come.
        count: changes that have come.
        opened: the row that the reader looks at alone.

    Example:
        >>> from anomaly_app.changes import Change
        >>> from anomaly_app.schema import INT
        >>> sheet = Sheet([Column("n", INT)], 30, 100, changes=False)
        >>> sheet.take([(Change.INSERT, (number,)) for number in range(5)])
        >>> [line.text.strip() for line in sheet.lines(3, 80)], sheet.place
        (['2', '3', '4'], (5, 5))
    """

    def __init__(self, columns: Sequence[Column], width: int, most: int, *, changes: bool) -> None:
        cells = cells_function(columns)
        self._fixed = int(changes)
        self._content: Content = Log(most) if changes else left_of(columns, most)
        names, widths = [column.name for column in columns], [width_of(column.type, width) for column in columns]
        self.names = [OP, *names] if changes else names
        widths = [len(OP), *widths] if changes else widths
        self._widths = [max(get_cwidth(name), wide) for name, wide in zip(self.names, widths, strict=True)]
        self._to_cells: Callable[[Sequence[Any]], list[tuple[str, ...]]] = cells
        if changes:
            self._to_cells = lambda rows: [
                (row[0], *told) for row, told in zip(rows, cells([row[1:] for row in rows]), strict=True)
            ]
        self.following, self.count = True, 0
        self.opened: list[tuple[str, str]] | None = None
        self._here = self._top = 0
        self._left = self._fixed
        self._height = 1

    def take(self, changes: Changes) -> None:
        """Rows come, perhaps none."""
        before = self._content.dropped
        self._content.take(changes)
        self.count += len(changes)
        gone = self._content.dropped - before
        if gone and not self.following:  # the reader stays at the row
            self._here, self._top = max(0, self._here - gone), max(0, self._top - gone)

    @property
    def place(self) -> tuple[int, int]:
        """Number of the reader's row, from 1, and how many there are."""
        rows = len(self._content.rows())
        return min(self._here + 1, rows), rows

    @property
    def dropped(self) -> int:
        """Rows that are not kept any more."""
        return self._content.dropped

    # --- what is to be seen -------------------------------------------------------------------------

    def head(self, width: int) -> str:
        """Names of the columns."""
        return self._line(self.names, width)

    def lines(self, height: int, width: int) -> list[Line]:
        """The rows that are to be seen.

        Args:
            height: lines that there is room for.
            width: columns of the terminal that there is room for.
        """
        rows = self._content.rows()
        self._height = max(1, height)
        last = max(0, len(rows) - 1)
        self._here = last if self.following else min(self._here, last)
        self._top = min(max(self._top, self._here - self._height + 1, 0), self._here, max(0, len(rows) - self._height))
        shown = rows[self._top : self._top + self._height]
        return [
            Line(self._line(cells, width), number == self._here)
            for number, cells in enumerate(self._to_cells(shown), self._top)
        ]

    def _line(self, cells: Sequence[str], width: int) -> str:
        numbers = [*range(self._fixed), *range(self._left, len(self._widths))]
        text = GAP.join([fitted(cells[number], self._widths[number]) for number in numbers])
        while get_cwidth(text) > width:
            text = text[: width - get_cwidth(text)]
        return text

    # --- where the reader goes ----------------------------------------------------------------------

    def move(self, rows: int) -> None:
        """Down so many rows, or up; whoever comes to the end follows it."""
        last = max(0, len(self._content.rows()) - 1)
        self._here = min(max(self._here + rows, 0), last)
        self.following = self._here == last and rows > 0

    def turn(self, pages: int) -> None:
        """The same by pages."""
        self.move(pages * self._height)

    def first(self) -> None:
        """To the first row."""
        self._here, self.following = 0, False

    def last(self) -> None:
        """To the last row, and along with those that come."""
        self.following = True

    def sideways(self, columns: int) -> None:
        """Right so many columns, or left."""
        self._left = min(max(self._left + columns, self._fixed), len(self._widths) - 1)

    def open(self) -> None:
        """Look at one row alone: name and whole text of each of its cells."""
        rows = self._content.rows()
        if rows:
            (cells,) = self._to_cells(rows[self._here : self._here + 1])
            self.opened = list(zip(self.names, cells, strict=True))

    def shut(self) -> None:
        """Back to all rows."""
        self.opened = None
