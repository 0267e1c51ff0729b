"""What a worker looks after as time passes: idleness, progress, the broker, frames that nobody needs any more."""

from __future__ import annotations

import asyncio
import logging
import time

from aiokafka.errors import KafkaError
from faust.types import TP

from anomaly_app.errors import BrokerError, StateError
from anomaly_app.jobs.task import PartitionTask, TimeMode
from anomaly_app.operators import MAX_WATERMARK, MIN_WATERMARK
from anomaly_app.runtime.detect_stage import DetectStage
from anomaly_app.runtime.discovery import Discovery, start_anew
from anomaly_app.runtime.leftovers import forget_vanished
from anomaly_app.runtime.repartition import MergeStage
from anomaly_app.runtime.topics import TopicAdmin
from anomaly_app.runtime.worker import Place, Worker

log = logging.getLogger(__name__)

TICK_S = 0.5
SHORTEST_TICK_S = 0.02
"""Where a table's idle timeout is shorter than two ticks."""
BROKER_CHECK_S = 2.0
PROGRESS_CHECK_S = 15.0
STALL_S = 120.0
REFUSALS = 3
"""So often in a row a login is refused until it counts: a broker that just starts may not know its users yet."""
SILENCE_CHECK_S = (0.5, 10.0)
"""How often at most, and at least, the ends of a source are asked for: ten times in the silence that is allowed."""
CLOCK_GRACE_MS = 1_000
"""Rows on their way through a repartition have their time already: windows over processing time wait for them."""
REFRESH_S = 60.0
"""How often a quiet partition notes anew how far the outputs are written, so that a restart reads little of them."""


