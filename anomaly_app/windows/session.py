"""SESSION windows as an operator: one open session per key."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Any

from anomaly_app.operators import POSITION, TIME, Finding, Row
from anomaly_app.windows.accumulators import LAST, START, Group
from anomaly_app.windows.assign import Sessions
from anomaly_app.windows.operator import Grouping, WindowOperator
from anomaly_app.windows.store import Entries, Stored


class SessionOperator(WindowOperator):
    """SESSION over one partition. Rows come in order of time, so that sessions only grow and never merge."""

    def __init__(self, grouping: Grouping, sessions: Sessions) -> None:
        super().__init__(grouping)
        self._gap = sessions.gap_ms
        self._open: dict[Any, Group] = {}
        self._dirty: dict[Any, Group] = {}
        self._stored: dict[Any, Stored] = {}
        self._ended: list[tuple[Any, Group]] = []
        self._deleted: Entries = []
        self._timers: list[tuple[int, int, Any]] = []
        self._timed: set[Any] = set()
        """Keys with a timer. It may be that of an earlier end, or an earlier session: that shows when it is due."""
        self._number = 0

    def process(self, rows: Sequence[Row], watermark: int) -> list[Finding]:
        """Take rows in order of time, and move time."""
        self.update(rows, self._dirty.get, self._begin)
        return self.advance(watermark)

    def advance(self, watermark: int) -> list[Finding]:
        """Move time: sessions end, in order of their ends and last source rows."""
        self.reached = max(self.reached, self.complete(watermark))
        self._close_until(self.reached)
        if not self._ended:
            return []
        ended, self._ended = self._ended, []
        ended.sort(key=lambda one: (self._end(one[1]), one[1][LAST][POSITION]))
        found: list[Finding] = []
        for key, group in ended:
            self.give_out(found, key, group, group[START], self._end(group), 0)
        return found

    def due_ms(self) -> int | None:
        """Behind the end of a session, or of an earlier one of its key: rows may have come since."""
        return self._timers[0][0] + 1 if self._timers else None

    def _close_until(self, time: int) -> None:
        """Close the sessions that end at or before a time up to which no row is to come."""
        timers, open_ = self._timers, self._open
        # A row at the very end would still belong to the session.
        while timers and timers[0][0] <= time:
            due, number, key = timers[0]
            group = open_.get(key)
            if group is not None and self._end(group) > due:
                heapq.heapreplace(timers, (self._end(group), number, key))
                continue
            heapq.heappop(timers)
            self._timed.discard(key)
            if group is not None:
                self._close(key, group)

    def changes(self) -> Entries:
        """Sessions that changed, and those that are gone."""
        entries, self._deleted = self._deleted, []
        entries += self.codec.put(self._dirty, self._stored)
        self._dirty.clear()
        return entries

    def restore(self, state: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back the entries that ``changes`` has given."""
        groups, _ = self.codec.restore(state)
        for one in groups:
            self._open[one.key], self._stored[one.key] = one.group, one.stored
            self._set_timer(one.key, one.group)
        self.groups_held = len(groups)

    def _end(self, group: Group) -> int:
        return int(group[LAST][TIME]) + self._gap

    def _begin(self, key: Any, row: Row) -> Group | None:
        """The group of a row whose key has no session that was touched lately, or one that has ended."""
        group = self._open.get(key)
        if group is not None and row[TIME] > self._end(group):
            self._close(key, group)
            group = None
        if group is None:
            if self.groups_held >= self.grouping.most_groups:
                self._close_until(row[TIME] - 1)  # others that would be closed at the end of the batch
            if not self.room(row):
                return None
            group = self._open[key] = self.program.fresh()
            group[START] = row[TIME]
            group[LAST] = row
            self._set_timer(key, group)
        self._dirty[key] = group
        return group

    def _close(self, key: Any, group: Group) -> None:
        self._ended.append((key, group))
        self.groups_held -= 1
        del self._open[key]
        self._dirty.pop(key, None)
        stored = self._stored.pop(key, None)
        if stored is not None:
            self._deleted += self.codec.delete(group[START], key, stored)

    def _set_timer(self, key: Any, group: Group) -> None:
        if key not in self._timed:
            self._timed.add(key)
            self._number += 1
            heapq.heappush(self._timers, (self._end(group), self._number, key))
