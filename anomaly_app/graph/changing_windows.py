"""GROUP BY windows over rows that may be taken back: out of a window that is open, not out of one that is over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from anomaly_app.expressions.typed import FAILURES
from anomaly_app.graph.aggregate import GroupCodec
from anomaly_app.graph.vertices import Entries, Flow, Vertex, origin_of
from anomaly_app.keyed import KeyedState
from anomaly_app.operators import COLUMNS, POSITION, Layout, Row
from anomaly_app.patterns.state import KeyCodec
from anomaly_app.schema import BIGINT, Column
from anomaly_app.windows.tallies import LAST, ROWS, Group, TallyProgram

_PLACE = b"l"
"""Begins the names of entries that tell where the last row of a group stood."""


@dataclass(frozen=True, slots=True)
class ChangingWindowsPlan:
    """Groups of windows that their rows carry.

    Args:
        layout: of the rows.
        change: index of the kind of change in a row.
        end: index of the end of its window.
        last_end: from a row to the end of the last window that it is in.
        program: of the groups; their key is start and end of the window, and the keys beside it.
        finish: (group, start, end, key beside the window) to the values of the result.
        keys: columns beside the window.
    """

    layout: Layout
    change: int
    end: int
    last_end: Callable[[Row], int]
    program: TallyProgram
    finish: Callable[[Group, int, int, Any], tuple[Any, ...]]
    keys: tuple[Column, ...]


class ChangingWindows(Vertex):
    """Groups of rows that carry their windows; a window is over when the watermark has reached its end less 1 ms.

    Rows must come one by one, since one that is taken back has the time that it came with: only the watermark in front
    of it tells whether its window is still open.

    Args:
        plan: of the query.
    """

    def __init__(self, plan: ChangingWindowsPlan) -> None:
        super().__init__(COLUMNS + len(plan.layout.columns))
        self._plan = plan
        columns = [Column("$start", BIGINT), Column("$end", BIGINT), *plan.keys]
        self._groups: KeyedState[Group] = KeyedState(columns, GroupCodec(plan.program))
        self._unknown = (None,) * len(plan.layout.columns)
        self._open: dict[int, set[Any]] = {}
        """Keys of the groups, by the end of their window."""
        self._last: dict[Any, Row] = {}
        """The last row of each group."""
        self._changed: set[Any] = set()
        self._keys, self._encoder = KeyCodec(columns), msgspec.msgpack.Encoder()

    def run(self, flows: Sequence[Flow]) -> Flow:
        """Take rows into groups and out of them, and give out windows that are over."""
        ((rows, watermark),) = flows
        plan, reached = self._plan, self.watermark
        if rows:
            self._take([row for row in rows if row[plan.end] - 1 > reached or self._drop(row)])
        found: list[Row] = []
        for end in sorted(end for end in self._open if end - 1 <= watermark):
            for key in sorted(self._open.pop(end), key=self._position):
                self._give_out(found, key)
        return Flow(found, watermark)

    def _take(self, rows: Sequence[Row]) -> None:
        touched: dict[Any, Group] = {}
        plan, live = self._plan, self._groups.live

        def begin(key: Any, row: Row) -> Group | None:
            group = live.get(key)
            if group is None:
                if row[plan.change] % 2:
                    self.counters.add("rows of no group taken back")
                    return None
                group = plan.program.fresh()
            touched[key] = group
            return group

        failed: list[tuple[Row, Exception]] = []
        plan.program.step(rows, touched.get, begin, failed, 0, None, None)
        for row, error in failed:
            self.fail(error, row)
        self._groups.put_all(touched)
        for key, group in touched.items():
            self._last[key], group[LAST] = group[LAST], None
            self._changed.add(key)
            if group[ROWS]:
                self._open.setdefault(key[1], set()).add(key)
            else:
                self._forget(key)

    def _forget(self, key: Any) -> None:
        self._groups.delete(key)
        self._changed.add(key)
        del self._last[key]
        keys = self._open.get(key[1])
        if keys is not None:
            keys.discard(key)
            if not keys:
                del self._open[key[1]]

    def _drop(self, row: Row) -> bool:
        """A row whose window is over; it is late if it comes, and its last window is over."""
        if row[self._plan.change] % 2:
            self.counters.add("rows taken back behind their window")
        elif self._plan.last_end(row) - 1 <= self.watermark and row[self._plan.end] == self._plan.last_end(row):
            self.counters.add("late")
            self.late.append(row)
        return False

    def _position(self, key: Any) -> tuple[int, str]:
        return self._last[key][POSITION], repr(key)

    def _give_out(self, found: list[Row], key: Any) -> None:
        group, last = self._groups.live[key], self._last[key]
        start, end, *others = key
        self._forget(key)
        try:
            values = self._plan.finish(group, start, end, others)
        except FAILURES as error:
            self.fail(error, last)
        else:
            found.append((end - 1, last[POSITION], *values, origin_of(last, self.width, 0)))

    def changes(self) -> Entries:
        """Groups that changed, with where their last row stood, and those that are gone."""
        changed, self._changed = self._changed, set()
        for key in changed:
            row = self._last.get(key)
            place = None if row is None else self._encoder.encode((row[POSITION], row[self.width :]))
            yield _PLACE + self._keys.encode(key), place
        yield from self._groups.changes()

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back the groups of open windows."""
        groups: list[tuple[bytes, bytes]] = []
        for name, data in entries:
            if not name.startswith(_PLACE):
                groups.append((name, data))
                continue
            position, behind = msgspec.msgpack.decode(data)
            if len(behind) == 1:  # an origin
                path, *place = behind[0]
                behind = ((tuple(path), *place),)
            key = self._keys.decode(name[1:])
            self._last[key] = (key[1] - 1, position, *self._unknown, *behind)
            self._open.setdefault(key[1], set()).add(key)
        self._groups.restore(groups)
