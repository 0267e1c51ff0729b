"""SESSION windows as an operator: the open sessions of each key."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Any

from anomaly_app.operators import MAX_WATERMARK, POSITION, TIME, Finding, Row
from anomaly_app.windows.accumulators import HIGH, LAST, LOW, START, Group
from anomaly_app.windows.assign import Sessions
from anomaly_app.windows.operator import Behind, Grouping, WindowOperator
from anomaly_app.windows.store import Entries, Stored


class SessionOperator(WindowOperator):
    """SESSION over one partition.

    A key may have several open sessions: those that the watermark has not reached. A row that comes between two of
    them makes them one.
    """

    def __init__(self, grouping: Grouping, sessions: Sessions) -> None:
        super().__init__(grouping)
        self._gap = sessions.gap_ms
        # By arrival, a row of the present millisecond may still belong to a session that ends in it.
        self._ends_by = 0 if grouping.by_arrival else 1
        self._open: dict[Any, list[Group]] = {}
        """In order of time. No row could belong to two of a key, or they would be one."""
        self._dirty: dict[Any, Group] = {}
        """The latest session of a key, if it changed since it was stored. All rows ask here first."""
        self._others: dict[tuple[Any, int], Group] = {}
        """Other sessions that changed, by key and the time that names them."""
        self._stored: dict[tuple[Any, int], Stored] = {}
        """Of each session, by key and the time that names it."""
        self._ended: list[tuple[int, int, int, Any, Group]] = []
        """Sessions to be given out: end and position of the last row, a number, key and session."""
        self._deleted: Entries = []
        self._timers: list[tuple[int, int, Any]] = []
        self._timed: dict[Any, int] = {}
        """Time of the first timer of a key. It may be that of an earlier end: that shows when it is due."""
        self._number = 0

    def take(self, rows: Sequence[Row], times: Sequence[int], behind: Behind, *, in_order: bool) -> list[Finding]:
        """Take rows into sessions; those that end between them are closed in between."""
        first = 0
        if behind and self._may_end(min(times), behind[-1][1] + self._ends_by):
            first = self._take_behind(rows, times, behind)
        self._fill(rows[first:] if first else rows)
        return []

    def _may_end(self, low: int, limit: int) -> bool:
        """Whether a session may end up to this time, those of rows from ``low`` on included."""
        return low + self._gap <= limit or bool(self._timers and self._timers[0][0] <= limit)

    def _take_behind(self, rows: Sequence[Row], times: Sequence[int], behind: Behind) -> int:
        """Find the late rows, and close what ends in front of a row behind the watermark.

        Returns:
            Number of the first row that is not taken yet.
        """
        gap, timers = self._gap, self._timers
        first = seen = 0
        low = MAX_WATERMARK  # least time of the rows that are not taken yet
        for number, reached in behind:
            if number > seen:
                low = min(low, *times[seen:number])
                seen = number
            limit = reached + self._ends_by
            if low + gap <= limit or (timers and timers[0][0] <= limit):
                self._fill(rows[first:number])
                self._close_until(limit)
                first, low = number, MAX_WATERMARK
            row = rows[number]
            if row[TIME] + gap <= limit:
                # A session of its own would be over: only one that is still open can take it.
                self._fill(rows[first:number])
                first, low = number, MAX_WATERMARK
                if not self._touched(self.program.key(row), row[TIME]):
                    self.drop(row)
                    first = seen = number + 1
        return first

    def _fill(self, rows: Sequence[Row]) -> None:
        self.update(rows, self._dirty.get, self._begin)

    def move(self, time: int) -> list[Finding]:
        """Sessions end, in order of their ends and last source rows."""
        self.reached = max(self.reached, time)
        self._close_until(self.reached + self._ends_by)
        if not self._ended:
            return []
        ended, self._ended = self._ended, []
        ended.sort()  # the number keeps keys from being compared
        found: list[Finding] = []
        for _, _, _, key, group in ended:
            self.give_out(found, key, group, group[LOW], group[HIGH] + self._gap, 0)
        return found

    def due_ms(self) -> int | None:
        """Behind the end of a session, or of an earlier one of its key: rows may have come since."""
        return self._timers[0][0] + 1 if self._timers else None

    def changes(self) -> Entries:
        """Sessions that changed, and those that are gone."""
        entries, self._deleted = self._deleted, []
        for changed in ({(key, group[START]): group for key, group in self._dirty.items()}, self._others):
            entries += self.codec.put(changed, self._stored, [key for key, _ in changed])
        self._dirty.clear()
        self._others.clear()
        return entries

    def restore(self, state: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back the entries that ``changes`` has given."""
        groups, _ = self.codec.restore(state)
        for one in groups:
            self._open.setdefault(one.key, []).append(one.group)
            self._stored[one.key, one.start] = one.stored
        for key, sessions in self._open.items():
            sessions.sort(key=lambda group: int(group[LOW]))
            self._set_timer(key, sessions)
        self.groups_held = len(groups)

    # --- rows in --------------------------------------------------------------------------------------

    def _touched(self, key: Any, time: int) -> list[Group]:
        """The open sessions that a row belongs to: none, one or two neighbours."""
        gap, found = self._gap, list[Group]()
        for group in reversed(self._open.get(key, ())):
            if group[HIGH] + gap < time:
                break
            if group[LOW] - gap <= time:
                found.append(group)
        found.reverse()
        return found

    def _begin(self, key: Any, row: Row) -> Group | None:
        """The session of a row that does not just go on with the latest of its key, or is the first to change it."""
        time = row[TIME]
        sessions = self._open.get(key)
        if sessions is None:
            if not self.room(row):
                return None
            group = self._dirty[key] = self._fresh(row, time)
            sessions = self._open[key] = [group]
            self._set_timer(key, sessions)
            return group
        group = sessions[-1]
        # Rows in front of it may be about an earlier one, too.
        if group[LOW] - (self._gap if len(sessions) == 1 else 0) <= time <= group[HIGH] + self._gap:
            if self._others:
                self._others.pop((key, group[START]), None)
            self._dirty[key] = group
            if time > group[HIGH]:
                group[HIGH] = time
            elif time < group[LOW]:
                group[LOW] = time
            return group
        touched = self._touched(key, time)
        if touched:
            group = touched[0]
            for other in touched[1:]:
                self.program.merge(group, other)
                sessions.remove(other)
                self._forget(key, other)
            group[LOW], group[HIGH] = min(group[LOW], time), max(group[HIGH], time)
        else:
            if not self.room(row):
                return None
            group = self._fresh(row, time)
            sessions.append(group)
            sessions.sort(key=lambda group: int(group[LOW]))
        latest = self._dirty.get(key)
        if latest is not None and latest is not sessions[-1]:
            self._others[key, latest[START]] = self._dirty.pop(key)
        self._set_timer(key, sessions)
        if group is sessions[-1]:
            self._others.pop((key, group[START]), None)
            self._dirty[key] = group
        else:
            self._others[key, group[START]] = group
        return group

    def _fresh(self, row: Row, time: int) -> Group:
        """A session of one row, which is still to be added up."""
        group = self.program.fresh()
        group[START] = group[LOW] = group[HIGH] = time
        group[LAST] = row
        return group

    # --- sessions out ---------------------------------------------------------------------------------

    def _close_until(self, limit: int) -> None:
        """Close the sessions that end at or before this time."""
        timers, gap, ended = self._timers, self._gap, self._ended
        while timers and timers[0][0] <= limit:
            due, _, key = heapq.heappop(timers)
            if self._timed.get(key) != due:
                continue  # an earlier one has been set since
            del self._timed[key]
            sessions = self._open.get(key)
            if sessions is None:
                continue
            # Each session ends behind all earlier ones of its key.
            while sessions and sessions[0][HIGH] + gap <= limit:
                group = sessions.pop(0)
                ended.append((group[HIGH], group[LAST][POSITION], len(ended), key, group))
                self._forget(key, group)
            if sessions:
                self._set_timer(key, sessions)
            else:
                del self._open[key]

    def _forget(self, key: Any, group: Group) -> None:
        """A session is over, or part of another one."""
        self.groups_held -= 1
        if self._dirty.get(key) is group:
            del self._dirty[key]
        if self._others:
            self._others.pop((key, group[START]), None)
        stored = self._stored.pop((key, group[START]), None) if self._stored else None
        if stored is not None:
            self._deleted += self.codec.delete(group[START], key, stored)

    def _set_timer(self, key: Any, sessions: Sequence[Group]) -> None:
        """See to it that there is a timer no later than the first end."""
        end, known = sessions[0][HIGH] + self._gap, self._timed.get(key)
        if known is None or end < known:
            self._timed[key] = end
            self._number += 1
            heapq.heappush(self._timers, (end, self._number, key))
