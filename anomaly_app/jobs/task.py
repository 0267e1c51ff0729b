"""One partition of one source: reorder buffer, then the operators of every query that reads the source.

The task is plain Python without Kafka: the runtime decodes records and feeds rows; ``query()`` and the tests feed
lists. It also decides what has to be fed again after a crash (see :class:`Checkpoint`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from anomaly_app.eventtime import ReorderBuffer, UpstreamWatermarks, split_ahead
from anomaly_app.jobs.checkpoint import ArrivalMark, Checkpoint, ReplayIndex
from anomaly_app.operators import MAX_WATERMARK, POSITION, TIME, Finding, Operator, Problem, Row
from anomaly_app.windows.operator import WindowOperator
from anomaly_app.windows.piped import PipedOperator


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
        order_key: orders rows of equal event time by further ORDER BY columns; None without.
        sort_key: orders all rows of a bounded input before the first is processed; None to work as they come.
    """

    name: str
    operator: Operator
    order_key: Callable[[Row], Any] | None = None
    sort_key: Callable[[Row], Any] | None = None
    held: list[Row] = field(default_factory=list)


@dataclass(slots=True)
class Output:
    """What came out of a task since the last :meth:`PartitionTask.take`.

    Args:
        findings: number of the query in the task, and finding, in order of emission.
        late: rows that came after the watermark had passed them.
        ahead: rows whose event time is absurdly far in the future.
        problems: number of the query, and rows or matches on which a rule failed.
    """

    findings: list[tuple[int, Finding]] = field(default_factory=list)
    late: list[Row] = field(default_factory=list)
    ahead: list[Row] = field(default_factory=list)
    problems: list[tuple[int, Problem]] = field(default_factory=list)


class PartitionTask:
    """Rows of one partition through event time and operators.

    Rows come by :meth:`process` (watermark from the rows themselves) or, behind a repartition, by
    :meth:`process_from` and :meth:`upstream_watermark`.

    Args:
        slots: the operators.
        delay_ms: bound on disorder in ms; unused behind a repartition.
        mode: by what rows are ordered.
        upstreams: numbers of the upstream partitions behind a repartition; None for a source read directly.
    """

    def __init__(
        self,
        slots: Sequence[QuerySlot],
        *,
        delay_ms: int = 0,
        mode: TimeMode = TimeMode.ROWTIME,
        upstreams: Iterable[int] | None = None,
    ) -> None:
        self.slots = list(slots)
        self.mode = mode
        self.upstreams = None if upstreams is None else UpstreamWatermarks(upstreams)
        self._buffer = ReorderBuffer(delay_ms if upstreams is None else None)
        self._upstream_offsets: dict[int, int] = {}
        self._index = ReplayIndex()
        self._output = Output()
        self.next_position = 0
        self.rows = self.duplicates = self.replayed = 0
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
        self._take_rows(self._in_arrival_order(rows) if self.mode is TimeMode.ARRIVAL else rows, end)

    def upstream_watermark(self, upstream: int, watermark: int, *, end: int, idle: bool = False) -> None:
        """A control record of an upstream partition: it has reached ``watermark``, or has no rows for now."""
        if self.upstreams is None:
            raise ValueError("the task reads its source directly: there is no upstream partition")
        if end <= self.next_position:
            return
        self._index.note((), self.next_position, self._mark)
        self._buffer.advance(self.upstreams.idle(upstream) if idle else self.upstreams.update(upstream, watermark))
        self._take_rows((), end)

    def advance(self, watermark: int) -> None:
        """Move event time from outside: the partition is idle and others have gone on."""
        if self._replay is not None:
            self._end_replay()
        self._buffer.advance(watermark)
        self._run(self._buffer.release())

    def is_due(self, time_ms: int) -> bool:
        """Whether windows over processing time are complete at a time of the clock, though no row has come since."""
        if self.mode is not TimeMode.ARRIVAL or self._replay is not None:
            return False
        timed = [slot.operator for slot in self.slots if isinstance(slot.operator, WindowOperator | PipedOperator)]
        dues = [operator.due_ms() for operator in timed]
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

    def _take_rows(self, rows: Sequence[Row], end: int) -> None:
        replay = self._replay
        if replay is None:
            self.next_position = end
            self._add(rows)
            self._run(self._release(rows))
            return
        old = [row for row in rows if row[POSITION] < replay.next_position]
        self.replayed += len(old)
        self._add(old)  # those late were reported the first time
        if self.mode is TimeMode.ARRIVAL:
            self._replay_rows += old
        if end < replay.next_position:
            self.next_position = end
            return
        self._end_replay()
        self.next_position = max(end, replay.next_position)
        new = rows[len(old) :]
        if new or self._buffer.waiting:
            self._add(new)
            self._run(self._release(new))

    def _add(self, rows: Sequence[Row]) -> None:
        if self._replay is None:
            self.rows += len(rows)
        if self.mode is TimeMode.ROWTIME:
            late = self._buffer.add(rows)
            if self._replay is None:
                self._output.late += late
        elif rows:
            self._buffer.advance(rows[-1][TIME])

    def _release(self, rows: Sequence[Row]) -> list[Row]:
        return self._buffer.release() if self.mode is TimeMode.ROWTIME else list(rows)

    def _run(self, rows: list[Row]) -> None:
        watermark = self._buffer.watermark
        for number, slot in enumerate(self.slots):
            operator = slot.operator
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
            if found:
                self._output.findings += [(number, finding) for finding in found]
            if operator.problems:
                self._output.problems += [(number, problem) for problem in operator.problems]
                operator.problems.clear()

    # --- state ----------------------------------------------------------------------------------

    def checkpoint(self) -> tuple[Checkpoint, list[tuple[bytes, bytes | None]]]:
        """What to store so that a restored task has the same future, as of all rows taken so far.

        To be called together with :meth:`take`, and stored together with what that gave. State keys are prefixed by
        the query's name.
        """
        if self._replay is not None:
            return self._replay, []  # nothing new has come in: what is stored is still right
        changes: list[tuple[bytes, bytes | None]] = []
        needed = self._buffer.watermark + 1
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
