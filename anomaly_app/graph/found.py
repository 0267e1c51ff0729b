"""Rows of the result of a graph as findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anomaly_app.graph.vertices import digest_of
from anomaly_app.operators import COLUMNS, POSITION, TIME, Finding, Layout, Row


@dataclass(frozen=True, slots=True)
class Role:
    """A row that a row of the result is made of, and that is told with it.

    Args:
        name: what it is in the query, such as the alias of its table.
        layout: of the row.
    """

    name: str
    layout: Layout


@dataclass(frozen=True, slots=True)
class Made:
    """How the rows of a result look.

    Args:
        end: where their columns end.
        width: where their origin stands.
        unknown: columns of a source row, which are not known any more.
        by_path: their number is made of the way that they came, and not of their values too.
        roles: rows behind the columns.
        steady: places of the columns whose values are the same in a replay; None for all.
    """

    end: int
    width: int
    unknown: Row
    by_path: bool
    roles: tuple[Role, ...]
    steady: tuple[int, ...] | None


class DerivedFinding(Finding):
    """A row of the result. What an alert tells of it is made when somebody asks: a query in memory never does.

    Args:
        row: the row.
        made: how it looks.
        change: what it does to the result.
    """

    __slots__ = ("_made", "_row")

    key = ()
    alert = True
    score = None
    explanation = ""
    timed_out = False

    def __init__(self, row: Row, made: Made, change: int = 0) -> None:
        self.time = row[TIME]
        self.values = row[COLUMNS : made.end]
        self.change = change
        self._row = row
        self._made = made

    @property
    def last(self) -> Row:
        """A row that stands where the last source row did that it was made of."""
        return source_row(self._row, self._made.width, self._made.unknown)

    @last.setter
    def last(self, row: Row) -> None:
        raise AttributeError("the last row of a derived row follows from its origin")

    @property
    def number(self) -> int:
        """Tells rows of one last source row apart, and is the same in a replay."""
        row, made = self._row, self._made
        if len(row) != made.width + 1:
            return 0
        path = row[made.width][0]
        if made.steady is not None and not made.by_path:
            return digest_of((path, [row[place] for place in made.steady]))
        return digest_of(path if made.by_path else (path, row[COLUMNS : made.width - len(made.roles)]))

    @number.setter
    def number(self, number: int) -> None:
        raise AttributeError("the number of a derived row follows from its origin")

    @property
    def bindings(self) -> Sequence[tuple[str, Row]]:
        """The rows that it was made of, if they are known."""
        roles = self._made.roles
        if not roles:
            return ()
        rows = self._row[self._made.end : self._made.width]
        return [(role.name, row) for role, row in zip(roles, rows, strict=True) if row is not None]

    @bindings.setter
    def bindings(self, bindings: Sequence[tuple[str, Row]]) -> None:
        raise AttributeError("the rows that a derived row was made of stand in it")


def source_row(row: Row, width: int, unknown: Row) -> Row:
    """A row that stands where the last source row did that one was made of; the columns are not known any more.

    Args:
        row: the row.
        width: where its origin stands.
        unknown: columns of a source row.
    """
    behind = row[width:]
    if len(behind) == 1:
        _, position, *place = behind[0]
        return (row[TIME], position, *unknown, *place)
    return (row[TIME], row[POSITION], *unknown, *behind)
