"""One partition of one source: event time, then the operators of every query that reads the source.

Operators that need the order of event time stand behind a reorder buffer, which drops late rows; the others get rows
as they come, and how the watermark stood in front of each.

The task is plain Python without Kafka: the runtime decodes records and feeds rows; ``query()`` and the tests feed
lists. It also decides what has to be fed again after a crash (see :class:`Checkpoint`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from anomaly_app.eventtime import ReorderBuffer, UpstreamWatermarks, split_ahead, with_times
from anomaly_app.graph.asked import Question
from anomaly_app.jobs.checkpoint import ArrivalMark, Checkpoint, ReplayIndex
from anomaly_app.operators import (
    MAX_WATERMARK,
    MIN_WATERMARK,
    POSITION,
    TIME,
    Arrivals,
    Finding,
    InnerRow,
    Problem,
    Row,
    TaskOperator,
)


class TimeMode(Enum):
    """What a source's rows are ordered by."""

    ROWTIME = "rowtime"
    """Event time with a watermark."""
    ARRIVAL = "arrival"
    """Processing time, or no time attribute: rows pass in order of arrival."""


@dataclass(slots=True)
class QuerySlot:
    """An operator in a task.

    Args:
        name: of the query, unique in the task; prefixes its state keys.
        operator: fresh.
        needs_order: the operator takes rows in order of event time, and none that is late.
        order_key: orders rows of equal event time by further ORDER BY columns; None without.
        sort_key: orders all rows of a bounded input before the first is processed; None to work as they come.
    """

    name: str
    operator: TaskOperator
    needs_order: bool = True
    order_key: Callable[[Row], Any] | None = None
    sort_key: Callable[[Row], Any] | None = None
    held: list[Row] = field(default_factory=list)


@dataclass(slots=True)
class Output:
    """What came out of a task since the last :meth:`PartitionTask.take`.

    Args:
        findings: number of the query in the task, and finding, in order of emission.
        late: rows that came too late for at least one query, each once.
        late_inside: number of the query, and rows that it had made and that came too late for a part of it.
        late_for: how many of both came too late for a query, by its number.
        ahead: rows whose event time is absurdly far in the future.
        problems: number of the query, and rows or matches on which a rule failed.
        passed: number of the query, rows of a step for the next fragment, and the watermark behind them.
    """

    findings: list[tuple[int, Finding]] = field(default_factory=list)
    late: list[Row] = field(default_factory=list)
    late_inside: list[tuple[int, InnerRow]] = field(default_factory=list)
    late_for: dict[int, int] = field(default_factory=dict)
    ahead: list[Row] = field(default_factory=list)
    problems: list[tuple[int, Problem]] = field(default_factory=list)
    passed: list[tuple[int, Sequence[Finding], int]] = field(default_factory=list)
    _places: set[int] = field(default_factory=set, repr=False)

    def add_late(self, rows: Iterable[Row]) -> None:
        """Rows that came too late; those that are there already stay there once."""
        for row in rows:
            if row[POSITION] not in self._places:
                self._places.add(row[POSITION])
                self.late.append(row)

    def collect(self, number: int, operator: TaskOperator, found: Iterable[Finding]) -> None:
        """Take what an operator has found, failed on and dropped.

        Args:
            number: of the query in the task.
            operator: of it; gives away what it has noted.
            found: findings.
        """
        self.findings += [(number, finding) for finding in found]
        if operator.problems:
            self.problems += [(number, problem) for problem in operator.problems]
            operator.problems.clear()
        if operator.late or operator.late_inside:
            self.late_for[number] = self.late_for.get(number, 0) + len(operator.late) + len(operator.late_inside)
            self.add_late(operator.late)
            self.late_inside += [(number, row) for row in operator.late_inside]
            operator.late.clear()
            operator.late_inside.clear()


def waiting_rows(operators: Iterable[TaskOperator]) -> int | None:
    """How many rows of some operators wait for an answer; None if nothing waits."""
    counts = [waiting for operator in operators if (waiting := operator.waiting) is not None]
    return sum(counts) if counts else None