class Watch:
    """Tasks that run beside the flow of rows.

    Args:
        worker: that they look after.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._refreshed = 0.0
        self._may_purge = True
        timeouts = [feed.idle_timeout_s for pipeline in worker.pipelines for feed in pipeline.feeds]
        shortest = min((timeout for timeout in timeouts if timeout), default=TICK_S)
        self._pace = min(TICK_S, max(shortest / 2, SHORTEST_TICK_S))

    async def tick_for_ever(self) -> None:
        """Idleness, and quiet partitions."""
        looked = 0.0
        while True:
            await asyncio.sleep(self._pace)
            if self._worker.revoking:
                continue
            now = time.monotonic()
            for stages in self._worker.stages.values():
                for stage in stages:
                    if self._worker.trouble:
                        stage.hold()
                    else:
                        stage.tick(now)
            if self._worker.trouble:
                continue
            self._advance_idle()
            if now - looked < TICK_S:
                continue
            looked = now
            await self._pass_markers()
            self._pass_time(time.time_ns() // 1_000_000 - CLOCK_GRACE_MS)
            if now - self._refreshed >= REFRESH_S:
                self._refreshed = now
                for stages in self._worker.stages.values():
                    for stage in stages:
                        stage.touch()
                await self._purge()

    async def _pass_markers(self) -> None:
        """Partitions that seem to be behind, and have only markers of transactions before them."""
        for (topic, partition), stages in list(self._worker.stages.items()):
            for stage in stages:
                standing, stage.stood_at = stage.stood_at, stage.position
                if stage.position < stage.highwater and not stage.dirty and standing == stage.position:
                    try:
                        beyond = await self._worker.app.consumer.beyond(TP(topic, partition), standing)
                    except KafkaError as error:  # the partition is being taken away, or the broker is
                        log.debug("%s[%d] does not tell its position: %s", topic, partition, error)
                        continue
                    if stage.position == standing:  # else rows have come meanwhile
                        stage.position = beyond
                        if stage.at_end:
                            stage.wake.set()

    def _advance_idle(self) -> None:
        """Idle partitions of a source follow the slowest of those that are not."""
        for pipeline in self._worker.pipelines:
            if pipeline.repartitioned or pipeline.source.mode is not TimeMode.ROWTIME:
                continue
            stages = [s for all_ in self._worker.stages.values() for s in all_ if isinstance(s, DetectStage)]
            # Topics of one table have pipelines of their own, where each is read for itself.
            own = [stage for stage in stages if stage.pipeline.plan.queries is pipeline.plan.queries]
            reached = min((stage.task.watermark for stage in own if not stage.idle), default=MIN_WATERMARK)
            for stage in own:
                if stage.idle and stage.task.watermark < reached < MAX_WATERMARK:
                    stage.advance(reached)

    def _pass_time(self, time_ms: int) -> None:
        """Windows end by the clock, where no row comes that would end them.

        Those over processing time always do, those over event time if the table says so and nothing comes to it.
        """
        for stages in self._worker.stages.values():
            for stage in stages:
                if not isinstance(stage, DetectStage):
                    continue
                task, behind_ms = stage.task, stage.pipeline.idle_clock_ms
                if stage.pipeline.by_clock and task.is_due(time_ms):
                    stage.advance(time_ms)
                elif behind_ms is not None and isinstance(task, PartitionTask) and stage.is_quiet:
                    if task.is_held_up(time_ms - behind_ms):
                        stage.advance(time_ms - behind_ms)

    async def _purge(self) -> None:
        """Delete frames of the repartition topics that no restart reads again."""
        before = {
            (stage.topic, stage.partition): stage.resume_frame
            for stages in self._worker.stages.values()
            for stage in stages
            if isinstance(stage, MergeStage) and stage.resume_frame
        }
        if before and self._may_purge:
            try:
                async with TopicAdmin(self._worker.loaded) as admin:
                    await admin.purge(before)
            except BrokerError as error:
                self._may_purge = error.retriable
                log.warning("repartition topics are not purged%s: %s", "" if error.retriable else " any more", error)

    async def watch_silence(self) -> None:
        """Sources to which nothing comes any more: see :class:`~anomaly_app.alerts.silent_source.SilenceWatch`."""
        limits = self._worker.silences.values()
        if not limits:
            return
        shortest, longest = SILENCE_CHECK_S
        interval = min(max(min(limits) / 10_000, shortest), longest)
        while True:
            await asyncio.sleep(interval)
            watching = [
                stage for stages in self._worker.stages.values() for stage in stages if stage.silence is not None
            ]
            if self._worker.revoking or "broker" in self._worker.trouble:
                continue
            for stage in watching:
                places = [TP(topic, partition) for topic, partition in stage.feed.places]
                try:
                    ends = await self._worker.app.consumer.highwaters(*places)
                except KafkaError as error:
                    log.debug("the ends of %s are not known: %s", stage.feed.source.topic, error)
                    continue
                if not stage.gone.is_set():
                    stage.observe([ends[place] for place in places], time.time_ns() // 1_000_000)

    async def watch_topics(self) -> None:
        """Whether there are new topics of a pattern: then the worker starts anew."""
        discovery = Discovery(self._worker.loaded, self._worker.bound_jobs)
        if not discovery.interval_s or self._worker.loaded.settings.worker.bounded:
            return
        while True:
            await asyncio.sleep(discovery.wait_s(time.time()))
            if self._worker.trouble or self._worker.revoking:
                continue
            try:
                found = await discovery.look()
            except BrokerError as error:
                log.debug("the topics are not known: %s", error)
                continue
            if found:
                log.warning("new topics: %s – the worker starts anew to read them", ", ".join(found))
                start_anew(found)
                return

    async def clear_up(self) -> None:
        """Once all partitions have a checkpoint of this run, delete the state of plans that the jobs have no more."""
        worker = self._worker
        while True:
            await asyncio.sleep(TICK_S)
            stages = [stage for own in worker.stages.values() for stage in own]
            if worker.trouble or worker.revoking or not stages or not all(stage.stored for stage in stages):
                continue
            try:
                gone = await forget_vanished(
                    worker.loaded,
                    [pipeline.name for pipeline in worker.pipelines],
                    [job.name for job in worker.bound_jobs],
                )
            except (BrokerError, KafkaError, StateError) as error:
                log.warning("state of earlier queries is not deleted, the next start tries again: %s", error)
                return
            for plan in gone:
                log.info("the state of %s is deleted: no query of its job needs it", plan)
            return

    async def watch_progress(self) -> None:
        """Stop the process if rows are there and none are read: Faust's consumer is known to stall (175, 523, 532)."""
        stalled: dict[Place, tuple[int, float]] = {}
        while True:
            await asyncio.sleep(PROGRESS_CHECK_S)
            if self._worker.trouble or self._worker.revoking or not self._worker.stages:
                stalled.clear()
                continue
            consumer = self._worker.app.consumer
            try:
                ends = await consumer.highwaters(
                    *(tp for tp in consumer.assignment() if tuple(tp) in self._worker.stages)
                )
            except KafkaError as error:
                log.debug("the ends of the topics are not known: %s", error)
                continue
            now = time.monotonic()
            for tp, end in ends.items():
                stages = self._worker.stages.get(tuple(tp), [])
                position = min((stage.position for stage in stages), default=0)
                for stage in stages:
                    stage.highwater = max(stage.highwater, end or 0)
                before, since = stalled.get(tuple(tp), (-1, now))
                if position != before or position >= (end or 0):
                    stalled[tuple(tp)] = position, now
                elif now - since >= STALL_S:
                    problem = f"{tp.topic}[{tp.partition}] stands at {position} of {end} for {now - since:.0f} s"
                    self._worker.crashed = f"the consumer has stalled: {problem}"
                    await self._worker.app.crash(BrokerError(self._worker.crashed))
                    return

    async def _why(self) -> BrokerError | None:
        """What a client that connects anew is told: the running ones only say that they have no connection."""
        try:
            async with TopicAdmin(self._worker.loaded):
                return None
        except BrokerError as error:
            return error

    async def watch_broker(self) -> None:
        """Whether Kafka is there.

        Raises:
            BrokerError: not retriable: it is there and does not let us in, again and again.
        """
        refused = 0
        while True:
            client = self._worker.writer.producer.client
            try:
                async with asyncio.timeout(BROKER_CHECK_S):
                    reached = await client.force_metadata_update()
            except (TimeoutError, KafkaError, OSError):
                reached = False
            if reached:
                refused = 0
                self._worker.trouble.pop("broker", None)
            else:
                self._worker.trouble.setdefault("broker", "the broker does not answer")
                found = await self._why()
                self._worker.trouble["broker"] = str(found or "the broker does not answer")
                refused = refused + 1 if found is not None and not found.retriable else 0
                if refused >= REFUSALS:
                    assert found is not None
                    raise found
            await asyncio.sleep(BROKER_CHECK_S)
