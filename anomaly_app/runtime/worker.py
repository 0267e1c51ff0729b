"""The worker: stages of the assigned partitions, their flushers, recovery."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import logging
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from anomaly_app.alerts.silent_source import SilenceWatch
from anomaly_app.errors import RegistryError
from anomaly_app.graph.asked import Failure
from anomaly_app.jobs.checkpoint import Checkpoint, Mark
from anomaly_app.jobs.model import Job
from anomaly_app.models.client import Callers
from anomaly_app.room import Room
from anomaly_app.runtime.cancel import cancel
from anomaly_app.runtime.connection import client_options
from anomaly_app.runtime.detect_stage import DetectStage
from anomaly_app.runtime.feed import Feed
from anomaly_app.runtime.frames import POSITION_BITS
from anomaly_app.runtime.lane import Batch
from anomaly_app.runtime.lookups import Lookups
from anomaly_app.runtime.pipeline import Pipeline
from anomaly_app.runtime.positions import always_from_the_beginning, first_position, last_position
from anomaly_app.runtime.repartition import MergeStage, ShuffleStage
from anomaly_app.runtime.rounds import Rounds, now_ms
from anomaly_app.runtime.stage import MAX_PENDING_ROWS, SILENCE_KEY, Pending, Replays, Stage
from anomaly_app.runtime.writer import OutputWriter, read_ids
from anomaly_app.settings import LoadedSettings
from anomaly_app.status import AlertFeed, Durations
from anomaly_app.tables.state import StateTable, Stored

log = logging.getLogger(__name__)

FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 30.0
"""Between two questions to a registry that is away: twice as long each time."""
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
        lookups: tables that queries look rows up in.

    Attributes:
        stages: of the assigned partitions.
        state: whether rows are being processed, else the reason.
        trouble: what is away, such as the broker, and what it says.
        crashed: why the process is about to end; "" if it is not.
        flushes: how long it took to write what was done.
        revoking: partitions are about to go: batches are let go unprocessed.
    """

    def __init__(
        self,
        loaded: LoadedSettings,
        jobs: Sequence[Job],
        pipelines: Sequence[Pipeline],
        writer: OutputWriter,
        lookups: Lookups,
    ) -> None:
        self.loaded, self.bound_jobs, self.pipelines, self.writer = loaded, jobs, pipelines, writer
        self.lookups = lookups
        self.feed = AlertFeed(loaded.settings.alerts.recent)
        self.run = uuid.uuid4().hex
        self.flush_interval_s = loaded.settings.worker.flush_interval_ms / 1000
        self.tables: dict[str, StateTable] = {}
        self.app: Any = None
        self.stages: dict[Place, list[Stage]] = {}
        self.finished = asyncio.Event()
        self._flushers: list[asyncio.Task[None]] = []
        self.callers = Callers(Failure, lambda question: question.owner.answered())
        for pipeline in pipelines:
            pipeline.callers = self.callers
        self.room = Room(loaded.settings.worker.state_mb << 20)
        """Of the groups and rows that the operators of all partitions hold."""
        self.revoking = False
        self.state = (False, "starting")
        self.trouble: dict[str, str] = {}
        self.crashed = ""
        self.flushes = Durations()
        self.rounds = Rounds(writer, self.tables, self.feed, self.flushes, self._check_finished)
        self._by_topic: dict[str, list[tuple[Pipeline, Feed | None]]] = {}
        self.silences = _silences(loaded, pipelines)
        for pipeline in pipelines:
            for feed in pipeline.tables if pipeline.repartitioned else ():
                self._by_topic.setdefault(feed.topic, []).append((pipeline, feed))
            self._by_topic.setdefault(pipeline.detect_topic, []).append((pipeline, None))

    @property
    def topics(self) -> list[str]:
        """Topics of the lane."""
        return list(self._by_topic)

    # --- batches in -----------------------------------------------------------------------------------

    async def take(self, event: Any) -> None:
        """A batch of the lane."""
        batch: Batch = event.value
        message = event.message
        stages = self.stages.get((message.topic, message.partition), ())
        if self.revoking or not stages or stages[0].epoch != batch.epoch:
            batch.dropped = True  # read again after the seek
            event.ack()
            return
        pending, at_ms = Pending(event, len(stages)), now_ms()
        for stage in stages:
            await self._take(stage, pending, batch, at_ms)

    async def _take(self, stage: Stage, pending: Pending, batch: Batch, at_ms: int) -> None:
        delay_s = FIRST_RETRY_S
        while True:
            try:
                await stage.take(pending, batch, at_ms)
            except RegistryError as error:
                if not error.retriable:
                    raise
                self.trouble["registry"] = str(error)
                log.warning("waiting for the schema registry, %.0f s: %s", delay_s, error)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stage.gone.wait(), delay_s)
                    pending.drop()  # the partition has been taken away meanwhile
                    break
                delay_s = min(2 * delay_s, LONGEST_RETRY_S)
            else:
                break
        self.trouble.pop("registry", None)

    # --- flushes --------------------------------------------------------------------------------------

    async def _flush_for_ever(self, stages: Sequence[Stage], interval: float) -> None:
        try:
            with self.app.ending_if_refused():
                await self.rounds.run(stages, interval)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.crashed = f"{type(error).__name__}: {error}"
            for stage in (stage for stages in self.stages.values() for stage in stages):
                stage.settled.set()  # nobody should wait for what will not be written
            log.exception("a flush of %s failed: the worker stops", _told(stages))
            await self.app.crash(error)

    def _check_finished(self) -> None:
        if all(stage.finished for stages in self.stages.values() for stage in stages):
            self.finished.set()

    def _start_flushers(self) -> None:
        """One for each partition that is read directly, and one for all stages of a plan with a repartition.

        Those share what a round costs: the frames for a partition downstream are one record, whatever the number of
        partitions upstream. And each waits for others of them anyway.
        """
        groups: dict[object, list[Stage]] = {}
        for stages in self.stages.values():
            for stage in stages:
                groups.setdefault(stage.pipeline if stage.pipeline.repartitioned else stage, []).append(stage)
        for group in groups.values():
            interval = self.flush_interval_s
            if any(isinstance(one, ShuffleStage) or (isinstance(one, MergeStage) and one.outlets) for one in group):
                interval = max(interval, SHUFFLE_INTERVAL_S)
            for stage in group:
                stage.wake = group[0].wake
            self._flushers.append(
                asyncio.create_task(self._flush_for_ever(group, interval), name=f"flush {_told(group)}")
            )
        for stages in self.stages.values():
            for stage in stages:
                stage.begin()
                if stage.at_end or stage.dirty:
                    stage.wake.set()

    # --- assignment -----------------------------------------------------------------------------------

    async def before_revoke(self) -> None:
        """Partitions go: write out what is done, then forget them."""
        self.revoking = True
        self.state = (False, "rebalancing")
        for stages in self.stages.values():
            for stage in stages:
                await stage.settled.wait()
        await self._forget()

    async def _forget(self) -> None:
        for stages in self.stages.values():
            for stage in stages:
                stage.close()
        flushers, self._flushers = self._flushers, []
        await cancel(flushers)
        self.stages.clear()
        self.room = Room(self.room.most)

    async def restore(self, committed: Mapping[Any, int | None], epoch: int) -> dict[Any, int]:
        """Make the stages of the assigned partitions from their state.

        Args:
            committed: the group's offset by assigned topic partition; None where there is none.
            epoch: of the lane.

        Returns:
            Where each partition is to be read from.
        """
        await self._forget()
        self.state = (False, "recovering")
        self.writer.producer = self.app.producer._ensure_producer()
        consumer = self.app.consumer
        places = list(committed)
        earliest = await consumer.earliest_offsets(*places)
        latest = await consumer.highwaters(*places)
        positions: dict[Any, int] = {}
        seen: list[Stored] = []
        first_to_write: list[Stage] = []
        for tp in places:
            stages, starts = [], []
            first, end = earliest.get(tp) or 0, latest.get(tp) or 0
            for pipeline, feed in self._by_topic[tp.topic]:
                table = self.tables[pipeline.state_table(feed)]
                stored, entries, settle = table.read(tp.partition)
                if settle:
                    await self.rounds.store([(table, tp.partition, settle)])
                if stored is not None:
                    seen.append(stored)
                source = (feed or pipeline.feeds[0]).source
                start = None if always_from_the_beginning(source) else committed[tp]
                if stored is None and start is None:
                    start = await self._first_position(pipeline, feed, tp, first, end)
                stop = None
                if feed is not None or not pipeline.repartitioned:
                    bounded = self.loaded.settings.worker.bounded
                    stop = await last_position(source, bounded, tp, end, self._reader)
                stage, position = self._stage(pipeline, feed, tp, epoch, stored, entries, start or 0, stop)
                if position < first:
                    log.warning("%s[%d]: offsets %d to %d are gone (retention)", *tp, position, first - 1)
                    position = first
                stage.highwater = end
                owners = {name.encode() for name in stage.queries}
                stage.left_behind = table.left_behind(tp.partition, entries, owners)
                if stored is not None and stored.queries != stage.queries:
                    stage.touch()  # the job was changed: its state is to say so soon
                stages.append(stage)
                starts.append(position)
                if stored is None:
                    first_to_write.append(stage)
                else:
                    if isinstance(stage, ShuffleStage) and position < end:
                        stage.come_back()
                        first_to_write.append(stage)
                    reached = stored.checkpoint.next_position >> self._shift(pipeline, feed)
                    ahead = MAX_PENDING_ROWS + self.loaded.settings.worker.batch_rows
                    stage.replays = Replays(min(end, reached + ahead), stored.outputs)
            self.stages[tp.topic, tp.partition] = stages
            positions[tp] = min(starts)
        await self._recognise(seen)
        # The state says where a partition begins, and how far the outputs were written then, before any row is taken;
        # and downstream knows of all partitions for which it has to wait before it gets rows of one.
        await self.rounds.write([(stage, stage.gather(now_ms())) for stage in first_to_write])
        self._start_flushers()
        self.revoking = False
        self.state = (True, "")
        return positions

    def _stage(
        self, pipeline: Pipeline, feed: Feed | None, tp: Any, epoch: int, stored: Stored | None,
        entries: Mapping[bytes, bytes], start: int, stop: int | None,
    ) -> tuple[Stage, int]:  # fmt: skip
        """A stage, and the offset from which its topic must be read; a feed is read for a repartition."""
        stage, position = self._bare_stage(pipeline, feed, tp, epoch, stored, entries, start, stop)
        after_ms = self.silences.get(stage.feed)
        # One stage of all workers watches over a source; its state goes where the partition goes.
        if after_ms and tp.partition == 0 and (feed is not None) is pipeline.repartitioned:
            stage.silence = SilenceWatch(pipeline.job, stage.feed.source, after_ms, entries.get(SILENCE_KEY))
        return stage, position

    def _bare_stage(
        self, pipeline: Pipeline, feed: Feed | None, tp: Any, epoch: int, stored: Stored | None,
        entries: Mapping[bytes, bytes], start: int, stop: int | None,
    ) -> tuple[Stage, int]:  # fmt: skip
        shift = self._shift(pipeline, feed)
        fresh = Checkpoint(next_position=start << shift, resume=Mark(position=start << shift))
        checkpoint = stored.checkpoint if stored is not None else fresh
        if feed is not None:
            shuffle = ShuffleStage(pipeline, tp.topic, tp.partition, epoch, stop, checkpoint, self.run, feed)
            return shuffle, checkpoint.next_position
        task = pipeline.plan.create_task(pipeline.upstreams)
        table = self.tables[pipeline.state_table(None)]
        for slot in task.slots:
            for prefix, store in slot.operator.stores.items():
                store.attach(table.backing(tp.partition, slot.name.encode() + b"\0" + prefix), self.room)
        position = task.restore(checkpoint, entries) >> shift
        stage: DetectStage
        if pipeline.repartitioned:
            ends = all(self._is_bounded(root) for root in pipeline.roots.values() if not root.is_exchange)
            stage = MergeStage(pipeline, tp.topic, tp.partition, epoch, None, task, run=self.run, bounded=ends)
            stage.open_outlets(checkpoint.passed)
        else:
            stage = DetectStage(pipeline, tp.topic, tp.partition, epoch, stop, task)
        stage.position = position
        return stage, position

    def _is_bounded(self, feed: Feed) -> bool:
        """Whether a table is read to its present end only."""
        return self.loaded.settings.worker.bounded or feed.source.bounded

    @staticmethod
    def _shift(pipeline: Pipeline, feed: Feed | None) -> int:
        """Bits of a position that are not the offset in the topic."""
        return POSITION_BITS if pipeline.repartitioned and feed is None else 0

    async def _first_position(self, pipeline: Pipeline, feed: Feed | None, tp: Any, first: int, end: int) -> int:
        """Where a partition begins that neither state nor group know."""
        if pipeline.repartitioned and feed is None:
            return first
        source = (feed or pipeline.feeds[0]).source
        return await first_position(source, self.loaded.settings.worker.startup, tp, first, end, self._reader)

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
        self.state = (False, "stopped")
        await self._forget()
        await self.callers.close()