class PartitionTask:
    """Rows of one partition through event time and operators.

    Rows come by :meth:`process` (watermark from the rows themselves) or, behind a repartition, by
    :meth:`process_from` and :meth:`upstream_watermark`.

    Args:
        slots: the operators.
        delay_ms: bound on disorder in ms; unused behind a repartition.
        mode: by what rows are ordered.
        upstreams: numbers of the upstream partitions behind a repartition; None for a source read directly.
        timeless: there are rows without a time: see :func:`~anomaly_app.eventtime.with_times`.
    """

    def __init__(
        self,
        slots: Sequence[QuerySlot],
        *,
        delay_ms: int = 0,
        mode: TimeMode = TimeMode.ROWTIME,
        upstreams: Iterable[int] | None = None,
        timeless: bool = False,
    ) -> None:
        self.slots = list(slots)
        self._timeless = timeless
        self.mode = mode
        # By arrival, rows are in order as they come.
        self._as_they_come = mode is TimeMode.ROWTIME and not all(slot.needs_order for slot in self.slots)
        self._in_order = mode is TimeMode.ARRIVAL or any(slot.needs_order for slot in self.slots)
        self._delay_ms = delay_ms if upstreams is None else None
        self.upstreams = None if upstreams is None else UpstreamWatermarks(upstreams)
        self._by_time = upstreams is not None and mode is TimeMode.ROWTIME and not self._as_they_come
        """Only the watermark, which is told apart from rows, has something come of them."""
        self._buffer = ReorderBuffer(self._delay_ms)
        self._upstream_offsets: dict[int, int] = {}
        self._index = ReplayIndex()
        self._output = Output()
        self.next_position = 0
        self.rows = self.duplicates = self.replayed = self.late = 0
        self._replay: Checkpoint | None = None
        self._replay_rows: list[Row] = []

    # --- what the runtime shows -----------------------------------------------------------------

    @property
    def watermark(self) -> int:
        """Event time up to which the partition is complete, in ms."""
        return self._buffer.watermark

    @property
    def buffered(self) -> int:
        """Rows that wait for the watermark."""
        return len(self._buffer.waiting)

    @property
    def replay_end(self) -> int:
        """Positions below this one were flushed before a crash: their rows are fed again, nothing is written again."""
        return self._replay.next_position if self._replay else 0

    # --- rows in --------------------------------------------------------------------------------

    def process(self, rows: Sequence[Row], *, end: int, latest_ms: int | None = None) -> None:
        """Take the rows of one batch, in order of position.

        Args:
            rows: decoded rows; fewer than records if some were bad.
            end: position behind the last record of the batch.
            latest_ms: event times beyond this one are rejected (now and some allowance); None for no bound.
        """
        if rows and rows[0][POSITION] < self.next_position:
            rows = [row for row in rows if row[POSITION] >= self.next_position]
        if end <= self.next_position:
            return
        if self._timeless:
            rows = with_times(rows, self._buffer.highest, latest_ms)
        if latest_ms is not None and self.mode is TimeMode.ROWTIME:
            rows, ahead = split_ahead(rows, latest_ms)
            self._output.ahead += [row for row in ahead if row[POSITION] >= self.replay_end]
        before = self._mark() if self.mode is TimeMode.ARRIVAL else None
        if before is not None:
            rows = self._in_arrival_order(rows)
        self._index.note(rows, self.next_position, (lambda: before) if before is not None else self._mark)
        self._take_rows(rows, end)

    def process_from(self, upstream: int, rows: Sequence[Row], offsets: Sequence[int], *, end: int) -> None:
        """Take rows of one upstream partition, with their offsets there, which rise.

        Rows whose offset was seen before are the replay of a crashed upstream: dropped and counted.

        Args:
            upstream: number of the upstream partition.
            rows: as in :meth:`process`; their position is the one in this partition.
            offsets: offset of each row in the upstream partition.
            end: position behind the last of these rows.
        """
        if end <= self.next_position:
            return
        # The mark must not know these rows yet: read again from here, they would count as duplicates.
        self._index.note(rows, self.next_position, self._mark)
        seen = self._upstream_offsets.get(upstream, -1)
        if offsets and offsets[0] <= seen:
            fresh = [row for row, offset in zip(rows, offsets, strict=True) if offset > seen]
            if self._replay is None:
                self.duplicates += len(rows) - len(fresh)
            rows = fresh
        if offsets and offsets[-1] > seen:
            self._upstream_offsets[upstream] = offsets[-1]
        if self.mode is TimeMode.ARRIVAL:
            rows = self._in_arrival_order(rows)
        own = self.upstreams.watermark(upstream) if self.upstreams is not None else MIN_WATERMARK
        self._take_rows(rows, end, own)

    def upstream_watermark(
        self, upstream: int, watermark: int, *, end: int, idle: bool = False, more: bool = False
    ) -> None:
        """A control record of an upstream partition: it has reached ``watermark``, or has no rows for now.

        With ``more`` another frame follows at once.
        """
        if self.upstreams is None:
            raise ValueError("the task reads its source directly: there is no upstream partition")
        if end <= self.next_position:
            return
        self._index.note((), self.next_position, self._mark)
        self._buffer.advance(self.upstreams.idle(upstream) if idle else self.upstreams.update(upstream, watermark))
        if more and self._by_time and self._replay is None:
            self.next_position = end  # what the watermark has passed is released with the next one
        else:
            self._take_rows((), end)

    def advance(self, watermark: int) -> None:
        """Move event time from outside: the partition is idle and others have gone on."""
        if self._replay is not None:
            self._end_replay()
        self._buffer.advance(watermark)
        self._run(self._buffer.release())

    def is_due(self, time_ms: int) -> bool:
        """Whether windows over processing time are complete at a time of the clock, though no row has come since."""
        return self.mode is TimeMode.ARRIVAL and self._replay is None and self._ends_at(time_ms)

    def is_held_up(self, time_ms: int) -> bool:
        """Whether rows wait for the watermark, or windows are open, that an event time would be the end of."""
        if self._replay is not None or self._buffer.watermark >= time_ms:
            return False
        return any(row[TIME] <= time_ms for row in self._buffer.waiting) or self._ends_at(time_ms)

    def _ends_at(self, time_ms: int) -> bool:
        dues = [slot.operator.due_ms() for slot in self.slots]
        return any(due is not None and due <= time_ms for due in dues)

    def finish(self) -> None:
        """The end of a bounded input: release every row, let every timer fire.

        The output is to be written without a new checkpoint: the same job run again, after more rows have come,
        goes on from where the rows ended, and alerts that are out already are recognised by their ids.
        """
        self.advance(MAX_WATERMARK)

    def take(self) -> Output:
        """Findings, late rows and problems since the last call."""
        output, self._output = self._output, Output()
        return output

    # --- rows that wait for answers -------------------------------------------------------------

    def questions(self) -> list[Question]:
        """What is to be asked since the last call; when answers have come, :meth:`release` goes on."""
        return [] if self._replay is not None else [one for slot in self.slots for one in slot.operator.questions()]

    @property
    def waiting(self) -> int | None:
        """How many rows wait for an answer; None if nothing waits."""
        return waiting_rows(slot.operator for slot in self.slots)

    def release(self) -> None:
        """Go on with the rows whose answers are there; :meth:`take` has what comes of them."""
        if self._replay is None:
            for number, slot in enumerate(self.slots):
                self._output.collect(number, slot.operator, slot.operator.released())

    def _in_arrival_order(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Time of arrival never falls, whatever the clocks of the producers say."""
        highest, ordered = self._buffer.highest, list(rows)
        for number, row in enumerate(ordered):
            if row[TIME] < highest:
                ordered[number] = (highest, *row[1:])
            else:
                highest = row[TIME]
        self._buffer.highest = highest
        return ordered

    def _take_rows(self, rows: Sequence[Row], end: int, own: int = MIN_WATERMARK) -> None:
        """Rows in order of arrival; ``own`` is the watermark of the upstream partition that they are of."""
        replay = self._replay
        if replay is None:
            self.next_position = end
            self._take_new(rows, own)
            return
        old = [row for row in rows if row[POSITION] < replay.next_position]
        self.replayed += len(old)
        self._add(old, own)  # those late were reported the first time; what takes rows as they come has them
        if self.mode is TimeMode.ARRIVAL:
            self._replay_rows += old
        if end < replay.next_position:
            self.next_position = end
            return
        self._end_replay()
        self.next_position = max(end, replay.next_position)
        self._take_new(rows[len(old) :], own)

    def _take_new(self, rows: Sequence[Row], own: int) -> None:
        self.rows += len(rows)
        arrivals = self._arrivals(rows) if self._as_they_come else None
        if self._in_order:
            late = self._add(rows, own)
            if late:
                self._note_late(late)
        elif arrivals is not None:
            self._buffer.watermark, self._buffer.highest = arrivals.watermark, arrivals.highest
        if rows and self._by_time:
            return  # they are in front of the watermark, which comes behind them
        self._run(self._release(rows), arrivals)

    def _arrivals(self, rows: Sequence[Row]) -> Arrivals:
        buffer = self._buffer
        return Arrivals(rows, watermark=buffer.watermark, highest=buffer.highest, delay_ms=self._delay_ms)

    def _add(self, rows: Sequence[Row], own: int) -> list[Row]:
        """Take rows for the operators that need their order; gives back those that are late."""
        if self.mode is TimeMode.ARRIVAL:
            if rows:
                self._buffer.advance(rows[-1][TIME])
            return []
        late: list[Row] = []
        if own > self._buffer.watermark:
            # What a row is must not hang on how far other partitions are: late is what is so in its own.
            late = [row for row in rows if row[TIME] <= own]
            rows = [row for row in rows if row[TIME] > own] if late else rows
        return late + self._buffer.add(rows)

    def _note_late(self, late: list[Row]) -> None:
        """Rows that the operators behind the buffer do not see."""
        self.late += len(late)
        self._output.add_late(late)
        for number, slot in enumerate(self.slots):
            if slot.needs_order:
                self._output.late_for[number] = self._output.late_for.get(number, 0) + len(late)

    def _release(self, rows: Sequence[Row]) -> list[Row]:
        return self._buffer.release() if self.mode is TimeMode.ROWTIME else list(rows)

    def _run(self, rows: list[Row], arrivals: Arrivals | None = None) -> None:
        """Give rows to the operators: to those that need their order the ones that are released."""
        watermark = self._buffer.watermark
        for number, slot in enumerate(self.slots):
            operator = slot.operator
            if self._as_they_come and not slot.needs_order:
                if arrivals is not None and arrivals.rows:
                    found = operator.process(arrivals.rows, watermark, arrivals)
                else:
                    found = operator.advance(watermark)
                self._output.collect(number, operator, found)
                continue
            if slot.sort_key is not None:
                slot.held += rows
                if watermark != MAX_WATERMARK:
                    continue
                ready: Sequence[Row] = sorted(slot.held, key=slot.sort_key)
                slot.held = []
            else:
                ready = sorted(rows, key=slot.order_key) if slot.order_key is not None else rows
            # At the end the last rows come first and then time ends: both may give findings.
            found = operator.process(ready, watermark) if ready else operator.advance(watermark)
            self._output.collect(number, operator, found)

    # --- state ----------------------------------------------------------------------------------

    def checkpoint(self) -> tuple[Checkpoint, list[tuple[bytes, bytes | None]]]:
        """What to store so that a restored task has the same future, as of all rows taken so far.

        To be called together with :meth:`take`, and stored together with what that gave. State keys are prefixed by
        the query's name.
        """
        if self._replay is not None:
            return self._replay, []  # nothing new has come in: what is stored is still right
        changes: list[tuple[bytes, bytes | None]] = []
        # What takes rows as they come needs none of them again.
        needed = self._buffer.watermark + 1 if self._in_order else MAX_WATERMARK
        for slot in self.slots:
            prefix = slot.name.encode() + b"\0"
            changes += [(prefix + key, value) for key, value in slot.operator.changes()]
            if not slot.operator.keeps_rows:
                oldest = slot.operator.oldest_time()
                if oldest is not None and oldest < needed:
                    needed = oldest
        return Checkpoint(
            next_position=self.next_position,
            watermark=self._buffer.watermark,
            highest=self._buffer.highest,
            needed=needed,
            resume=self._index.resume(needed=needed, position=self.next_position, mark=self._mark),
        ), changes

    def restore(self, checkpoint: Checkpoint, entries: Mapping[bytes, bytes]) -> int:
        """Take back a checkpoint and the state entries; call once, on a fresh task.

        Returns:
            The position from which rows must be fed again.
        """
        for slot in self.slots:
            prefix = slot.name.encode() + b"\0"
            slot.operator.restore([(k[len(prefix) :], v) for k, v in entries.items() if k.startswith(prefix)])
        start = checkpoint.resume
        self.next_position = start.position
        self._buffer.restore([], highest=start.highest, watermark=start.watermark)
        self._upstream_offsets = dict(start.upstream_offsets)
        if self.upstreams is not None:
            self.upstreams.restore(start.upstream_watermarks)
        self._replay = checkpoint
        if start.position >= checkpoint.next_position:
            self._end_replay()
        return start.position

    def _mark(self) -> ArrivalMark:
        watermarks = self.upstreams.snapshot() if self.upstreams is not None else {}
        return ArrivalMark(self._buffer.highest, self._buffer.watermark, dict(self._upstream_offsets), watermarks)

    def _end_replay(self) -> None:
        """Feed the operators what they had when the checkpoint was taken; their findings were written then."""
        replay, self._replay = self._replay, None
        assert replay is not None
        buffer = self._buffer
        buffer.advance(replay.watermark)
        buffer.highest = max(buffer.highest, replay.highest)
        self.next_position = replay.next_position
        released = self._release(self._replay_rows)
        self._replay_rows = []
        rows = [row for row in released if row[TIME] >= replay.needed]
        for slot in self.slots:
            operator = slot.operator
            if not operator.keeps_rows:
                operator.process(
                    sorted(rows, key=slot.order_key) if slot.order_key is not None else rows, buffer.watermark
                )
                operator.problems.clear()
            for _ in operator.changes():
                pass  # stored before the crash
            if self.mode is TimeMode.ROWTIME:
                operator.resume(buffer.watermark)
