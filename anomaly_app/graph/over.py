"""OVER: for each row, aggregates over the rows of its key before it.

Rows are held per key until the watermark has passed them, and come out in order of time, rows of one time in order of
arrival. Which rows are late depends on the frame, as in Flink: with a bounded frame those not after the last row that
their own key has given out, else those not after the watermark.

What leaves a bounded frame is taken out of counts and exact sums again. For other aggregates the frame is a queue of
two stacks: the older part holds, for each row, the aggregate of it and all rows behind it in that part; the newer part
holds one running aggregate. A row then costs a constant number of merges, whatever frame and aggregates are
(K. Tangwongsan et al., "General Incremental Sliding-Window Aggregation", VLDB 2015).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from anomaly_app.expressions.typed import FAILURES
from anomaly_app.graph.held import HeldRows
from anomaly_app.graph.vertices import Entries, Flow, Vertex
from anomaly_app.operators import COLUMNS, MAX_WATERMARK, MIN_WATERMARK, TIME, Layout, Row
from anomaly_app.schema import Column
from anomaly_app.windows.accumulators import LAST, START, Group, Program
from anomaly_app.windows.store import GroupCodec, Stored

ROW = b"r"
"""Begins the entries of rows."""

_first = itemgetter(0)


@dataclass(frozen=True, slots=True)
class OverPlan:
    """OVER for rows of one layout.

    Args:
        layout: of the rows.
        reads: names of the columns that somebody needs: the others are not stored.
        key_of: the key of a row.
        program: of the aggregates.
        take: takes a row into a group.
        give_back: takes a row out of a group again; None if that is not exact for all aggregates.
        finish: results from a group.
        rows: the frame counts rows; else it is a span of time.
        preceding: rows or milliseconds before the present row; None for all.
        keys: columns that key it.
        merges: groups of parts of a frame can be merged; else a frame is added up anew for each row.
        late_by_key: late is what is not after the last row of its own key that came out, and not after the watermark.
        offsets: of LAG, for each call: value, how many rows before, default; instead of aggregates.
    """

    layout: Layout
    reads: frozenset[str]
    key_of: Callable[[Row], Any]
    program: Program
    take: Callable[[Group, Row], None]
    give_back: Callable[[Group, Row], None] | None
    finish: Callable[[Group], tuple[Any, ...]]
    rows: bool
    preceding: int | None
    keys: tuple[Column, ...]
    merges: bool
    late_by_key: bool
    offsets: tuple[tuple[Callable[[Row], Any], int, Callable[[Row], Any]], ...] = ()


class Frame:
    """The rows of a key that may still count, and their aggregates.

    Args:
        plan: of the query.
    """

    __slots__ = ("_front", "_plan", "held", "last", "running")

    def __init__(self, plan: OverPlan) -> None:
        self._plan = plan
        self.last = MIN_WATERMARK
        """Time of the last row that came out."""
        self.held: deque[tuple[int, int, Row]] = deque()
        """Rows in the frame with their times and numbers."""
        self._front: list[Group] = []
        self.running: Group | None = None
        """Aggregates of the newer part; without a bound, of all rows."""

    def push(self, number: int, row: Row) -> None:
        """Take a row; raises what an expression raises, and holds the row all the same."""
        plan = self._plan
        if plan.preceding is not None:
            self.held.append((row[TIME], number, row))
            if plan.give_back is None and not plan.merges:
                return
        group = self.running
        if group is None:
            group = self.running = plan.program.fresh()
        plan.take(group, row)

    def pop(self) -> int:
        """The oldest row leaves the frame; its number."""
        plan = self._plan
        if plan.give_back is not None:
            _, number, row = self.held.popleft()
            assert self.running is not None
            try:
                plan.give_back(self.running, row)
            except FAILURES:
                return number  # it was reported when it came, and never taken
            return number
        if plan.merges:
            if not self._front:
                self._turn()
            self._front.pop()
        return self.held.popleft()[1]

    def _turn(self) -> None:
        """The newer part becomes the older one."""
        program, take = self._plan.program, self._plan.take
        whole: Group | None = None
        for _, _, row in reversed(self.held):
            group = program.fresh()
            with suppress(*FAILURES):  # that was reported when it came
                take(group, row)
            group[LAST] = row
            if whole is not None:
                program.merge(group, whole)
            self._front.append(group)
            whole = group
        self.running = None

    def result(self) -> tuple[Any, ...]:
        """Aggregates of all rows in the frame."""
        plan = self._plan
        program = plan.program
        if plan.preceding is not None and plan.give_back is None and not plan.merges:
            group = program.fresh()
            for _, _, row in self.held:
                with suppress(*FAILURES):
                    plan.take(group, row)
            return plan.finish(group)
        if not self._front:
            return plan.finish(self.running if self.running is not None else program.fresh())
        if self.running is None:
            return plan.finish(self._front[-1])
        whole = program.copy(self._front[-1])
        program.merge(whole, self.running)
        return plan.finish(whole)


class OverRows(Vertex):
    """OVER over one partition.

    Args:
        plan: of the query.
    """

    def __init__(self, plan: OverPlan) -> None:
        super().__init__(COLUMNS + len(plan.layout.columns))
        self._plan = plan
        self._held = HeldRows(plan.layout, plan.reads)
        self._frames: dict[Any, Frame] = {}
        self._waiting: list[tuple[int, int, Row]] = []
        """Time, number and row, in order."""
        self._reach = plan.preceding or 0
        self._codec = GroupCodec(plan.program, plan.layout, plan.keys, plan.reads)
        self._dirty: dict[Any, Frame] = {}
        self._stored: dict[Any, Stored] = {}

    def run(self, flows: Sequence[Flow]) -> Flow:
        """Take rows, and give out those that the watermark has passed."""
        ((rows, watermark),) = flows
        first = self._held.next
        if rows:
            self._take(rows)
        found: list[Row] = []
        waiting = self._waiting
        if watermark > self.watermark:  # else what came behind the watermark waits for its next move
            count = len(waiting) if watermark == MAX_WATERMARK else bisect_right(waiting, watermark, key=_first)
            ready = waiting[:count]
            del waiting[:count]
            found = self._give_out(ready) if ready else []
        for _, number, row in waiting if first < self._held.next else ():
            if number >= first:
                self._held.wait(number, row)
        return Flow(found, watermark)

    def _take(self, rows: Sequence[Row]) -> None:
        """Number the rows that are not late, and put them where they wait."""
        watermark = self.watermark
        if min(map(_first, rows)) <= watermark:
            rows = [row for row in rows if row[TIME] > watermark or self._is_in_time(row)]
        held, waiting = self._held, self._waiting
        waiting += zip(map(_first, rows), range(held.next, held.next + len(rows)), rows, strict=True)
        held.next += len(rows)
        if len(waiting) > 1:
            waiting.sort(key=_first)

    def _is_in_time(self, row: Row) -> bool:
        """Whether a row behind the watermark is taken all the same; counts it as late if not."""
        if self._plan.late_by_key:
            frame = self._frames.get(self._plan.key_of(row))
            if frame is None or row[TIME] > frame.last:
                return True
        self.counters.add("late")
        self.late.append(row)
        return False

    def _give_out(self, ready: Sequence[tuple[int, int, Row]]) -> list[Row]:
        plan = self._plan
        key_of, frames, width = plan.key_of, self._frames, self.width
        found: list[Row] = []
        if plan.rows and plan.preceding is None and not plan.offsets:
            return self._one_after_another(ready)
        if plan.rows:
            for time, number, row in ready:
                frame = self._frame(frames, key_of(row))
                found.append(self._one(frame, time, number, row, width))
            return found
        exact = plan.give_back is not None and plan.preceding is not None
        # Rows of a key and one time are peers: each sees all of them.
        place = 0
        for begin, end in self._peer_groups(ready):
            if exact:
                found += self._exact(ready[place:begin])
            else:
                for time, number, row in ready[place:begin]:
                    found.append(self._one(self._frame(frames, key_of(row)), time, number, row, width))
            found += self._peers(ready[begin:end], ready[begin][0], width) if begin < end else ()
            place = end
        return found

    def _peer_groups(self, ready: Sequence[tuple[int, int, Row]]) -> Iterator[tuple[int, int]]:
        """Where rows of one time stand of which some have the same key; at last the end, twice."""
        count = len(ready)
        times = [one[0] for one in ready]
        if len(set(times)) < count:
            key_of, place = self._plan.key_of, 0
            while place < count:
                end = place + 1
                while end < count and times[end] == times[place]:
                    end += 1
                if end - place > 1 and len({key_of(row) for _, _, row in ready[place:end]}) < end - place:
                    yield place, end
                place = end
        yield count, count

    def _frame(self, frames: dict[Any, Frame], key: Any) -> Frame:
        frame = frames.get(key)
        if frame is None:
            frame = frames[key] = Frame(self._plan)
        return frame

    def _push(self, frame: Frame, number: int, row: Row) -> None:
        try:
            frame.push(number, row)
        except FAILURES as error:
            self.fail(error, row)

    def _one(self, frame: Frame, time: int, number: int, row: Row, width: int) -> Row:
        plan = self._plan
        self._push(frame, number, row)
        frame.last = time
        preceding = plan.preceding
        self._settle(frame, number, row)
        if preceding is not None:
            self._evict(frame, time, preceding)
        if plan.offsets:
            held = frame.held
            values = tuple(
                before if len(held) > offset and (before := value(held[-1 - offset][2])) is not None else default(row)
                for value, offset, default in plan.offsets
            )
        else:
            values = frame.result()
        return (*row[:width], *values, *row[width:])

    def _exact(self, ready: Sequence[tuple[int, int, Row]]) -> list[Row]:
        """The same as :meth:`_one` where rows are taken out of the aggregates again: the usual case, in one piece."""
        plan, frames, width, reach = self._plan, self._frames, self.width, self._reach
        key_of, take, give_back, finish = plan.key_of, plan.take, plan.give_back, plan.finish
        changed, stored = self._held.changed, self._held.stored
        assert give_back is not None
        found: list[Row] = []
        for one in ready:
            time, number, row = one
            key = key_of(row)
            frame = frames.get(key)
            if frame is None:
                frame = frames[key] = Frame(plan)
            group = frame.running
            if group is None:
                group = frame.running = plan.program.fresh()
            frame.last = time
            held = frame.held
            held.append(one)
            changed[number] = row
            try:
                take(group, row)
            except FAILURES as error:
                self.fail(error, row)
            oldest = time - reach
            while held[0][0] < oldest:
                _, gone, left = held.popleft()
                if gone in stored:
                    changed[gone] = None
                else:
                    del changed[gone]
                try:
                    give_back(group, left)
                except FAILURES:
                    continue  # it was reported when it came, and never taken
            found.append(row + finish(group) if len(row) == width else row[:width] + finish(group) + row[width:])
        self._held.all_taken(number for _, number, _ in ready)
        return found

    def _one_after_another(self, ready: Sequence[tuple[int, int, Row]]) -> list[Row]:
        """The same as :meth:`_one` where all rows before count, in one piece."""
        plan, frames, dirty, width = self._plan, self._frames, self._dirty, self.width
        key_of, take, finish, fresh = plan.key_of, plan.take, plan.finish, plan.program.fresh
        found: list[Row] = []
        for time, _, row in ready:
            key = key_of(row)
            frame = frames.get(key)
            if frame is None:
                frame = frames[key] = Frame(plan)
            group = frame.running
            if group is None:
                group = frame.running = fresh()
            try:
                take(group, row)
            except FAILURES as error:
                self.fail(error, row)
            frame.last = time
            group[LAST], group[START] = row, 0
            dirty[key] = frame
            found.append(row + finish(group) if len(row) == width else row[:width] + finish(group) + row[width:])
        self._held.all_dropped(number for _, number, _ in ready)
        return found

    def _settle(self, frame: Frame, number: int, row: Row) -> None:
        """A row has been taken: it is held as long as it is in the frame, without a bound only what it changed."""
        if self._plan.preceding is not None:
            self._held.taken(number, row)
            return
        self._held.drop(number)
        assert frame.running is not None
        frame.running[LAST], frame.running[START] = row, 0
        self._dirty[self._plan.key_of(row)] = frame

    def _evict(self, frame: Frame, time: int, preceding: int) -> None:
        held = frame.held
        if self._plan.rows:
            while len(held) > preceding + 1:
                self._held.drop(frame.pop())
            return
        oldest = time - preceding
        while held[0][0] < oldest:
            self._held.drop(frame.pop())

    def _peers(self, ready: Sequence[tuple[int, int, Row]], time: int, width: int) -> list[Row]:
        plan = self._plan
        by_key: dict[Any, list[tuple[int, Row]]] = {}
        for _, number, row in ready:
            by_key.setdefault(plan.key_of(row), []).append((number, row))
        results: dict[Any, tuple[Any, ...]] = {}
        for key, peers in by_key.items():
            frame = self._frame(self._frames, key)
            for number, row in peers:
                self._push(frame, number, row)
                self._settle(frame, number, row)
            frame.last = time
            if plan.preceding is not None:
                self._evict(frame, time, plan.preceding)
            results[key] = frame.result()
        return [(*row[:width], *results[plan.key_of(row)], *row[width:]) for _, _, row in ready]

    # --- state ------------------------------------------------------------------------------------

    def changes(self) -> Entries:
        """Rows that came, were taken or went; without a bound, the aggregates of keys that changed."""
        entries: list[tuple[bytes, bytes | None]] = [(ROW + name, value) for name, value in self._held.changes()]
        groups = {key: frame.running for key, frame in self._dirty.items() if frame.running is not None}
        entries += self._codec.put(groups, self._stored)
        self._dirty.clear()
        return entries

    def restore(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back rows and aggregates."""
        entries = list(entries)
        rows = [(name[1:], value) for name, value in entries if name.startswith(ROW)]
        groups, _ = self._codec.restore([entry for entry in entries if not entry[0].startswith(ROW)])
        for one in groups:
            frame = self._frame(self._frames, one.key)
            frame.running, frame.last = one.group, one.group[LAST][TIME]
            self._stored[one.key] = one.stored
        held = self._held.restore(rows)
        held.sort(key=lambda one: (one[2][TIME], one[0]))  # as they were taken, not as they came
        for number, taken, row in held:
            if not taken:
                self._waiting.append((row[TIME], number, row))
                continue
            frame = self._frame(self._frames, self._plan.key_of(row))
            with suppress(*FAILURES):  # that was reported when it came
                frame.push(number, row)
            frame.last = max(frame.last, row[TIME])
        self._waiting.sort(key=_first)
