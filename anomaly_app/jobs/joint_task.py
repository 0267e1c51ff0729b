"""Rows of several tables through graphs: event time of each table, and steps cut so that batches do not matter.

The sibling of :mod:`anomaly_app.jobs.task` for queries that read several tables, or none. In memory rows come by
:meth:`JointTask.process`; a worker reads all tables through one repartition topic, and gives rows and watermarks of
their partitions by :meth:`JointTask.process_from` and :meth:`JointTask.upstream_watermark`. Then the frames of a record
of the topic are a step: what comes out is a function of the topic alone, wherever a restart cuts it. The vertices keep
the rows that they need, so nothing is read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anomaly_app.eventtime import UpstreamWatermarks
from anomaly_app.graph.asked import Question
from anomaly_app.graph.vertices import Flow
from anomaly_app.jobs.checkpoint import Checkpoint, Mark
from anomaly_app.jobs.task import Output, waiting_rows
from anomaly_app.operators import MAX_WATERMARK, MIN_WATERMARK, TIME, Row
from anomaly_app.upstreams import input_of

if TYPE_CHECKING:
    from anomaly_app.graph.operator import GraphOperator
    from anomaly_app.schema import Schema


@dataclass(frozen=True, slots=True)
class JointSlot:
    """A graph in a task.

    Args:
        name: of the query, unique in the task; prefixes its state keys.
        operator: fresh; its input ``-1 - k`` is table ``inputs[k]`` of the task.
        inputs: numbers of the tables that it reads.
        passes: its rows go to another fragment.
    """

    name: str
    operator: GraphOperator
    inputs: Sequence[int]
    passes: bool = False


class JointTask:
    """Drives graphs of several inputs.

    Args:
        slots: the graphs.
        schemas: of the tables. A table without time attribute has no watermark before its end; over processing time it
            has reached its last row.
        upstreams: numbers of the upstream partitions of all tables; None for rows in memory.

    Attributes:
        watermarks: of the tables.
        rows: taken.
        duplicates: rows that a crashed upstream partition has sent again.
        next_position: behind the last frame, or part of one.
    """

    def __init__(
        self, slots: Sequence[JointSlot], schemas: Sequence[Schema], upstreams: Iterable[int] | None = None
    ) -> None:
        self.slots = list(slots)
        self._delays = [
            schema.watermark_delay_ms if schema.rowtime is not None else 0 if schema.proctime is not None else None
            for schema in schemas
        ]
        self._can_be_late = [schema.rowtime is not None for schema in schemas]
        plans = [slot.operator.plan for slot in self.slots]
        self._ahead = 2 * MAX_WATERMARK if any(plan.one_by_one for plan in plans) else max(p.splits_at for p in plans)
        self.watermarks = [MIN_WATERMARK] * len(schemas)
        self._pending: list[list[Row]] = [[] for _ in schemas]
        self._output = Output()
        self._fronts: list[list[int]] | None = None
        if any(slot.operator.is_stamped for slot in self.slots):
            self._fronts = [[] for _ in schemas]
        self._upstreams: list[UpstreamWatermarks] = []
        if upstreams is not None:
            known = list(upstreams)
            self._upstreams = [UpstreamWatermarks(u for u in known if input_of(u) == k) for k in range(len(schemas))]
        self._offsets: dict[int, int] = {}
        self._before: tuple[bool, list[int]] | None = None
        """How idleness and watermarks were in front of the frames that are not settled yet."""
        self.next_position = 0
        self.rows = self.duplicates = 0

    # --- what the runtime shows -----------------------------------------------------------------

    @property
    def watermark(self) -> int:
        """Event time up to which all tables are complete, in ms."""
        return min((self.watermarks[number] for number in self.timed), default=MIN_WATERMARK)

    @property
    def timed(self) -> Sequence[int]:
        """Numbers of the tables that have a time attribute."""
        return [number for number, delay in enumerate(self._delays) if delay is not None]

    @property
    def buffered(self) -> int:
        """Rows that wait here for the watermark: none, they wait in the vertices."""
        return 0

    @property
    def late(self) -> int:
        """Rows that came too late in front of the graphs: none, the vertices tell."""
        return 0

    @property
    def replay_end(self) -> int:
        """Nothing is read again."""
        return 0

    @property
    def is_quiet(self) -> bool:
        """Whether all tables are idle."""
        return all(map(self.is_idle, self.timed))

    def is_idle(self, number: int) -> bool:
        """Whether a table has no rows for now, in none of its partitions, and holds nobody up."""
        return bool(self._upstreams) and self._upstreams[number].is_idle

    # --- rows in --------------------------------------------------------------------------------

    def process(self, rows: Iterable[tuple[int, Row]]) -> None:
        """Take rows in order of arrival.

        Args:
            rows: number of the table and row; positions rise over all tables.
        """
        rows = list(rows)
        watermarks, delays, ahead = self.watermarks, self._delays, self._ahead_for(len(rows))
        can_be_late, pending, fronts = self._can_be_late, self._pending, self._fronts
        some = False
        for number, row in rows:
            time = row[TIME]
            if some and can_be_late[number] and time <= watermarks[number] + ahead:
                self._step()
                pending, fronts = self._pending, self._fronts
            pending[number].append(row)
            if fronts is not None:
                fronts[number].append(watermarks[number])
            some = True
            delay = delays[number]
            if delay is not None and time - delay > watermarks[number]:
                watermarks[number] = time - delay
        if some:
            self._step()

    def process_from(self, upstream: int, rows: Sequence[Row], offsets: Sequence[int], *, end: int) -> None:
        """Take rows of one upstream partition, with their offsets there, which rise.

        They take part in the step of the next :meth:`upstream_watermark`. Rows whose offset was seen before are the
        replay of a crashed upstream: dropped and counted.

        Args:
            upstream: number of the upstream partition.
            rows: of the table that this is a partition of; their position is the one in the repartition topic.
            offsets: offset of each row in the upstream partition.
            end: position behind the last of these rows.
        """
        if end <= self.next_position:
            return
        seen = self._offsets.get(upstream, -1)
        if offsets and offsets[0] <= seen:
            fresh = [row for row, offset in zip(rows, offsets, strict=True) if offset > seen]
            self.duplicates += len(rows) - len(fresh)
            rows = fresh
        if offsets and offsets[-1] > seen:
            self._offsets[upstream] = offsets[-1]
        self.next_position = end
        self._take(input_of(upstream), rows)

    def _take(self, number: int, rows: Sequence[Row]) -> None:
        """Rows of a table for the next step; one that is behind the watermark begins one."""
        self.rows += len(rows)
        watermark = self.watermarks[number]
        pending, behind = self._pending[number], watermark + self._ahead_for(len(rows))
        can_be_late = self._can_be_late[number]
        for row in rows:
            if pending and can_be_late and row[TIME] <= behind:
                self._step()
                pending = self._pending[number]
            pending.append(row)
            if self._fronts is not None:
                self._fronts[number].append(watermark)

    def upstream_watermark(
        self, upstream: int, watermark: int, *, end: int, idle: bool = False, more: bool = False
    ) -> None:
        """The end of a frame: an upstream partition has reached ``watermark``, or has no rows for now.

        With ``more`` the next frame, of another partition, is of the same step.
        """
        if end > self.next_position:
            self.next_position = end
            if self._before is None:
                self._before = self.is_quiet, self.watermarks.copy()
            own = self._upstreams[input_of(upstream)]
            if idle:
                own.idle(upstream)
            else:
                own.update(upstream, watermark)
        if more or self._before is None:
            return
        before, self._before = self._before, None
        self._settle()
        if before != (self.is_quiet, self.watermarks) or any(self._pending):
            self._step()

    def _settle(self) -> None:
        """Watermarks of the tables from those of their partitions; an idle table follows those that are not."""
        timed, watermarks = self.timed, self.watermarks
        for number in timed:
            watermarks[number] = max(watermarks[number], self._upstreams[number].current)
        active = [watermarks[number] for number in timed if not self._upstreams[number].is_idle]
        # All idle: the last to go idle must not hold back what the others had reached.
        reached = min(active) if active else max((watermarks[number] for number in timed), default=MIN_WATERMARK)
        for number in timed:
            if self._upstreams[number].is_idle and watermarks[number] < reached:
                watermarks[number] = reached

    def advance(self, watermark: int) -> None:
        """Time passes by the clock, for tables that are ordered by it."""
        for number in self.timed:
            if not self._can_be_late[number] and watermark > self.watermarks[number]:
                self.watermarks[number] = watermark
        self._step()

    def is_due(self, time_ms: int) -> bool:
        """Whether windows over processing time are complete at a time of the clock, though no row has come since."""
        if all(self._can_be_late[number] or self.watermarks[number] >= time_ms for number in self.timed):
            return False
        dues = [slot.operator.due_ms() for slot in self.slots]
        return any(due is not None and due <= time_ms for due in dues)

    def finish(self, last: Sequence[tuple[int, Sequence[Row]]] = ()) -> None:
        """The end of all tables: every row is released, every window fires; without a checkpoint behind it.

        Args:
            last: numbers of tables, and rows of them that came of the end of another fragment.
        """
        for number, rows in last:
            self._take(number, rows)
        self.watermarks[:] = [MAX_WATERMARK] * len(self.watermarks)
        self._step()

    def take(self) -> Output:
        """Findings, late rows and problems since the last call."""
        output, self._output = self._output, Output()
        return output

    # --- rows that wait for answers -------------------------------------------------------------

    def questions(self) -> list[Question]:
        """What is to be asked since the last call; when answers have come, :meth:`release` goes on."""
        return [one for slot in self.slots for one in slot.operator.questions()]

    @property
    def waiting(self) -> int | None:
        """How many rows wait for an answer; None if nothing waits."""
        return waiting_rows(slot.operator for slot in self.slots)

    def release(self) -> None:
        """Go on with the rows whose answers are there; :meth:`take` has what comes of them."""
        for number, slot in enumerate(self.slots):
            # Rows for another fragment never wait: what may fail otherwise the next time is not cut.
            assert not slot.passes or slot.operator.waiting is None
            self._output.collect(number, slot.operator, slot.operator.released())

    # --- steps ----------------------------------------------------------------------------------

    def _ahead_for(self, rows: int) -> int:
        """How far ahead of the watermark a row must be so that it does not begin a step of its own."""
        return 2 * MAX_WATERMARK if any(slot.operator.crowded(rows) for slot in self.slots) else self._ahead

    def _step(self) -> None:
        rows, self._pending = self._pending, [[] for _ in self._pending]
        fronts: list[list[int]] | None = None
        if self._fronts is not None:
            fronts, self._fronts = self._fronts, [[] for _ in self._fronts]
        for number, slot in enumerate(self.slots):
            if fronts is not None:
                slot.operator.stamp_inputs([fronts[k] for k in slot.inputs])
            found = slot.operator.step([Flow(rows[k], self.watermarks[k]) for k in slot.inputs])
            if slot.passes:
                self._output.passed.append((number, found, slot.operator.reached))
            self._output.collect(number, slot.operator, () if slot.passes else found)

    # --- state ----------------------------------------------------------------------------------

    def checkpoint(self) -> tuple[Checkpoint, list[tuple[bytes, bytes | None]]]:
        """What to store so that a restored task has the same future, between two frames.

        To be called together with :meth:`take`, and stored together with what that gave. State keys are prefixed by
        the query's name.
        """
        changes: list[tuple[bytes, bytes | None]] = []
        for slot in self.slots:
            prefix = slot.name.encode() + b"\0"
            changes += [(prefix + key, value) for key, value in slot.operator.changes()]
        told: dict[int, int] = {}
        idle: list[int] = []
        for upstreams in self._upstreams:
            told |= upstreams.snapshot()
            idle += upstreams.idle_ones
        mark = Mark(self.next_position, upstream_offsets=dict(self._offsets), upstream_watermarks=told)
        checkpoint = Checkpoint(
            next_position=self.next_position,
            watermark=self.watermark,
            needed=MAX_WATERMARK,
            resume=mark,
            inputs=list(self.watermarks),
            idle=idle,
        )
        return checkpoint, changes

    def restore(self, checkpoint: Checkpoint, entries: Mapping[bytes, bytes]) -> int:
        """Take back a checkpoint and the state entries; call once, on a fresh task.

        Returns:
            The position from which rows must be fed.
        """
        mark = checkpoint.resume
        self.next_position = mark.position
        self._offsets = dict(mark.upstream_offsets)
        for number, upstreams in enumerate(self._upstreams):
            upstreams.restore(
                {u: w for u, w in mark.upstream_watermarks.items() if input_of(u) == number},
                [u for u in checkpoint.idle if input_of(u) == number],
            )
        if len(checkpoint.inputs) == len(self.watermarks):
            self.watermarks[:] = checkpoint.inputs
        for slot in self.slots:
            prefix = slot.name.encode() + b"\0"
            slot.operator.restore([(k[len(prefix) :], v) for k, v in entries.items() if k.startswith(prefix)])
            slot.operator.resume_inputs([self.watermarks[k] for k in slot.inputs])
        return self.next_position