def _silences(loaded: LoadedSettings, pipelines: Sequence[Pipeline]) -> dict[Feed, int]:
    """For each source table that may fall silent the feed that watches over it, and after how many ms.

    Raises:
        SettingsError: a table that no job reads is named.
    """
    limits, settings = loaded.settings.alerts.silences, loaded.settings
    feeds = [(pipeline.job.name, feed) for pipeline in pipelines for feed in pipeline.tables]
    names = {name for _, feed in feeds for name in (feed.source.name, feed.source.name.rpartition(".")[2])}
    for table in limits:
        if table and table not in names:
            near = difflib.get_close_matches(table, sorted(names), 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; they read {', '.join(sorted(names))}"
            raise loaded.error("alerts.silence_after", f"no job reads a table {table!r}{hint}")
    found: dict[Feed, int] = {}
    watched: set[tuple[str, str]] = set()
    for job, feed in feeds:
        name = feed.source.name
        after_ms = limits.get(name, limits.get(name.rpartition(".")[2], limits.get("", 0)))
        bounded = settings.worker.bounded or feed.source.bounded
        if after_ms and not bounded and (job, name) not in watched:
            watched.add((job, name))
            found[feed] = after_ms
    return found


def _told(stages: Sequence[Stage]) -> str:
    return ", ".join(f"{stage.topic}[{stage.partition}]" for stage in stages)
