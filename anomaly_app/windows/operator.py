"""GROUP BY windows as an operator: groups by slice and key, given out when the watermark passes the end of a window."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from anomaly_app.errors import AnomalyError, EvaluationError, LimitError
from anomaly_app.expressions.typed import FAILURES
from anomaly_app.operators import (
    MAX_WATERMARK,
    MIN_WATERMARK,
    POSITION,
    TIME,
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
    """What both kinds of windows share: rows that fail, the bound on groups, output.

    A window of rows in order of time is complete when the watermark has reached its end less one millisecond; by
    arrival, when it has passed the end, because the next row may come in the same millisecond.

    Args:
        grouping: compiled.
    """

    keeps_rows = True

    def __init__(self, grouping: Grouping) -> None:
        self.grouping, self.program = grouping, grouping.program
        self.problems: list[Problem] = []
        self.counters = Counters()
        self.codec = GroupCodec(self.program, grouping.layout, grouping.keys, grouping.reads)
        self.groups_held = 0
        self.reached = MIN_WATERMARK
        self._failed: list[tuple[Row, Exception]] = []

    def oldest_time(self) -> int | None:
        """No row is needed again."""
        return None

    def complete(self, watermark: int) -> int:
        """Event time up to which no row is to come."""
        return watermark - 1 if self.grouping.by_arrival and watermark != MAX_WATERMARK else watermark

    def due_ms(self) -> int | None:
        """Time of arrival from which on a window is complete without another row; None if none is open."""
        raise NotImplementedError

    def update(self, rows: Sequence[Row], known: Callable[[Any], Group | None], begin: Any) -> None:
        """Take rows of one stretch into groups."""
        self.program.update(rows, known, begin, self._failed)
        if self._failed:
            self.problems += [Problem(_as_problem(error), [row]) for row, error in self._failed]
            self._failed.clear()

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
        self._fired_stored = MIN_WATERMARK
        self._deleted: Entries = []

    def process(self, rows: Sequence[Row], watermark: int) -> list[Finding]:
        """Take rows in order of time, and move time."""
        first, count, step = 0, len(rows), self._grid.step_ms
        findings: list[Finding] = []
        while first < count:
            time = rows[first][TIME]
            if self._slices:
                findings += self._end_before(time)
            # By arrival, time may have been moved beyond the rows that come next.
            start = self._grid.slice(max(time, self.reached + 1))
            last = count
            if rows[-1][TIME] >= start + step:
                last = bisect_left(rows, start + step, first, key=_time)
            slice_ = self._slices.get(start)
            if slice_ is None:
                slice_ = self._slices[start] = Slice(start)
            part = rows if last - first == count else rows[first:last]
            self.update(part, slice_.dirty.get, self._begin(slice_))
            first = last
        return findings + self.advance(watermark)

    def advance(self, watermark: int) -> list[Finding]:
        """Move time: windows end, in order of their ends; their rows in order of their last source rows."""
        self.reached = max(self.reached, self.complete(watermark))
        return self._end_before(self.reached + 1)

    def _end_before(self, time: int) -> list[Finding]:
        """Give out the windows that hold no time from this one on."""
        findings: list[Finding] = []
        slices, grid = self._slices, self._grid
        while slices:
            oldest = next(iter(slices.values()))
            end = self._next_end(oldest)
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
        return next((self._next_end(slice_) for slice_ in self._slices.values()), None)

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

    def _next_end(self, oldest: Slice) -> int:
        return max(oldest.start, self._fired) + self._grid.step_ms

    def _give_out_window(self, end: int, found: list[Finding]) -> None:
        """Give out the groups of the window with this end."""
        grid, start, step = self._grid, self._grid.start(end), self._grid.step_ms
        parts = [slice_ for slice_ in self._slices.values() if slice_.start < end]
        if len(parts) == 1:
            (part,) = parts
            for key, group in part.groups.items():
                self.give_out(found, key, group, start, end, (end - part.start) // step - 1)
            return
        merged: dict[Any, Group] = {}
        latest: dict[Any, int] = {}
        merge, copy = self.program.merge, self.program.copy
        assert grid.shares
        for part in parts:
            for key, group in part.groups.items():
                whole = merged.get(key)
                if whole is None:
                    merged[key] = copy(group)
                else:
                    merge(whole, group)
                latest[key] = part.start
        for key, group in merged.items():
            # One last row may end several windows: their number keeps the findings apart.
            self.give_out(found, key, group, start, end, (end - latest[key]) // step - 1)

    def _drop(self, slice_: Slice) -> None:
        self.groups_held -= len(slice_.groups)
        for key, stored in slice_.stored.items():
            self._deleted += self.codec.delete(slice_.start, key, stored)


def _as_problem(error: Exception) -> AnomalyError:
    return error if isinstance(error, AnomalyError) else EvaluationError(str(error))
