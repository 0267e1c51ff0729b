"""A logical node as a vertex of the graph: what those that read it must know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anomaly_app.operators import Layout
from anomaly_app.schema import Column


@dataclass(frozen=True, slots=True)
class Built:
    """A node as a vertex.

    Args:
        vertex: its number.
        layout: columns of its rows.
        in_order: rows come in order of their time, and none is late.
        time: the column that the time of a row is; None if no column is.
        by_source: the rows are those of the source, perhaps with other columns.
        some: columns of the layout that somebody needs; None for all.
    """

    vertex: int
    layout: Layout
    in_order: bool
    time: str | None
    by_source: bool
    some: frozenset[str] | None = None

    @property
    def reads(self) -> frozenset[str]:
        """Columns that somebody needs: the others are not stored, since they may change with other queries."""
        return frozenset(column.name for column in self.layout.columns) if self.some is None else self.some

    def with_(self, added: Sequence[Column]) -> frozenset[str] | None:
        """Those of rows to which columns are added."""
        return None if self.some is None else self.some | {column.name for column in added}
