"""GROUP BY windows as an operator: groups by slice and key, given out when the watermark reaches the end of a window.

Rows come as they arrive. A window takes a row as long as it has not been given out, however far the row is behind the
watermark; late is a row whose last window has been.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeAlias

from anomaly_app.errors import AnomalyError, EvaluationError, LimitError
from anomaly_app.expressions.typed import FAILURES
from anomaly_app.operators import (
    MAX_WATERMARK,
    MIN_WATERMARK,
    POSITION,
    TIME,
    Arrivals,
    Counters,
    Finding,
    Layout,
    Problem,
    Row,
)
from anomaly_app.schema import Column
from anomaly_app.windows.accumulators import LAST, START, Group, Program
from anomaly_app.windows.assign import Grid, Sessions
from anomaly_app.windows.store import Entries, GroupCodec, Stored

_time = itemgetter(TIME)

Behind: TypeAlias = Sequence[tuple[int, int]]
"""Rows behind the watermark, as :class:`~anomaly_app.operators.Arrivals` tells them."""


@dataclass(slots=True)
class Grouping:
    """A compiled windowed aggregation, for rows of one layout.

    Args:
        windows: which.
        program: of its groups.
        finish: (group, start and end of its window in ms) to the output row; None if HAVING does not hold.
        layout: of the rows.
        reads: names of the columns that it reads.
        keys: columns that key it.
        by_arrival: rows are in order of arrival: more rows of the present millisecond may come.
        most_groups: that one partition may hold.
    """

    windows: Grid | Sessions
    program: Program
    finish: Callable[[Group, int, int], tuple[Any, ...] | None]
    layout: Layout
    reads: Collection[str]
    keys: Sequence[Column]
    by_arrival: bool
    most_groups: int


class WindowOperator:
    """What both kinds of windows share: rows that fail, that are late, the bound on groups, output.

    A window is complete when the watermark has reached its end less one millisecond; by arrival, when time has passed
    the end, because the next row may come in the same millisecond.

    Args:
        grouping: compiled.
    """

    keeps_rows = True

    def __init__(self, grouping: Grouping) -> None:
        self.grouping, self.program = grouping, grouping.program
        self.problems: list[Problem] = []
        self.late: list[Row] = []
        self.counters = Counters()
        self.codec = GroupCodec(self.program, grouping.layout, grouping.keys, grouping.reads)
        self.groups_held = 0
        self.reached = MIN_WATERMARK
        """Event time up to which everything complete has been given out."""
        self._failed: list[tuple[Row, Exception]] = []

    def oldest_time(self) -> int | None:
        """No row is needed again."""
        return None

    def process(self, rows: Sequence[Row], watermark: int, arrivals: Arrivals | None = None) -> list[Finding]:
        """Take rows, and move time."""
        findings: list[Finding] = []
        if self.crowded(len(rows)):
            # Whether there is room depends on the groups that are given out between the rows.
            marks = [row[TIME] - 1 for row in rows] if arrivals is None else arrivals.watermarks()
            for row, mark in zip(rows, marks, strict=True):
                findings += self.move(mark)
                behind = [(0, mark)] if arrivals is not None and row[TIME] <= mark + 1 else []
                findings += self.take([row], [row[TIME]], behind, in_order=True)
        elif arrivals is None:
            findings += self.take(rows, (), (), in_order=True)  # nobody looks at the times
        else:
            findings += self.take(rows, arrivals.times, arrivals.behind, in_order=arrivals.in_order)
        return findings + self.advance(watermark)

    def crowded(self, rows: int) -> bool:
        """Whether so many more rows may be more groups than there is room for."""
        return self.groups_held + rows > self.grouping.most_groups

    def advance(self, watermark: int) -> list[Finding]:
        """Move time without rows."""
        by_arrival = self.grouping.by_arrival and watermark != MAX_WATERMARK
        return self.move(watermark - 1 if by_arrival else watermark)

    def move(self, time: int) -> list[Finding]:
        """No more rows up to this time are waited for: what is complete is given out."""
        raise NotImplementedError

    def take(self, rows: Sequence[Row], times: Sequence[int], behind: Behind, *, in_order: bool) -> list[Finding]:
        """Take rows into groups.

        Args:
            rows: as they came.
            times: their event times; not needed if the rows are in order and none is behind.
            behind: those that are behind the watermark.
            in_order: no row is earlier than the one before it.
        """
        raise NotImplementedError

    def due_ms(self) -> int | None:
        """Time of arrival from which on a window is complete without another row; None if none is open."""
        raise NotImplementedError

    def update(self, rows: Sequence[Row], known: Callable[[Any], Group | None], begin: Any) -> None:
        """Take rows of one stretch into groups."""
        self.program.update(rows, known, begin, self._failed)
        if self._failed:
            self.problems += [Problem(_as_problem(error), [row]) for row, error in self._failed]
            self._failed.clear()

    def drop(self, row: Row) -> None:
        """Report a row that is too late, if WHERE lets it pass."""
        try:
            late = self.program.passes(row)
        except FAILURES as error:
            self.problems.append(Problem(_as_problem(error), [row]))
            return
        if late:
            self.late.append(row)

    def room(self, row: Row) -> bool:
        """Whether one more group may be held; if not, the row is reported."""
        if self.groups_held < self.grouping.most_groups:
            self.groups_held += 1
            return True
        self.counters.add("window_group_limit")
        problem = f"{self.grouping.most_groups} groups are open: there is no room for another one"
        self.problems.append(Problem(LimitError(problem), [row]))
        return False

    def give_out(self, found: list[Finding], key: Any, group: Group, start: int, end: int, number: int) -> None:
        """The output row of a complete group, if HAVING holds."""
        values = (key,) if len(self.grouping.keys) == 1 else key
        try:
            output = self.grouping.finish(group, start, end)
        except FAILURES as error:
            self.problems.append(Problem(_as_problem(error), [group[LAST]], values))
            return
        if output is not None:
            found.append(Finding(values, end - 1, output, group[LAST], (), number))


class Slice:
    """Groups of the rows of one stretch of time.

    Args:
        start: in ms.
    """

    __slots__ = ("dirty", "groups", "start", "stored")

    def __init__(self, start: int) -> None:
        self.start = start
        self.groups: dict[Any, Group] = {}
        self.dirty: dict[Any, Group] = {}
        """Those that changed since they were stored. All rows ask here first: a group becomes dirty once."""
        self.stored: dict[Any, Stored] = {}


class GridOperator(WindowOperator):
    """TUMBLE, HOP and CUMULATE over one partition."""

    def __init__(self, grouping: Grouping, grid: Grid) -> None:
        super().__init__(grouping)
        self._grid = grid
        self._slices: dict[int, Slice] = {}
        """By start, in order of time."""
        self._fired = MIN_WATERMARK
        """End of a window: those that end here or earlier are over."""
        self._fired_stored = MIN_WATERMARK
        self._deleted: Entries = []

    def take(self, rows: Sequence[Row], times: Sequence[int], behind: Behind, *, in_order: bool) -> list[Finding]:
        """Take rows into slices; windows that end between them are given out in between."""
        findings: list[Finding] = []
        late: set[int] = set()
        first = 0
        if behind and self._may_end(min(times), behind[-1][1]):
            first = self._take_behind(rows, times, behind, late, findings, in_order)
        self._fill(rows, times, first, len(rows), late, in_order)
        return findings

    def _may_end(self, low: int, reached: int) -> bool:
        """Whether a window may end up to this watermark, those of rows from ``low`` on included."""
        return min(self._grid.slice(low) + self._grid.step_ms, self._first_end()) <= reached + 1

    def _take_behind(
        self,
        rows: Sequence[Row],
        times: Sequence[int],
        behind: Behind,
        late: set[int],
        findings: list[Finding],
        in_order: bool,
    ) -> int:
        """Find the late rows, and give out what ends in front of a row behind the watermark.

        Returns:
            Number of the first row that is not taken yet.
        """
        grid = self._grid
        first = seen = 0
        low = MAX_WATERMARK  # least time of the rows that are not taken yet
        due = self._first_end()
        for number, reached in behind:
            if number > seen:
                low = min(low, *times[seen:number])
                seen = number
            if due <= reached + 1 or self._end_after(low) <= reached + 1:
                self._fill(rows, times, first, number, late, in_order)
                findings += self._end_before(reached + 1)
                first, low, due = number, MAX_WATERMARK, self._first_end()
            # A window that got no row is over too.
            fired = grid.slice(reached + 1)
            if fired > self._fired:
                self._fired, due = fired, self._first_end()
            row = rows[number]
            if grid.last_end(grid.slice(row[TIME])) <= reached + 1:
                self.drop(row)
                late.add(number)
                seen = number + 1
        return first

    def move(self, time: int) -> list[Finding]:
        """Windows end, in order of their ends; their rows in order of their last source rows."""
        self.reached = max(self.reached, time)
        return self._end_before(self.reached + 1)

    def _fill(
        self, rows: Sequence[Row], times: Sequence[int], first: int, last: int, late: set[int], in_order: bool
    ) -> None:
        """Take some of the rows into slices, but not the late ones."""
        if late:
            rows = [rows[number] for number in range(first, last) if number not in late]
            times = list(map(_time, rows))
        elif first or last < len(rows):
            rows, times = rows[first:last], times[first:last]
        if not rows:
            return
        if self.grouping.by_arrival and rows[0][TIME] <= self.reached:
            # Time has been moved by the clock beyond the rows that come next.
            ahead = bisect_right(rows, self.reached, key=_time)
            self._take(self._grid.slice(self.reached + 1), rows[:ahead])
            rows = rows[ahead:]
            if not rows:
                return
        if in_order:
            self._take_in_order(rows)
            return
        step, offset = self._grid.step_ms, self._grid.offset_ms
        lowest = self._grid.slice(min(times))
        if max(times) < lowest + step:
            self._take(lowest, rows)
            return
        parts: dict[int, list[Row]] = {}
        for row in rows:
            time = row[TIME]
            start = time - (time - offset) % step
            part = parts.get(start)
            if part is None:
                part = parts[start] = []
            part.append(row)
        for start, part in parts.items():
            self._take(start, part)

    def _take_in_order(self, rows: Sequence[Row]) -> None:
        first, count, step = 0, len(rows), self._grid.step_ms
        while first < count:
            start, last = self._grid.slice(rows[first][TIME]), count
            if rows[-1][TIME] >= start + step:
                last = bisect_left(rows, start + step, first, key=_time)
            self._take(start, rows if last - first == count else rows[first:last])
            first = last

    def _take(self, start: int, rows: Sequence[Row]) -> None:
        slice_ = self._slices.get(start)
        if slice_ is None:
            slice_ = Slice(start)
            later = self._slices and next(reversed(self._slices)) > start
            self._slices[start] = slice_
            if later:
                self._slices = dict(sorted(self._slices.items()))
        self.update(rows, slice_.dirty.get, self._begin(slice_))

    def _end_before(self, time: int) -> list[Finding]:
        """Give out the windows that hold no time from this one on."""
        findings: list[Finding] = []
        slices, grid = self._slices, self._grid
        while slices:
            oldest = next(iter(slices.values()))
            end = self._next_end(oldest.start)
            if end > time:
                break
            found: list[Finding] = []
            self._give_out_window(end, found)
            found.sort(key=lambda finding: finding.last[POSITION])
            findings += found
            self._fired = end
            while slices and grid.last_end(oldest.start) <= end:
                self._drop(slices.pop(oldest.start))
                oldest = next(iter(slices.values()), oldest)
        return findings

    def due_ms(self) -> int | None:
        """The end of the oldest open window."""
        return self._first_end() if self._slices else None

    def changes(self) -> Entries:
        """Groups that changed, and those that are gone."""
        entries, self._deleted = self._deleted, []
        for slice_ in self._slices.values():
            entries += self.codec.put(slice_.dirty, slice_.stored)
            slice_.dirty.clear()
        if self._grid.shares and self._fired != self._fired_stored:
            self._fired_stored = self._fired
            entries.append(self.codec.fired(self._fired))
        return entries

    def restore(self, state: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back the entries that ``changes`` has given."""
        groups, fired = self.codec.restore(state)
        if fired is not None:
            self._fired = self._fired_stored = fired
        for one in groups:
            slice_ = self._slices.get(one.start)
            if slice_ is None:
                slice_ = self._slices[one.start] = Slice(one.start)
            slice_.groups[one.key], slice_.stored[one.key] = one.group, one.stored
        self.groups_held = len(groups)

    def _begin(self, slice_: Slice) -> Callable[[Any, Row], Group | None]:
        groups, dirty, fresh, start = slice_.groups, slice_.dirty, self.program.fresh, slice_.start

        def begin(key: Any, row: Row) -> Group | None:
            group = groups.get(key)
            if group is None:
                if not self.room(row):
                    return None
                group = groups[key] = fresh()
                group[START] = start
            dirty[key] = group
            return group

        return begin

    def _next_end(self, start: int) -> int:
        """End of the first open window that the slice with this start is part of."""
        return max(start, self._fired) + self._grid.step_ms

    def _first_end(self) -> int:
        """End of the first window that is to be given out."""
        return next((self._next_end(start) for start in self._slices), MAX_WATERMARK)

    def _end_after(self, time: int) -> int:
        """End of the first open window that a row of this time may lie in."""
        return self._next_end(self._grid.slice(time)) if time != MAX_WATERMARK else MAX_WATERMARK

    def _give_out_window(self, end: int, found: list[Finding]) -> None:
        """Give out the groups of the window with this end."""
        grid, start = self._grid, self._grid.start(end)
        parts = [slice_ for slice_ in self._slices.values() if slice_.start < end]
        groups = parts[0].groups
        if len(parts) > 1:
            assert grid.shares
            merge, copy = self.program.merge, self.program.copy
            groups = {key: copy(group) for key, group in groups.items()}
            for part in parts[1:]:
                for key, group in part.groups.items():
                    whole = groups.get(key)
                    if whole is None:
                        groups[key] = copy(group)
                    else:
                        merge(whole, group)
        for key, group in groups.items():
            # One last row may end several windows: their number keeps the findings apart.
            number = (end - grid.slice(group[LAST][TIME])) // grid.step_ms - 1
            self.give_out(found, key, group, start, end, number)

    def _drop(self, slice_: Slice) -> None:
        self.groups_held -= len(slice_.groups)
        for key, stored in slice_.stored.items():
            self._deleted += self.codec.delete(slice_.start, key, stored)


def _as_problem(error: Exception) -> AnomalyError:
    return error if isinstance(error, AnomalyError) else EvaluationError(str(error))
