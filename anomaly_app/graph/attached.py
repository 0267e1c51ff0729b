"""GROUP BY the edges of windows that the rows carry: aggregates of what other windows gave out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from anomaly_app.graph.vertices import Entries, Flow, Vertex, origin_of
from anomaly_app.operators import COLUMNS, Layout, Row
from anomaly_app.schema import Column
from anomaly_app.windows.accumulators import LAST, START, Group, Program
from anomaly_app.windows.store import GroupCodec, Stored


class AttachedWindows(Vertex):
    """Groups of rows that carry their windows; a window is over when the watermark has reached its end less 1 ms.

    Args:
        program: of the groups; its key begins with start and end of the window.
        finish: (group, start, end) to the values of the result; None if a condition does not hold.
        layout: of the rows.
        keys: columns of the key: start, end, and further ones.
        reads: names of the columns that somebody needs: the others are not stored.
        end: index of the end of the window in a row.
    """

    def __init__(
        self,
        program: Program,
        finish: Callable[[Group, int, int], tuple[Any, ...] | None],
        layout: Layout,
        keys: Sequence[Column],
        reads: Collection[str],
        end: int,
    ) -> None:
        super().__init__(COLUMNS + len(layout.columns))
        self._program, self._finish, self._end = program, finish, end
        self._codec = GroupCodec(program, layout, keys, reads)
        self._groups: dict[int, dict[Any, Group]] = {}
        self._dirty: dict[Any, Group] = {}
        self._stored: dict[Any, Stored] = {}
        self._deleted: list[tuple[bytes, bytes | None]] = []

    def run(self, flows: Sequence[Flow]) -> Flow:
        """Take rows into groups, and give out windows that are over."""
        ((rows, watermark),) = flows
        end, reached = self._end, self.watermark
        if rows:
            if any(row[end] - 1 <= reached for row in rows):
                late = [row for row in rows if row[end] - 1 <= reached]
                self.counters.add("late", len(late))
                self.late += late
                rows = [row for row in rows if row[end] - 1 > reached]
            failed: list[tuple[Row, Exception]] = []
            self._program.update(rows, self._dirty.get, self._begin, failed)
            for row, error in failed:
                self.fail(error, row)
        found: list[Row] = []
        for one in sorted(one for one in self._groups if one - 1 <= watermark):
            for key, group in self._groups.pop(one).items():
                self._give_out(found, key, group, one)
        return Flow(found, watermark)

    def _begin(self, key: Any, row: Row) -> Group:
        of_end = self._groups.setdefault(row[self._end], {})
        group = of_end.get(key)
        if group is None:
            group = of_end[key] = self._program.fresh()
            group[START] = 0
        self._dirty[key] = group
        return group

    def _give_out(self, found: list[Row], key: Any, group: Group, end: int) -> None:
        self._dirty.pop(key, None)
        stored = self._stored.pop(key, None)
        if stored is not None:
            self._deleted += self._codec.delete(0, key, stored)
        values = self._finish(group, key[0], end)
        if values is not None:
            last = group[LAST]
            found.append((end - 1, last[1], *values, origin_of(last, self.width, 0)))

    def changes(self) -> Entries:
        """Groups that changed, and those that are gone."""
        entries, self._deleted = self._deleted, []
        entries += self._codec.put(self._dirty, self._stored)
        self._dirty.clear()
        return entries

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back the groups."""
        groups, _ = self._codec.restore(entries)
        for one in groups:
            self._groups.setdefault(one.key[1], {})[one.key] = one.group
            self._stored[one.key] = one.stored
