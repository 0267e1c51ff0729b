"""One assigned partition at work: records in, what to write out, checkpoints.

A stage processes rows as soon as they come and writes nothing itself. What gathers meanwhile is taken out by
:meth:`Stage.gather` and written by the flusher (group commit): one flush per fetch would cost several milliseconds
each and collapse on a live topic, where fetches hold a few rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from anomaly_app.alerts.encoding import LONGEST_TEXT, encode as encode_alert
from anomaly_app.alerts.record import Alert
from anomaly_app.alerts.silent_source import SilenceWatch
from anomaly_app.jobs.checkpoint import Checkpoint
from anomaly_app.runtime.feed import Feed
from anomaly_app.runtime.lane import Batch
from anomaly_app.runtime.outgoing import (
    Outgoing,
    result,
)
from anomaly_app.runtime.pipeline import Pipeline
from anomaly_app.status import PartitionStatus

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
