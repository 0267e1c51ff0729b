"""One assigned partition at work: records in, what to write out, checkpoints.

A stage processes rows as soon as they come and writes nothing itself. What gathers meanwhile is taken out by
:meth:`Stage.gather` and written by the flusher (group commit): one flush per fetch would cost several milliseconds
each and collapse on a live topic, where fetches hold a few rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from anomaly_app.alerts.builder import LONGEST_TEXT, MOST_BYTES, encode as encode_alert, shorten
from anomaly_app.alerts.record import Alert
from anomaly_app.alerts.silent_source import SilenceWatch
from anomaly_app.errors import EvaluationError
from anomaly_app.graph.vertices import place_in_source, row_number
from anomaly_app.jobs.checkpoint import Checkpoint
from anomaly_app.jobs.joint_task import JointTask
from anomaly_app.jobs.task import Output, PartitionTask
from anomaly_app.operators import (
    COLUMNS,
    MAX_WATERMARK,
    MIN_WATERMARK,
    POSITION,
    TIME,
    Finding,
    InnerRow,
    Layout,
    Problem,
    Row,
)
from anomaly_app.runtime.feed import Feed
from anomaly_app.runtime.lane import Batch
from anomaly_app.runtime.outgoing import (
    MAX_RECORD_BYTES,
    NODE_HEADER,
    Headers,
    Outgoing,
    error_headers,
    raw,
    result,
    size,
    text_headers,
)
from anomaly_app.runtime.pipeline import Pipeline
from anomaly_app.status import PartitionStatus
from anomaly_app.upstreams import partition_of

SILENCE_KEY = b"\0silence"
"""Of the state entry of :class:`SilenceWatch`, in the state of the partition 0 of its source."""

MAX_ASKED_ROWS = 10_000
"""Rows of steps that wait for the answers of models: then no more rows are taken, until some have got theirs."""

MAX_PENDING_ROWS = 50_000
"""Rows taken and not flushed, at most: then the stage waits for the flush."""


class Pending:
    """A batch that several stages take; acknowledged when all have written what came of it."""

    __slots__ = ("_event", "_left")

    def __init__(self, event: Any, stages: int) -> None:
        self._event, self._left = event, stages

    def done(self) -> None:
        """One stage has."""
        self._left -= 1
        if not self._left:
            self._event.ack()

    def drop(self) -> None:
        """A stage will not: its partition is gone. Faust waits for every message, so this one is let go unfinished."""
        self._event.value.dropped = True
        if self._left > 0:
            self._left = 0
            self._event.ack()


class Replays(NamedTuple):
    """Rows that the process before this one may have taken beyond its last checkpoint.

    Args:
        end: offset behind them; a process holds a bounded number of rows that are not flushed.
        outputs: of every topic written, the last offset that stood there as of the checkpoint, by partition.
    """

    end: int
    outputs: dict[str, list[int]]


@dataclass(slots=True)
class Flush:
    """What one flush writes, in order: records, state, acknowledgements.

    Args:
        records: written and acknowledged first.
        checkpoint: then the state up to here; None for a flush without (the end of a bounded run).
        changes: of the operators.
        batches: acknowledged last.
        alerts: for the page.
        lines: to be printed, each to the standard error or not.
    """

    records: list[Outgoing] = field(default_factory=list)
    checkpoint: Checkpoint | None = None
    changes: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    batches: list[Pending] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    lines: list[tuple[bool, str]] = field(default_factory=list)


class Stage:
    """Base of the stages of a partition.

    Args:
        pipeline: of the plan.
        feed: the table that it reads; behind a repartition of several tables the first one.
        topic: that it reads.
        partition: of that topic.
        epoch: of the seek that it began with.
        end: for a bounded run, the offset at which it ends; None to go on for ever.

    Attributes:
        queries: whose state it writes: names of the state, and what to call them.
        left_behind: entries of queries that the job has no more, to be deleted after the next checkpoint.
        stored: it has written a checkpoint.
        ended: the end of a bounded run is reached, and time has ended with it: no checkpoint may tell of that, and
            rows that come now are those of another run.
    """

    def __init__(self, pipeline: Pipeline, feed: Feed, topic: str, partition: int, epoch: int, end: int | None) -> None:
        self.pipeline, self.feed = pipeline, feed
        self.topic, self.partition, self.epoch, self.end = topic, partition, epoch, end
        self.wake = asyncio.Event()
        self.flushed = asyncio.Event()
        self.flushed.set()
        self.dirty = False
        self.settled = asyncio.Event()
        self.settled.set()
        self.ended = self.finished = self.idle = False
        self._quiet_since: float | None = None
        self.highwater = 0
        self.stood_at = -1
        self.position = 0
        self.pending_rows = 0
        self.replays: Replays | None = None
        self.gone = asyncio.Event()
        self.moved = asyncio.Event()
        """Set when rows have got an answer that waited for one."""
        self.queries: dict[str, str] = {}
        self.left_behind: list[bytes] = []
        self.stored = False
        self.rejected = self.dead_letters = self.late = self.ignored = self.tombstones = 0
        self.rate = Rate()
        self._batches: list[Pending] = []
        self._records: list[Outgoing] = []
        self.silence: SilenceWatch | None = None
        self._silences: list[Alert] = []

    # --- in ---------------------------------------------------------------------------------------

    async def take(self, pending: Pending, batch: Batch, now_ms: int) -> None:
        """Process a batch; returns when the next one may come."""
        if self.ended:
            pending.drop()
            return
        records = batch.records
        if records[0].offset < self.position:
            # Another plan of this topic had to go back further.
            records = [record for record in records if record.offset >= self.position]
        if self.end is not None and records and records[-1].offset >= self.end:
            records = [record for record in records if record.offset < self.end]
            if not records:
                self.position = max(self.position, self.end)
                self.wake.set()
        if not records:
            pending.done()
            return
        await self.prepare(records, now_ms)
        while self.pending_rows >= MAX_PENDING_ROWS and not self.gone.is_set():
            self.flushed.clear()
            await self.flushed.wait()
        while self.is_crowded and not self.gone.is_set():
            self.moved.clear()
            await self.moved.wait()
        if self.gone.is_set() or self.ended:
            pending.drop()
            return
        self._batches.append(pending)
        self.pending_rows += len(records)
        self.highwater = max(self.highwater, batch.highwater)
        self.process(records, now_ms)
        self.position = records[-1].offset + 1
        self._quiet_since, self.idle = None, False
        self.touch()

    def close(self) -> None:
        """The partition is gone: nothing is flushed any more."""
        self.gone.set()
        self.moved.set()
        for pending in self._batches:
            pending.drop()
        self._batches = []
        self.flushed.set()

    def touch(self) -> None:
        """There is something to flush; behind the end there is nothing any more."""
        if self.ended:
            return
        self.dirty = True
        self.settled.clear()
        self.wake.set()

    # --- rows that wait for answers ---------------------------------------------------------------

    @property
    def waiting(self) -> int | None:
        """How many rows wait for an answer of a model; None if nothing waits."""
        return None

    @property
    def is_crowded(self) -> bool:
        """Whether so many rows wait that no more should come."""
        return (self.waiting or 0) >= MAX_ASKED_ROWS

    def begin(self) -> None:
        """Go on with what was restored."""

    async def quiet(self) -> None:
        """Wait until no row waits for an answer."""
        while self.waiting is not None and not self.gone.is_set():
            self.moved.clear()
            await self.moved.wait()

    async def prepare(self, records: Sequence[Any], now_ms: int) -> None:
        """Fetch what decoding needs."""

    def process(self, records: Sequence[Any], now_ms: int) -> None:
        """Process records."""
        raise NotImplementedError

    @property
    def at_end(self) -> bool:
        """Whether everything that a bounded run is to read has been read."""
        return self.end is not None and self.position >= self.end

    def tick(self, now: float) -> None:
        """Time passes (monotonic, in s): a partition that is read to its end and gets no rows becomes idle."""
        timeout = self.feed.idle_timeout_s
        # Not "dirty": what there is to flush may be news of other partitions only.
        if self.pending_rows or self.position < self.highwater or not timeout:
            self._quiet_since, self.idle = None, False
        elif self._quiet_since is None:
            self._quiet_since = now
        elif now - self._quiet_since >= timeout:
            self.idle = True

    def hold(self) -> None:
        """Something is away, such as the broker: no rows come, and what piles up must not be late afterwards."""
        self._quiet_since = None

    # --- out --------------------------------------------------------------------------------------

    def gather(self, now_ms: int) -> Flush:
        """Take out what gathered since the last flush."""
        flush = Flush(self._records, batches=self._batches)
        self._records, self._batches, self.pending_rows, self.dirty = [], [], 0, False
        self.fill(flush, now_ms)
        if self.silence is not None and self.silence.news:
            flush.changes = [*flush.changes, (SILENCE_KEY, self.silence.memory())]
            alerts, self._silences = self._silences, []
            flush.records += [
                result(self.pipeline.alert_topic, alert_key(alert), encode_alert(alert), alert.id) for alert in alerts
            ]
            flush.alerts += alerts
        return flush

    def observe(self, ends: Sequence[int], now_ms: int) -> None:
        """Where the whole source ends now, by the wall clock: for the stage that watches over its silence."""
        assert self.silence is not None
        alert = self.silence.observe(ends, now_ms)
        if alert is not None:
            self._silences.append(alert)
        if self.silence.news:
            self.touch()

    def fill(self, flush: Flush, now_ms: int) -> None:
        """Add findings and the checkpoint."""
        raise NotImplementedError

    def end_time(self) -> None:
        """The end of a bounded run is reached and flushed."""

    def finish(self, now_ms: int) -> Flush | None:
        """Time has ended, and nothing waits any more: what comes of it; None if it has to wait for others."""
        raise NotImplementedError

    def status(self, now: float) -> PartitionStatus:
        """For the page."""
        raise NotImplementedError


class DetectStage(Stage):
    """A partition that is read as its plan's queries need it."""

    def __init__(
        self, pipeline: Pipeline, topic: str, partition: int, epoch: int, end: int | None,
        task: PartitionTask | JointTask,
    ) -> None:  # fmt: skip
        super().__init__(pipeline, pipeline.feeds[0], topic, partition, epoch, end)
        self.task = task
        self.queries = {slot: f"{pipeline.job.name}/{name}" for slot, name in pipeline.plan.slots.items()}
        self._findings: list[tuple[int, Finding]] = []
        self._releases = False
        self.failed: Exception | None = None

    async def prepare(self, records: Sequence[Any], now_ms: int) -> None:
        """Schemas of the records."""
        await self.feed.prepare(records, now_ms)

    def process(self, records: Sequence[Any], now_ms: int) -> None:
        """Decode a batch, sort out what is bad, and give the rest to the task."""
        feed, task = self.feed, self.task
        assert isinstance(task, PartitionTask), "several tables come through a repartition"
        decoded = feed.decode(records, now_ms)
        replay_end = task.replay_end
        self.ignored += decoded.ignored
        self.tombstones += decoded.tombstones
        for record, error in decoded.bad:
            if record.offset >= replay_end:
                self.dead_letters += 1
                self._records.append(raw(feed.dead_letter_topic, record, error_headers(error)))
        end = records[-1].offset + 1
        task.process(decoded.rows, end=end, latest_ms=now_ms + feed.max_ahead_ms)
        self.ask()
        output = task.take()
        if output.late or output.ahead:
            self._set_apart(records, output.late, output.ahead)
        self.keep(output)

    # --- rows that wait for answers ---------------------------------------------------------------

    @property
    def waiting(self) -> int | None:
        """How many rows wait for an answer of a model; None if nothing waits."""
        return self.task.waiting

    def ask(self) -> None:
        """Have asked what rows wait for."""
        for question in self.task.questions():
            question.owner = self
            self.pipeline.callers.ask(question)

    def begin(self) -> None:
        """Ask for the rows that waited when the state was written, and go on with those that were answered."""
        self._release()

    def answered(self) -> None:
        """An answer has come: go on soon, with all that come meanwhile."""
        if not self._releases:
            self._releases = True
            asyncio.get_running_loop().call_soon(self._release)

    def _release(self) -> None:
        self._releases = False
        if self.gone.is_set():
            return
        try:
            self.task.release()
            self.ask()
            self.keep(self.task.take())
        except Exception as error:
            self.failed = error  # the flusher tells
        self.moved.set()
        self.touch()

    def gather(self, now_ms: int) -> Flush:
        """Take out what gathered since the last flush."""
        if self.failed is not None:
            raise self.failed
        return super().gather(now_ms)

    def close(self) -> None:
        """The partition is gone."""
        super().close()
        for slot in self.task.slots:
            slot.operator.drop_questions()

    def _set_apart(self, records: Sequence[Any], late: Sequence[Row], ahead: Sequence[Row]) -> None:
        by_offset = {record.offset: record for record in records}
        feed = self.feed
        for row in late:
            self.late += 1
            self._records.append(raw(feed.late_topic, by_offset[row[POSITION]], []))
        for row in ahead:
            self.rejected += 1
            error = error_headers(feed.ahead_error(row))
            self._records.append(raw(feed.dead_letter_topic, by_offset[row[POSITION]], error))

    def keep(self, output: Output) -> None:
        """Hold findings for the flush, and make records of what a rule failed on and of its own rows that were late."""
        self._findings += output.findings
        for number, count in output.late_for.items():
            # By query: one may still take a row that is too late for another.
            self.pipeline.outputs[number].late += count
        for number, row in output.late_inside:
            self._late_inside(number, row)
        for number, problem in output.problems:
            self._dead_letter(number, problem)

    def _whose(self, number: int) -> list[tuple[str, str]]:
        return [("anomaly-job", self.pipeline.job.name), ("anomaly-query", self.pipeline.plan.queries[number].name)]

    def _late_inside(self, number: int, late: InnerRow) -> None:
        pipeline, query = self.pipeline, self.pipeline.plan.queries[number].name
        self.late += 1
        headers = text_headers([*self._whose(number), (NODE_HEADER, late.node)])
        about = f"{pipeline.job.name}-{query}-late-{late.number}"
        self._records.append(self.write_rows([late.row], headers, about, layout=late.layout, late=True))

    def _dead_letter(self, number: int, problem: Problem) -> None:
        pipeline, query = self.pipeline, self.pipeline.plan.queries[number].name
        self.dead_letters += 1
        headers = error_headers(problem.error, [*self._whose(number), (NODE_HEADER, problem.node)])
        about = f"{pipeline.job.name}-{query}-{len(problem.rows)}"
        if problem.layout is not None:
            about += f"-{row_number(problem.rows[-1], COLUMNS + len(problem.layout.columns))}"
        self._records.append(self.write_rows(problem.rows, headers, about, layout=problem.layout))

    def write_rows(
        self, rows: Sequence[Row], headers: Headers, about: str, *, layout: Layout | None = None, late: bool = False
    ) -> Outgoing:
        """Rows as a record for the topic of what is late, or of dead letters, of the table that the last one is of.

        Args:
            rows: of tables, or that a query has made.
            headers: of the record.
            about: tells problems of one row apart.
            layout: of rows that a query has made; None for those of tables.
            late: they are late; else something failed on them.
        """
        upstream, offset = self.place(rows[-1]) if layout is None else self._inner_place(rows[-1], layout)
        feed = self.pipeline.feed_of(upstream)
        if layout is None:
            writer, shown = feed.row_writer, [self.feed_of(row).show(row) for row in rows]
        else:
            writer = self.pipeline.writer_of(layout, feed)
            shown = [writer.shown(row) for row in rows]
        topic, place = feed.late_topic if late else feed.dead_letter_topic, (partition_of(upstream), offset)
        return writer.write(topic, shown, rows[-1][TIME], place, headers, about)

    def _inner_place(self, row: Row, layout: Layout) -> tuple[int, int]:
        """Upstream partition and offset of the last row of a source that a row of a query was made of."""
        offset, partition = place_in_source(row, COLUMNS + len(layout.columns))
        return self.feed.upstream(self.partition) if partition is None else partition, offset

    @property
    def is_quiet(self) -> bool:
        """Whether no rows come for now."""
        return self.idle

    def advance(self, watermark: int) -> None:
        """The partition is idle and others have gone on: time passes here too."""
        self.task.advance(watermark)
        self.ask()
        self.keep(self.task.take())
        self.touch()

    def place(self, row: Row) -> tuple[int, int]:
        """Upstream partition (of a table of one topic: its partition) and offset of a row in the source."""
        return self.feed.upstream(self.partition), row[POSITION]

    def feed_of(self, row: Row) -> Feed:
        """The table that a row is of."""
        return self.feed

    def behind(self, row: Row) -> Row:
        """What stands behind the columns of a row of a source."""
        return ()

    def fill(self, flush: Flush, now_ms: int) -> None:
        """Findings as results and alerts, and the checkpoint."""
        self._write_findings(flush, now_ms)
        flush.records += self._records  # of results that have no form in their format
        self._records = []
        flush.checkpoint, flush.changes = self.task.checkpoint()

    def _write_findings(self, flush: Flush, now_ms: int) -> None:
        findings, self._findings = self._findings, []
        outputs = self.pipeline.outputs
        changes: dict[int, list[Finding]] = {}
        for number, finding in findings:
            partition, offset = self.place(finding.last)
            output = outputs[number]
            if output.changes is not None:
                changes.setdefault(number, []).append(finding)
                continue
            if output.printer is not None:
                flush.lines.append((output.printer.to_stderr, output.printer.line(finding)))
            if output.encoder is not None:
                try:
                    key, value = output.encoder.encode(finding.values)
                    if size(key, value) > MAX_RECORD_BYTES:
                        raise EvaluationError(f"the result takes {size(key, value)} bytes: too many for a record")
                except EvaluationError as error:
                    self._refused(number, finding, error)
                else:
                    id_ = output.builder.id(finding, partition=partition, offset=offset)
                    flush.records.append(result(output.topic, key, value, id_))
            if not output.query.tells(finding):
                continue
            alert = output.builder.build(finding, partition=partition, offset=offset, detected_ms=now_ms)
            encoded = encode_alert(alert)
            if len(encoded) > MOST_BYTES:
                alert = shorten(alert)
                encoded = encode_alert(alert)
            flush.records.append(result(self.pipeline.alert_topic, alert_key(alert), encoded, alert.id))
            flush.alerts.append(alert)
            output.alerts += 1
        for number, found in changes.items():
            writer = outputs[number].changes
            assert writer is not None
            flush.records += writer.records(found, self.partition, partial(self._refused, number))

    def _refused(self, number: int, finding: Finding, error: EvaluationError) -> None:
        """A finding that has no form in the format of its table."""
        columns = Layout(tuple(self.pipeline.plan.queries[number].factory.output))
        row = (*finding.last[:COLUMNS], *finding.values, *self.behind(finding.last))
        self._dead_letter(number, Problem(error, [row], finding.key, "result", columns))

    def end_time(self) -> None:
        """Release every row, let every timer fire."""
        self.task.finish()
        self.ask()

    def finish(self, now_ms: int) -> Flush | None:
        """What comes of the end, without a checkpoint, so that the job can go on after more rows."""
        self.keep(self.task.take())
        flush = Flush()
        self._write_findings(flush, now_ms)
        flush.records += self._records
        self._records = []
        return flush

    def status(self, now: float) -> PartitionStatus:
        """For the page."""
        task = self.task
        return PartitionStatus(
            job=self.pipeline.job.name,
            queries=tuple(query.name for query in self.pipeline.plan.queries),
            source=self.pipeline.sources,
            topic=self.topic,
            partition=self.partition,
            rows=task.rows,
            rows_per_s=self.rate.at(now, task.rows),
            lag=max(0, self.highwater - self.position),
            watermark_ms=shown_watermark(task.watermark),
            buffered=task.buffered + (task.waiting or 0),
            late=self.late,
            rejected=self.rejected,
            dead_letters=self.dead_letters,
            duplicates=task.duplicates,
            repartitioned=self.pipeline.repartitioned,
        )


def shown_watermark(watermark: int) -> int | None:
    """A watermark for the page; None before the first row and behind the last one."""
    return watermark if MIN_WATERMARK < watermark < MAX_WATERMARK else None


def alert_key(alert: Alert) -> bytes:
    """Alerts of one key stay in order: they share a partition."""
    return "|".join([alert.job, alert.query, *(str(value)[:LONGEST_TEXT] for value in alert.key.values())]).encode()


class Rate:
    """Rows per second over about the last seconds."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, int]] = []

    def at(self, now: float, total: int) -> float:
        """The rate, given a monotonic time in s and the rows so far."""
        marks = self._marks
        if not marks or now - marks[-1][0] >= 1.0:
            marks.append((now, total))
            del marks[:-6]
        first_time, first_total = marks[0]
        return (total - first_total) / (now - first_time) if now > first_time else 0.0
