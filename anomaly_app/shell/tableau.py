"""Tables of plain lines, drawn as Flink draws them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prompt_toolkit.utils import get_cwidth

from anomaly_app.schema import Column
from anomaly_app.shell.cells import fitted, width_of

OP = "op"
"""Name of the column that tells what happened to a row: +I, -U, +U or -D."""


class Tableau:
    r"""Lines of a table.

    Args:
        names: of the columns.
        widths: of their cells; a cell that does not fit is cut.

    Example:
        >>> tableau = Tableau(["op", "name"], [2, 6])
        >>> print("\n".join([*tableau.head(), tableau.row(["+I", "anomaly"]), tableau.border]))
        +----+--------+
        | op |   name |
        +----+--------+
        | +I | ano... |
        +----+--------+
    """

    def __init__(self, names: Sequence[str], widths: Sequence[int]) -> None:
        self._names = names
        self._widths = [max(width, get_cwidth(name)) for name, width in zip(names, widths, strict=True)]
        self.border = f"+{'+'.join('-' * (width + 2) for width in self._widths)}+"

    @classmethod
    def of_types(cls, columns: Sequence[Column], most: int, *, with_op: bool = True) -> Tableau:
        """For rows that are yet to come.

        Args:
            columns: of the rows.
            most: width of columns whose values may be of any length.
            with_op: a column for what happened to a row stands in front.
        """
        names, widths = [column.name for column in columns], [width_of(column.type, most) for column in columns]
        return cls([OP, *names], [len(OP), *widths]) if with_op else cls(names, widths)

    @classmethod
    def of_cells(cls, names: Sequence[str], rows: Iterable[Sequence[str]]) -> Tableau:
        """For rows that are there: none is cut."""
        widths = [0] * len(names)
        for row in rows:
            widths = [max(width, get_cwidth(cell)) for width, cell in zip(widths, row, strict=True)]
        return cls(names, widths)

    def head(self) -> list[str]:
        """The lines above the first row."""
        return [self.border, self.row(self._names), self.border]

    def row(self, cells: Sequence[str]) -> str:
        """The line of a row."""
        return f"| {' | '.join([fitted(cell, width) for cell, width in zip(cells, self._widths, strict=True)])} |"


def rows_in_set(count: int) -> str:
    """What stands below a table that is complete.

    Example:
        >>> rows_in_set(0), rows_in_set(1), rows_in_set(2)
        ('Empty set', '1 row in set', '2 rows in set')
    """
    return "Empty set" if not count else f"{count:,} {'row' if count == 1 else 'rows'} in set"
