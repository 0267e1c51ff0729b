"""The worker: stages of the assigned partitions, their flushers, recovery, and what the page shows."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition
from faust.types import TP

from anomaly_app.alerts.record import Alert
from anomaly_app.errors import BrokerError, RegistryError
from anomaly_app.jobs.checkpoint import Checkpoint, Mark
from anomaly_app.jobs.model import Job, Startup
from anomaly_app.jobs.task import TimeMode
from anomaly_app.operators import MAX_WATERMARK, MIN_WATERMARK
from anomaly_app.runtime.connection import client_options
from anomaly_app.runtime.frames import POSITION_BITS
from anomaly_app.runtime.lane import Batch
from anomaly_app.runtime.pipeline import Pipeline
from anomaly_app.runtime.repartition import MergeStage, ShuffleStage
from anomaly_app.runtime.stage import MAX_PENDING_ROWS, DetectStage, Flush, Pending, Replays, Stage
from anomaly_app.runtime.topics import TopicAdmin
from anomaly_app.runtime.writer import OutputWriter, read_ids
from anomaly_app.settings import LoadedSettings
from anomaly_app.status import AlertFeed, JobStatus, PartitionStatus, QueryStatus, Subscription
from anomaly_app.tables.state import Entries, StateTable, Stored, steps

log = logging.getLogger(__name__)

TICK_S = 0.5
RETRY_S = 1.0
BROKER_CHECK_S = 2.0
PROGRESS_CHECK_S = 15.0
STALL_S = 120.0
REFRESH_S = 60.0
"""How often a quiet partition notes anew how far the outputs are written, so that a restart reads little of them."""
SHUFFLE_INTERVAL_S = 0.02
"""Between two flushes of a partition to its repartition topic: each writes a frame to every partition downstream."""

Place = tuple[str, int]


class Worker:
    """Everything between the lane and Kafka's producer.

    Args:
        loaded: the settings.
        jobs: bound job files.
        pipelines: of their plans.
        writer: of all output.
    """

    def __init__(
        self, loaded: LoadedSettings, jobs: Sequence[Job], pipelines: Sequence[Pipeline], writer: OutputWriter
    ) -> None:
        self.loaded, self.bound_jobs, self.pipelines, self.writer = loaded, jobs, pipelines, writer
        self.feed = AlertFeed(loaded.settings.alerts.recent)
        self.run = uuid.uuid4().hex
        self.flush_interval_s = loaded.settings.worker.flush_interval_ms / 1000
        self.tables: dict[str, StateTable] = {}
        self.app: Any = None
        self.stages: dict[Place, list[Stage]] = {}
        self.finished = asyncio.Event()
        self._flushers: dict[Stage, asyncio.Task[None]] = {}
        self._revoking = False
        self._ready = (False, "starting")
        self._trouble: dict[str, str] = {}
        self._crashed = ""
        self._refreshed = 0.0
        self._by_topic: dict[str, list[tuple[Pipeline, bool]]] = {}
        for pipeline in pipelines:
            if pipeline.repartitioned:
                self._by_topic.setdefault(pipeline.source.topic, []).append((pipeline, True))
            self._by_topic.setdefault(pipeline.detect_topic, []).append((pipeline, False))

    @property
    def topics(self) -> list[str]:
        """Topics of the lane."""
        return list(self._by_topic)

    def state_name(self, pipeline: Pipeline, upstream: bool) -> str:
        """Name of the state table of a pipeline's stages."""
        return f"{pipeline.name}-{'shuffle' if upstream else 'state'}"

    # --- batches in -----------------------------------------------------------------------------------

    async def take(self, event: Any) -> None:
        """A batch of the lane."""
        batch: Batch = event.value
        message = event.message
        stages = self.stages.get((message.topic, message.partition), ())
        if self._revoking or not stages or stages[0].epoch != batch.epoch:
            batch.dropped = True  # read again after the seek
            event.ack()
            return
        pending = Pending(event, len(stages))
        for stage in stages:
            await self._take(stage, pending, batch)

    async def _take(self, stage: Stage, pending: Pending, batch: Batch) -> None:
        while True:
            try:
                await stage.take(pending, batch, time.time_ns() // 1_000_000)
            except RegistryError as error:
                self._trouble["registry"] = str(error)
                log.warning("waiting for the schema registry: %s", error)
                await asyncio.sleep(RETRY_S)
            else:
                self._trouble.pop("registry", None)
                return

    # --- flushes --------------------------------------------------------------------------------------

    async def _flush_for_ever(self, stage: Stage) -> None:
        interval = self.flush_interval_s
        if isinstance(stage, ShuffleStage):
            interval = max(interval, SHUFFLE_INTERVAL_S)
        try:
            while True:
                await stage.wake.wait()
                stage.wake.clear()
                while stage.dirty:
                    await self._write(stage, stage.gather(_now_ms()))
                    if not stage.dirty:
                        stage.settled.set()
                    if interval:
                        await asyncio.sleep(interval)
                if stage.at_end and not stage.finished:
                    flush = stage.finish(_now_ms())
                    if flush is not None:
                        await self._write(stage, flush)
                    stage.finished = True
                    self._check_finished()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._crashed = f"{type(error).__name__}: {error}"
            for stages in self.stages.values():
                for other in stages:
                    other.settled.set()  # nobody should wait for what will not be written
            log.exception("a flush of %s[%d] failed: the worker stops", stage.topic, stage.partition)
            await self.app.crash(error)

    async def _write(self, stage: Stage, flush: Flush) -> None:
        if stage.replays is not None and stage.position >= stage.replays.end:
            stage.replays = None
        await self.writer.write(flush.records)
        if flush.checkpoint is not None:
            table = self.tables[self.state_name(stage.pipeline, isinstance(stage, ShuffleStage))]
            for entries in steps(Stored(flush.checkpoint, self._outputs(stage)), flush.changes):
                await self._store(table, stage.partition, entries)
        for pending in flush.batches:
            pending.done()
        for alert in flush.alerts:
            self.feed.publish(alert)
        stage.flushed.set()

    def _outputs(self, stage: Stage) -> dict[str, list[int]]:
        """How far the outputs were written before this partition's next flush.

        While it takes again what it had taken before a crash, some of its alerts stand there from then.
        """
        return self.writer.written if stage.replays is None else stage.replays.outputs

    async def _store(self, table: StateTable, partition: int, entries: Entries) -> None:
        offset = await self.writer.changelog(table.changelog, partition, entries)
        table.write(partition, entries, offset)

    def _check_finished(self) -> None:
        if all(stage.finished for stages in self.stages.values() for stage in stages):
            self.finished.set()

    # --- assignment -----------------------------------------------------------------------------------

    async def before_revoke(self) -> None:
        """Partitions go: write out what is done, then forget them."""
        self._revoking = True
        self._ready = (False, "rebalancing")
        for stages in self.stages.values():
            for stage in stages:
                await stage.settled.wait()
        await self._forget()

    async def _forget(self) -> None:
        for stages in self.stages.values():
            for stage in stages:
                stage.close()
        flushers, self._flushers = self._flushers, {}
        for flusher in flushers.values():
            flusher.cancel()
        for flusher in flushers.values():
            with suppress(asyncio.CancelledError):
                await flusher
        self.stages.clear()

    async def restore(self, committed: Mapping[Any, int | None], epoch: int) -> dict[Any, int]:
        """Make the stages of the assigned partitions from their state.

        Args:
            committed: the group's offset by assigned topic partition; None where there is none.
            epoch: of the lane.

        Returns:
            Where each partition is to be read from.
        """
        await self._forget()
        self._ready = (False, "recovering")
        self.writer.producer = self.app.producer._ensure_producer()
        consumer = self.app.consumer
        places = list(committed)
        earliest = await consumer.earliest_offsets(*places)
        latest = await consumer.highwaters(*places)
        positions: dict[Any, int] = {}
        seen: list[Stored] = []
        fresh: list[Stage] = []
        for tp in places:
            stages, starts = [], []
            first, end = earliest.get(tp) or 0, latest.get(tp) or 0
            for pipeline, upstream in self._by_topic[tp.topic]:
                table = self.tables[self.state_name(pipeline, upstream)]
                stored, entries, settle = table.read(tp.partition)
                if settle:
                    await self._store(table, tp.partition, settle)
                if stored is not None:
                    seen.append(stored)
                start = committed[tp]
                if stored is None and start is None:
                    start = await self._first_position(pipeline, upstream, tp, first, end)
                stage, position = self._stage(pipeline, upstream, tp, epoch, stored, entries, start or 0, end)
                if position < first:
                    log.warning("%s[%d]: offsets %d to %d are gone (retention)", *tp, position, first - 1)
                    position = first
                stage.highwater = end
                stages.append(stage)
                starts.append(position)
                if stored is None:
                    fresh.append(stage)
                else:
                    reached = stored.checkpoint.next_position >> self._shift(pipeline, upstream)
                    ahead = MAX_PENDING_ROWS + self.loaded.settings.worker.batch_rows
                    stage.replays = Replays(min(end, reached + ahead), stored.outputs)
            self.stages[tp.topic, tp.partition] = stages
            positions[tp] = min(starts)
        await self._recognise(seen)
        # The state says where a partition begins, and how far the outputs were written then, before any row is taken.
        await asyncio.gather(*(self._write(stage, stage.gather(_now_ms())) for stage in fresh))
        for stages in self.stages.values():
            for stage in stages:
                self._flushers[stage] = asyncio.create_task(
                    self._flush_for_ever(stage), name=f"flush {stage.topic}[{stage.partition}]"
                )
                if stage.at_end:
                    stage.wake.set()
        self._revoking = False
        self._ready = (True, "")
        return positions

    def _stage(
        self, pipeline: Pipeline, upstream: bool, tp: Any, epoch: int, stored: Stored | None,
        entries: Mapping[bytes, bytes], start: int, end: int,
    ) -> tuple[Stage, int]:  # fmt: skip
        """A stage, and the offset from which its topic must be read."""
        bounded = self.loaded.settings.worker.bounded or pipeline.source.bounded
        stop = end if bounded else None
        shift = self._shift(pipeline, upstream)
        fresh = Checkpoint(next_position=start << shift, resume=Mark(position=start << shift))
        checkpoint = stored.checkpoint if stored is not None else fresh
        if upstream:
            shuffle = ShuffleStage(pipeline, tp.topic, tp.partition, epoch, stop, checkpoint, self.run)
            return shuffle, checkpoint.next_position
        upstreams = range(pipeline.partitions) if pipeline.repartitioned else None
        task = pipeline.plan.create_task(upstreams)
        position = task.restore(checkpoint, entries) >> shift
        stage: DetectStage
        if pipeline.repartitioned:
            stage = MergeStage(pipeline, tp.topic, tp.partition, epoch, None, task, run=self.run)
        else:
            stage = DetectStage(pipeline, tp.topic, tp.partition, epoch, stop, task)
        stage.position = position
        return stage, position

    @staticmethod
    def _shift(pipeline: Pipeline, upstream: bool) -> int:
        """Bits of a position that are not the offset in the topic."""
        return POSITION_BITS if pipeline.repartitioned and not upstream else 0

    async def _first_position(self, pipeline: Pipeline, upstream: bool, tp: Any, first: int, end: int) -> int:
        """Where a partition begins that neither state nor group know."""
        if pipeline.repartitioned and not upstream:
            return first
        override = self.loaded.settings.worker.startup
        startup = Startup(override) if override else pipeline.source.startup
        if startup is Startup.LATEST:
            return end
        if startup is Startup.TIMESTAMP and pipeline.source.startup_timestamp_ms is not None:
            async with self._reader() as reader:
                place = TopicPartition(*tp)
                found = (await reader.offsets_for_times({place: pipeline.source.startup_timestamp_ms}))[place]
            return end if found is None else int(found.offset)
        return first

    async def _recognise(self, seen: Sequence[Stored]) -> None:
        """Read which alerts were written behind the last checkpoints: a replay must not write them again."""
        async with self._reader() as reader:
            for topic, written in self.writer.written.items():
                places = [TopicPartition(topic, partition) for partition in range(len(written))]
                ends = await reader.end_offsets(places)
                ranges: dict[int, tuple[int, int]] = {}
                for place in places:
                    partition, end = place.partition, int(ends[place])
                    known = [stored.outputs[topic] for stored in seen if topic in stored.outputs]
                    starts = [offsets[partition] + 1 for offsets in known if partition < len(offsets)]
                    ranges[partition] = (min(starts, default=end), end)
                    written[partition] = max(written[partition], end - 1)
                begin = await reader.beginning_offsets(places)
                ranges = {p: (max(s, int(begin[TopicPartition(topic, p)])), e) for p, (s, e) in ranges.items()}
                self.writer.recognise(topic, await read_ids(reader, topic, ranges))

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[Any]:
        consumer = AIOKafkaConsumer(**client_options(self.loaded), enable_auto_commit=False, fetch_max_wait_ms=50)
        await consumer.start()
        try:
            yield consumer
        finally:
            await consumer.stop()

    async def close(self) -> None:
        """End all flushers."""
        self._ready = (False, "stopped")
        await self._forget()

    # --- time -----------------------------------------------------------------------------------------

    async def tick_for_ever(self) -> None:
        """Idleness, and quiet partitions."""
        while True:
            await asyncio.sleep(TICK_S)
            if self._revoking:
                continue
            now = time.monotonic()
            for stages in self.stages.values():
                for stage in stages:
                    if self._trouble:
                        stage.hold()
                    else:
                        stage.tick(now)
            if self._trouble:
                continue
            await self._pass_markers()
            self._advance_idle()
            if now - self._refreshed >= REFRESH_S:
                self._refreshed = now
                for stages in self.stages.values():
                    for stage in stages:
                        stage.touch()
                await self._purge()

    async def _pass_markers(self) -> None:
        """Partitions that seem to be behind, and have only markers of transactions before them."""
        for (topic, partition), stages in list(self.stages.items()):
            for stage in stages:
                standing, stage.stood_at = stage.stood_at, stage.position
                if stage.position < stage.highwater and not stage.dirty and standing == stage.position:
                    beyond = await self.app.consumer.beyond(TP(topic, partition), standing)
                    if stage.position == standing:  # else rows have come meanwhile
                        stage.position = beyond
                        if stage.at_end:
                            stage.wake.set()

    def _advance_idle(self) -> None:
        """Idle partitions of a source follow the slowest of those that are not."""
        for pipeline in self.pipelines:
            if pipeline.repartitioned or pipeline.source.mode is not TimeMode.ROWTIME:
                continue
            stages = [s for all_ in self.stages.values() for s in all_ if isinstance(s, DetectStage)]
            own = [stage for stage in stages if stage.pipeline is pipeline]
            reached = min((stage.task.watermark for stage in own if not stage.idle), default=MIN_WATERMARK)
            for stage in own:
                if stage.idle and stage.task.watermark < reached < MAX_WATERMARK:
                    stage.advance(reached)

    async def _purge(self) -> None:
        """Delete frames of the repartition topics that no restart reads again."""
        before = {
            (stage.topic, stage.partition): stage.resume_frame
            for stages in self.stages.values()
            for stage in stages
            if isinstance(stage, MergeStage) and stage.resume_frame
        }
        if before:
            try:
                async with TopicAdmin(self.loaded) as admin:
                    await admin.purge(before)
            except BrokerError as error:
                log.warning("repartition topics are not purged: %s", error)

    async def watch_progress(self) -> None:
        """Stop the process if rows are there and none are read: Faust's consumer is known to stall (175, 523, 532)."""
        stalled: dict[Place, tuple[int, float]] = {}
        while True:
            await asyncio.sleep(PROGRESS_CHECK_S)
            if self._trouble or self._revoking or not self.stages:
                stalled.clear()
                continue
            consumer = self.app.consumer
            ends = await consumer.highwaters(*(tp for tp in consumer.assignment() if tuple(tp) in self.stages))
            now = time.monotonic()
            for tp, end in ends.items():
                stages = self.stages.get(tuple(tp), [])
                position = min((stage.position for stage in stages), default=0)
                for stage in stages:
                    stage.highwater = max(stage.highwater, end or 0)
                before, since = stalled.get(tuple(tp), (-1, now))
                if position != before or position >= (end or 0):
                    stalled[tuple(tp)] = position, now
                elif now - since >= STALL_S:
                    problem = f"{tp.topic}[{tp.partition}] stands at {position} of {end} for {now - since:.0f} s"
                    self._crashed = f"the consumer has stalled: {problem}"
                    await self.app.crash(BrokerError(self._crashed))
                    return

    async def watch_broker(self) -> None:
        """Whether Kafka is there."""
        while True:
            client = self.writer.producer.client
            try:
                reached = await asyncio.wait_for(client.force_metadata_update(), BROKER_CHECK_S)
            except (TimeoutError, KafkaError, OSError):
                reached = False
            if reached:
                self._trouble.pop("broker", None)
            else:
                self._trouble["broker"] = "the broker does not answer"
            await asyncio.sleep(BROKER_CHECK_S)

    # --- for the page -----------------------------------------------------------------------------------

    def ready(self) -> tuple[bool, str]:
        """Whether rows are being processed, else the reason."""
        if self._crashed:
            return False, self._crashed
        for reason in self._trouble.values():
            return False, reason
        return self._ready

    def healthy(self) -> tuple[bool, str]:
        """Whether the process should go on living."""
        return (False, self._crashed) if self._crashed else (True, "")

    def jobs(self) -> list[JobStatus]:
        """The jobs and their queries."""
        shown: list[JobStatus] = []
        for job in self.bound_jobs:
            own = [pipeline for pipeline in self.pipelines if pipeline.job is job]
            queries: list[QueryStatus] = [
                {
                    "name": output.query.name,
                    "description": str(getattr(output.query.factory, "description", "")),
                    "source": pipeline.source.topic,
                    "sink": output.topic or None,
                    "alerts": output.alerts,
                    "routing": pipeline.plan.routing.value if pipeline.repartitioned else "direct",
                }
                for pipeline in own
                for output in pipeline.outputs
            ]
            shown.append({"name": job.name, "version": job.version, "path": job.path, "queries": queries})
        return shown

    def partitions(self) -> list[PartitionStatus]:
        """Status of the assigned partitions."""
        now = time.monotonic()
        return [stage.status(now) for place in sorted(self.stages) for stage in self.stages[place]]

    def alerts(self, limit: int) -> list[Alert]:
        """The latest alerts, newest first."""
        return self.feed.latest(limit)

    def subscribe(self) -> Subscription:
        """New alerts, as they come."""
        return self.feed.subscribe()

    def counters(self) -> dict[str, int]:
        """What operators dropped or bounded, and repeats that a replay did not write again."""
        total: dict[str, int] = {"repeated_outputs": self.writer.repeated}
        for stages in self.stages.values():
            for stage in stages:
                if isinstance(stage, DetectStage):
                    for slot in stage.task.slots:
                        for reason, number in slot.operator.counters.counts.items():
                            total[reason] = total.get(reason, 0) + number
        return total


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
