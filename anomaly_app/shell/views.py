"""Results as lines: each row as it comes, or what is left at the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from anomaly_app.changes import Change
from anomaly_app.formats.plain import plain
from anomaly_app.formats.rowcode import rows_function
from anomaly_app.formats.values import to_python
from anomaly_app.schema import Column
from anomaly_app.shell.cells import cells_function
from anomaly_app.shell.left import Left
from anomaly_app.shell.tableau import Tableau, rows_in_set

Changes = Sequence[tuple[Change, tuple[Any, ...]]]
"""What happened, and to which row, in memory form."""

Write = Callable[[str], None]
"""Takes a line."""


class View(Protocol):
    """Takes a result while it comes."""

    def take(self, changes: Changes) -> None:
        """Some more of it, perhaps nothing."""

    def end(self, *, stopped: bool) -> None:
        """It is complete, or was ``stopped``."""


class TableauView:
    """Each row as it comes, with what happened to it, in columns as wide as the types may need.

    Args:
        columns: of the rows.
        width: of columns whose values may be of any length.
        write: takes lines of the table.
        note: takes what is told besides.
    """

    def __init__(self, columns: Sequence[Column], width: int, write: Write, note: Write) -> None:
        self._tableau = Tableau.of_types(columns, width)
        self._cells, self._write, self._note = cells_function(columns), write, note
        self._count = 0
        for line in self._tableau.head():
            write(line)

    def take(self, changes: Changes) -> None:
        """Print them."""
        cells = self._cells([row for _, row in changes])
        for (change, _), row in zip(changes, cells, strict=True):
            self._write(self._tableau.row([change.symbol, *row]))
        self._count += len(changes)

    def end(self, *, stopped: bool) -> None:
        """The line below, and how many rows there were."""
        if self._count:
            self._write(self._tableau.border)
        self._note(received(self._count, stopped=stopped))


class LeftView:
    """What is left at the end; arguments as of :class:`TableauView`.

    Args:
        columns: of the rows.
        width: of columns whose values may be of any length.
        most: rows that are kept.
        write: takes lines of the table.
        note: takes what is told besides.
    """

    def __init__(self, columns: Sequence[Column], width: int, most: int, write: Write, note: Write) -> None:
        self._tableau = Tableau.of_types(columns, width, with_op=False)
        self._cells, self._write, self._note = cells_function(columns), write, note
        self._left = left_of(columns, most)

    def take(self, changes: Changes) -> None:
        """Keep what stands."""
        self._left.take(changes)

    def end(self, *, stopped: bool) -> None:
        """Print it."""
        rows = self._left.rows()
        if rows:
            for line in self._tableau.head():
                self._write(line)
            for row in self._cells(rows):
                self._write(self._tableau.row(row))
            self._write(self._tableau.border)
        self._note(rows_in_set(len(rows)))
        if self._left.dropped:
            self._note(f"{self._left.dropped:,} older rows are not shown")


class JsonView:
    """Each row as it comes, as an object in a line, with what happened to it.

    Args:
        columns: of the rows.
        write: takes lines.
        left: only what is left at the end is printed, and this keeps it.
    """

    def __init__(self, columns: Sequence[Column], write: Write, left: Left | None = None) -> None:
        places = [f"r[{number}]" for number in range(len(columns))]
        self._python = rows_function(places, [to_python(column.type) for column in columns])
        self._names = [(column.name, str(column.type)) for column in columns]
        self._write, self._left = write, left

    def take(self, changes: Changes) -> None:
        """Print them, or keep what stands."""
        if self._left is not None:
            self._left.take(changes)
        else:
            self._print(changes)

    def _print(self, changes: Changes) -> None:
        rows = self._python([row for _, row in changes])
        for (change, _), row in zip(changes, rows, strict=True):
            values = {name: plain(value, type_) for (name, type_), value in zip(self._names, row, strict=True)}
            self._write(json.dumps({"op": change.symbol, "row": values}, ensure_ascii=False, default=str))

    def end(self, *, stopped: bool) -> None:
        """What is left."""
        if self._left is not None:
            self._print([(Change.INSERT, row) for row in self._left.rows()])


def left_of(columns: Sequence[Column], most: int) -> Left:
    """For rows of these columns: what looks the same is the same."""
    cells = cells_function(columns)
    return Left(most, key=lambda row: cells([row])[0])


def received(count: int, *, stopped: bool) -> str:
    """How many changes there were, in the words of Flink.

    Example:
        >>> received(1, stopped=False)
        'Received a total of 1 row'
    """
    rows = f"{count:,} {'rows' if count > 1 else 'row'}"
    return f"Query terminated, received a total of {rows}" if stopped else f"Received a total of {rows}"
