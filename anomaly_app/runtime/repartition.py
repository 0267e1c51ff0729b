"""Stages of sources that are not keyed as their queries need it: rows go by key through a repartition topic.

Upstream, one stage for each source partition sends its rows on and tells its watermark; downstream, one stage for each
partition of the repartition topic runs the queries over the rows of all upstream partitions. Time downstream is the
least of the upstream watermarks. Upstream offsets rise, so what a crashed upstream sends again is recognised. The
tables of a query that reads several share one topic: a task reads one log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from anomaly_app.errors import DecodeError
from anomaly_app.eventtime import ReorderBuffer, split_ahead, with_times
from anomaly_app.jobs.checkpoint import Checkpoint, Mark
from anomaly_app.jobs.joint_task import JointTask
from anomaly_app.jobs.task import Output, TimeMode
from anomaly_app.operators import COLUMNS, POSITION, TIME, Arrivals, Row
from anomaly_app.plan.screening import Screen
from anomaly_app.runtime.detect_stage import DetectStage, shown_watermark
from anomaly_app.runtime.exchange import Outlet
from anomaly_app.runtime.feed import Feed
from anomaly_app.runtime.frames import POSITION_BITS, Frame, What, decode_heads, partition_of, position_of
from anomaly_app.runtime.outgoing import Outgoing, error_headers, raw
from anomaly_app.runtime.pipeline import Pipeline
from anomaly_app.runtime.stage import Flush, Stage
from anomaly_app.schema import Changelog
from anomaly_app.status import InputStatus, PartitionStatus
from anomaly_app.upstreams import partition_of as partition_of_upstream, upstream_of

IDLE_AGAIN_S = 10.0
"""An idle partition says so again: downstream may have restarted meanwhile."""


class ShuffleStage(Stage):
    """A source partition whose rows go on by key.

    Args:
        checkpoint: of the last flush.
        run: of this worker, for the end of a bounded run.
        feed: the table; None for the only one.
    """

    def __init__(
        self, pipeline: Pipeline, topic: str, partition: int, epoch: int, end: int | None,
        checkpoint: Checkpoint, run: str, feed: Feed | None = None,
    ) -> None:  # fmt: skip
        feed = pipeline.feeds[0] if feed is None else feed
        super().__init__(pipeline, feed, topic, partition, epoch, end)
        self._run = run
        self._rowtime = feed.source.mode is TimeMode.ROWTIME
        self._timeless = feed.source.schema.changelog is Changelog.UPSERT
        self._buffer = ReorderBuffer(feed.source.schema.watermark_delay_ms)
        self._buffer.restore([], highest=checkpoint.highest, watermark=checkpoint.watermark)
        self._told = checkpoint.watermark
        self.position = checkpoint.next_position
        self._partition_of = self._spread(feed, pipeline.downstream)
        readers = pipeline.plan.readers(feed.number)
        self._screen = Screen(readers, feed.layout) if readers is not None else None
        self._waiting: list[list[Row]] = [[] for _ in range(pipeline.downstream)]
        self._cuts: list[list[tuple[int, int]]] = [[] for _ in range(pipeline.downstream)]
        """Where downstream must know a watermark before the next row: numbers of waiting rows, and watermarks."""
        self._idle_told: float | None = None
        self._returns = False
        self._taken = time.monotonic()
        self.shuffled = 0

    def _spread(self, feed: Feed, downstream: int) -> Callable[[Row], int]:
        """Where a row belongs."""
        if feed.partition_by is None:
            own = self.partition % downstream
            return lambda row: own
        return partition_of(feed.layout, feed.partition_by, downstream)

    async def prepare(self, records: Sequence[Any], now_ms: int) -> None:
        """Schemas of the records."""
        await self.feed.prepare(records, now_ms)

    def process(self, records: Sequence[Any], now_ms: int) -> None:
        """Decode a batch and sort its rows by where they belong."""
        pipeline, feed = self.pipeline, self.feed
        self._taken = time.monotonic()
        decoded = feed.decode(records, now_ms)
        self.ignored += decoded.ignored
        self.tombstones += decoded.tombstones
        for record, error in decoded.bad:
            self.dead_letters += 1
            self._records.append(raw(feed.dead_letter_topic, record, error_headers(error)))
        rows: Sequence[Row] = decoded.rows
        behind: Sequence[tuple[int, int]] = ()
        if self._rowtime:
            if self._timeless:
                rows = with_times(rows, self._buffer.highest, now_ms + feed.max_ahead_ms)
            rows, ahead = split_ahead(rows, now_ms + feed.max_ahead_ms)
            late: Sequence[Row] = ()
            if pipeline.plan.needs_order:
                late = self._buffer.add(rows)
                # Order is made downstream; here the buffer only judges lateness and moves the watermark.
                rows, self._buffer.waiting = self._buffer.waiting, []
            else:
                behind = self._move_time(rows)
            if late or ahead:
                self._set_apart(records, late, ahead)
        elif rows:
            self._buffer.advance(rows[-1][TIME])
        self.shuffled += len(rows)
        if self._screen is not None and not behind:
            rows = self._screen.keep(rows)
        partition_of, waiting = self._partition_of, self._waiting
        first = 0
        for number, watermark in behind:
            for row in rows[first:number]:
                waiting[partition_of(row)].append(row)
            self._cut(partition_of(rows[number]), watermark)
            first = number
        for row in rows[first:] if first else rows:
            waiting[partition_of(row)].append(row)

    def _move_time(self, rows: Sequence[Row]) -> Sequence[tuple[int, int]]:
        """Move the watermark; gives the rows that are behind it, which pass: a query may still take them."""
        buffer, delay = self._buffer, self.feed.source.schema.watermark_delay_ms
        arrivals = Arrivals(rows, watermark=buffer.watermark, highest=buffer.highest, delay_ms=delay)
        buffer.watermark, buffer.highest = arrivals.watermark, arrivals.highest
        return arrivals.behind

    def _cut(self, target: int, watermark: int) -> None:
        """The next row for a partition downstream is behind the watermark: that must be known there by then."""
        cuts = self._cuts[target]
        if watermark > (cuts[-1][1] if cuts else self._told):
            cuts.append((len(self._waiting[target]), watermark))

    def _set_apart(self, records: Sequence[Any], late: Sequence[Row], ahead: Sequence[Row]) -> None:
        by_offset = {record.offset: record for record in records}
        feed = self.feed
        self.late += len(late)
        self.rejected += len(ahead)
        for output in self.pipeline.outputs:
            output.late += len(late)
        for row in late:
            self._records.append(raw(feed.late_topic, by_offset[row[POSITION]], []))
        for row in ahead:
            error = error_headers(feed.ahead_error(row))
            self._records.append(raw(feed.dead_letter_topic, by_offset[row[POSITION]], error))

    def tick(self, now: float) -> None:
        """Say downstream that there are no rows for now."""
        super().tick(now)
        if self.idle and (self._idle_told is None or now - self._idle_told >= IDLE_AGAIN_S):
            self._idle_told = now
            self.touch()
        elif not self.idle:
            self._idle_told = None

    def come_back(self) -> None:
        """Rows came while nobody read: they are not late because an earlier run has said that there are none."""
        self._returns = True

    def hold(self) -> None:
        """Something is away: see :meth:`Stage.hold`."""
        super().hold()
        self._taken = time.monotonic()

    def _look_if_idle(self, now: float) -> None:
        """Rows of a quiet topic tell with themselves that none follow, as far as its timeout is over: nobody waits."""
        timeout = self.feed.idle_timeout_s
        if timeout and self.position >= self.highwater and now - self._taken >= timeout:
            self.idle, self._idle_told = True, now

    def fill(self, flush: Flush, now_ms: int) -> None:
        """Frames to every partition downstream."""
        watermark, before = self._buffer.watermark, self._told
        self._look_if_idle(time.monotonic())
        moved = watermark != before or self.idle or self._returns
        self._returns = False
        for target, rows in enumerate(self._waiting):
            if not rows and not moved:
                continue
            frames = self._frames(rows, self._cuts[target], before, watermark) if rows or not self.idle else []
            if self.idle:
                frames.append(self.feed.frames.encode(self.partition, watermark, (), What.IDLE))
            flush.records += [self._frame(target, data) for data in frames]
            if rows:
                self._waiting[target] = []
            self._cuts[target] = []
        self._told = watermark
        flush.checkpoint = Checkpoint(
            next_position=self.position,
            watermark=watermark,
            highest=self._buffer.highest,
            resume=Mark(position=self.position),
        )

    def _frames(self, rows: Sequence[Row], cuts: Sequence[tuple[int, int]], before: int, watermark: int) -> list[bytes]:
        frames: list[bytes] = []
        first = 0
        for number, reached in cuts:
            frames += self.feed.frames.encode_all(self.partition, before, reached, rows[first:number])
            first, before = number, reached
        return frames + self.feed.frames.encode_all(self.partition, before, watermark, rows[first:])

    def _frame(self, target: int, data: bytes) -> Outgoing:
        return Outgoing(self.pipeline.repartition_topic, b"%d" % target, data, [], partition=target, is_frame=True)

    def finish(self, now_ms: int) -> Flush:
        """Tell downstream that this is all."""
        data = self.feed.frames.encode(self.partition, self._buffer.watermark, (), What.END, self._run)
        return Flush([self._frame(target, data) for target in range(self.pipeline.downstream)])

    def status(self, now: float) -> PartitionStatus:
        """For the page: what downstream does not show."""
        watermark = self._buffer.watermark
        return PartitionStatus(
            job=self.pipeline.job.name,
            queries=tuple(query.name for query in self.pipeline.plan.queries),
            source=self.feed.topic,
            topic=self.topic,
            partition=self.partition,
            rows=self.shuffled,
            rows_per_s=self.rate.at(now, self.shuffled),
            lag=max(0, self.highwater - self.position),
            watermark_ms=shown_watermark(watermark),
            buffered=0,
            late=self.late,
            rejected=self.rejected,
            dead_letters=self.dead_letters,
            duplicates=0,
        )


class MergeStage(DetectStage):
    """A partition behind a repartition: rows of all upstream partitions."""

    def __init__(self, *args: Any, run: str, bounded: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._run, self._bounded = run, bounded
        self._ended: set[int] = set()
        self._upstreams = set(self.pipeline.upstreams or ())
        self._last: list[tuple[int, Sequence[Row]]] = []
        self.outlets: dict[int, Outlet] = {}
        self.resume_frame = 0

    @property
    def is_quiet(self) -> bool:
        """Whether no rows come to any upstream partition for now."""
        task = self.task
        idle = task.is_quiet if isinstance(task, JointTask) else task.upstreams is not None and task.upstreams.is_idle
        return idle and self.position >= self.highwater

    def open_outlets(self, passed: Mapping[str, int]) -> None:
        """Let rows go on to other fragments.

        Args:
            passed: how many have gone, by the name of the query's state.
        """
        for (slot, _), (number, query) in zip(
            self.pipeline.plan.slots.items(), enumerate(self.pipeline.plan.queries), strict=True
        ):
            if query.passes:
                target, feed = self.pipeline.targets[number]
                columns = query.factory.output
                self.outlets[number] = Outlet(target, feed, columns, self.partition, passed.get(slot, 0), self._run)

    async def prepare(self, records: Sequence[Any], now_ms: int) -> None:
        """Nothing: frames are the worker's own."""

    def process(self, records: Sequence[Any], now_ms: int) -> None:
        """Rows and watermarks of some frames."""
        for record in records:
            try:
                frames = decode_heads(record.value)
            except msgspec.DecodeError as error:
                self._refuse(record, f"not a frame of this worker's repartition: {error}")
                continue
            known = [
                (place, frame, upstream)
                for place, frame in enumerate(frames)
                if self._is_read(record, frame, upstream := upstream_of(frame.input, frame.upstream))
            ]
            together: set[int] = set()
            for number, (place, frame, upstream) in enumerate(known, 1):
                together.add(upstream)
                # Those of several partitions upstream are one step, up to the next of one of them.
                more = number < len(known) and known[number][2] not in together
                if not more:
                    together.clear()
                end = position_of(record.offset, place + 1) if number < len(known) else position_of(record.offset + 1)
                self._take_frame(record, place, frame, upstream, end, more=more)
        self.ask()
        self.keep(self.task.take())

    def _is_read(self, record: Any, frame: Frame, upstream: int) -> bool:
        if upstream in self._upstreams:
            return True
        where = f"partition {partition_of_upstream(upstream)} of a topic of table {frame.input}"
        self._refuse(record, f"a frame of {where}, which is not read")
        return False

    def _take_frame(self, record: Any, place: int, frame: Frame, upstream: int, end: int, *, more: bool) -> None:
        task = self.task
        try:
            rows, offsets = self.pipeline.feed_of(upstream).codec.decode(frame, record.offset, place)
        except (DecodeError, msgspec.DecodeError) as error:
            self._refuse(record, str(error))
            rows, offsets = [], []
        if frame.what == What.LAST:
            if frame.run == self._run:  # not to be known when the job goes on after more rows
                self._last.append((frame.input, rows))
        elif rows:
            task.process_from(upstream, rows, offsets, end=end - 1)
        if frame.what == What.END:
            if frame.run == self._run:
                self._ended.add(upstream)
        idle = frame.what == What.IDLE or (frame.what == What.END and not self._bounded)
        task.upstream_watermark(upstream, frame.watermark, end=end, idle=idle, more=more)

    def keep(self, output: Output) -> None:
        """Late rows too, which are not at hand as they came; and rows for other fragments."""
        for row in output.late:
            self.late += 1
            origin = row[-1] if row and isinstance(row[-1], tuple) else None
            about = "late" if origin is None else f"late-{origin[0][0]}-{origin[0][1]}"
            self._records.append(self.write_rows([row], [], about, late=True))
        for number, findings, reached in output.passed:
            places = [self.place(finding.last) for finding in findings]
            assert isinstance(self.task, JointTask)
            self.outlets[number].add(findings, places, reached, self.task.is_quiet)
        super().keep(output)

    def _refuse(self, record: Any, problem: str) -> None:
        self.dead_letters += 1
        self._records.append(raw(self.feed.dead_letter_topic, record, error_headers(DecodeError(problem))))

    def fill(self, flush: Flush, now_ms: int) -> None:
        """Findings, and the checkpoint, which says which frames a restart would read."""
        super().fill(flush, now_ms)
        assert flush.checkpoint is not None
        if self.outlets:
            slots = list(self.pipeline.plan.slots)
            for outlet in self.outlets.values():
                flush.records += outlet.frames()
            passed = {slots[number]: outlet.number for number, outlet in self.outlets.items()}
            flush.checkpoint = msgspec.structs.replace(flush.checkpoint, passed=passed)
        self.resume_frame = flush.checkpoint.resume.position >> POSITION_BITS

    def place(self, row: Row) -> tuple[int, int]:
        """Where the row stands in its source: behind the columns; one that comes from no table has no such place."""
        upstream, offset = self.behind(row) or (0, 0)
        return upstream, offset

    def behind(self, row: Row) -> Row:
        """Upstream partition, and offset there."""
        if isinstance(row[-1], tuple):  # of another fragment: it ends with its origin
            return tuple(row[-1][2:])
        return row[-2:] if len(row) >= COLUMNS + 2 and row[-1] is not None else ()

    def feed_of(self, row: Row) -> Feed:
        """The table that a row is of, or the fragment."""
        upstream = row[-1][0][0] if isinstance(row[-1], tuple) else self.place(row)[0]
        return self.pipeline.feed_of(upstream)

    def end_time(self) -> None:
        """Release every row, with those that came of the end of other fragments."""
        if isinstance(self.task, JointTask):
            self.task.finish(self._last)
        else:
            self.task.finish()
        self.ask()

    def finish(self, now_ms: int) -> Flush | None:
        """What comes of the end, also for other fragments."""
        flush = super().finish(now_ms)
        if flush is not None:
            for outlet in self.outlets.values():
                flush.records += outlet.last_frames()
        return flush

    @property
    def at_end(self) -> bool:
        """Every upstream partition has ended in this run."""
        return len(self._ended) >= len(self._upstreams)

    def status(self, now: float) -> PartitionStatus:
        """For the page; of several tables also how far each is, and which holds time back."""
        status, task = super().status(now), self.task
        if not isinstance(task, JointTask):
            return status
        timed = [number for number in task.timed if not task.is_idle(number)]
        slowest = min(timed, key=task.watermarks.__getitem__, default=None) if len(timed) > 1 else None
        inputs = [
            InputStatus(
                table=feed.told,
                topic=feed.source.topic,
                watermark_ms=shown_watermark(task.watermarks[feed.number]),
                idle=task.is_idle(feed.number),
                holds=feed.number == slowest,
            )
            for feed in {feed.number: feed for feed in self.pipeline.feeds}.values()
        ]
        return msgspec.structs.replace(status, inputs=tuple(inputs))
