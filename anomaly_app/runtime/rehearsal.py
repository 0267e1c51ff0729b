"""A job over records at hand: the stages of the worker, one after the other, without Kafka and without state to keep.

What a worker's partitions write to their repartition topics is handed on here, so that alerts are those of the worker
on these records: the same ids, rows and words. Nothing else is written.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from anomaly_app.alerts.record import Alert
from anomaly_app.errors import SqlValidationError
from anomaly_app.graph.asked import Failure
from anomaly_app.graph.operator import GraphOperator
from anomaly_app.jobs.checkpoint import Checkpoint, Mark
from anomaly_app.jobs.model import Job
from anomaly_app.models.client import Callers
from anomaly_app.runtime.detect_stage import DetectStage
from anomaly_app.runtime.feed import TableReader
from anomaly_app.runtime.lookups import Lookups
from anomaly_app.runtime.outgoing import Outgoing
from anomaly_app.runtime.pipeline import Pipeline
from anomaly_app.runtime.registries import Registries
from anomaly_app.runtime.repartition import MergeStage, ShuffleStage
from anomaly_app.runtime.stage import Flush, Stage
from anomaly_app.settings import LoadedSettings

RUN = "rehearsal"


class PlainRecord(NamedTuple):
    """A record as a consumer would give it.

    Args:
        topic: of a table.
        partition: of the topic.
        offset: there.
        timestamp: of the record in ms since 1970; -1 for none.
        key: bytes or None.
        value: bytes; None for a tombstone.
        headers: name and bytes of each.
        timestamp_type: 0 for the producer's.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()
    timestamp_type: int = 0

    @property
    def serialized_value_size(self) -> int:
        """Bytes of the value; -1 without."""
        return -1 if self.value is None else len(self.value)

    @property
    def serialized_key_size(self) -> int:
        """Bytes of the key; -1 without."""
        return -1 if self.key is None else len(self.key)


@dataclass(slots=True)
class Counts:
    """What became of the records.

    Attributes:
        read: records taken; one that several plans read counts once.
        unreadable: of them that could not be read, or on which a rule failed; by plan.
        late: rows that came too late for a query.
        ahead: rows whose event time is too far in the future.
    """

    read: int = 0
    unreadable: int = 0
    late: int = 0
    ahead: int = 0


class _Merge(MergeStage):
    """Without a checkpoint: nobody goes on from here."""

    def fill(self, flush: Flush, now_ms: int) -> None:
        self._write_findings(flush, now_ms)
        self._records = []
        for outlet in self.outlets.values():
            flush.records += outlet.frames()


class _Detect(DetectStage):
    """Without a checkpoint."""

    def fill(self, flush: Flush, now_ms: int) -> None:
        self._write_findings(flush, now_ms)
        self._records = []


class Rehearsal:
    """A job at work on records at hand.

    Args:
        job: bound with the partitions of its topics; result rows go nowhere.
        loaded: the settings.
        partitions: of each topic that it reads.
        tell: takes alerts as they come.

    Raises:
        SqlValidationError: it reads a table that is none of a topic.
    """

    def __init__(
        self, job: Job, loaded: LoadedSettings, partitions: Mapping[str, int], tell: Callable[[Sequence[Alert]], None]
    ) -> None:
        self._registries = Registries(loaded)
        self.job = _without_sinks(job)
        self._tell = tell
        self._lookups = Lookups(loaded, {job.name: job.lookups}, self._registries, partitions)
        readers: dict[tuple[str, str], TableReader] = {}
        fragments: dict[str, tuple[Pipeline, int]] = {}
        settings = loaded.settings
        self._pipelines = [
            Pipeline(
                self.job, plan, settings, partitions, self._registries, readers=readers, fragments=fragments
            )
            for plan in self.job.plans
        ]  # fmt: skip
        self._stages: dict[tuple[str, int], list[Stage]] = {}
        self._offsets: dict[tuple[str, int], int] = {}
        self.counts = Counts()
        self._callers = Callers(Failure, lambda question: question.owner.answered())
        for pipeline in self._pipelines:
            pipeline.callers = self._callers
            self._open(pipeline)

    def _open(self, pipeline: Pipeline) -> None:
        """The stages of a plan: in front of its repartition, and behind it."""
        fresh = Checkpoint(next_position=0, resume=Mark(position=0))
        if pipeline.repartitioned:
            for feed in pipeline.tables:
                for number in range(feed.partitions):
                    shuffle = ShuffleStage(pipeline, feed.topic, number, 0, None, fresh, RUN, feed)
                    shuffle.highwater = sys.maxsize  # there is always more to come: the clock makes nothing idle
                    self._stages.setdefault((feed.topic, number), []).append(shuffle)
        for number in range(pipeline.detect_partitions):
            task = pipeline.plan.create_task(pipeline.upstreams)
            for slot in task.slots:
                if isinstance(slot.operator, GraphOperator):
                    slot.operator.keep_nothing()
            stage: DetectStage
            if pipeline.repartitioned:
                stage = _Merge(pipeline, pipeline.detect_topic, number, 0, None, task, run=RUN, bounded=True)
                stage.open_outlets({})
            else:
                stage = _Detect(pipeline, pipeline.detect_topic, number, 0, None, task)
            self._stages.setdefault((pipeline.detect_topic, number), []).append(stage)

    @property
    def topics(self) -> Mapping[str, str]:
        """Topic of each table that it reads, by name."""
        return {feed.source.name: feed.topic for pipeline in self._pipelines for feed in pipeline.tables}

    async def begin(self, *, topics: bool) -> None:
        """Read the tables that it looks rows up in.

        Args:
            topics: Kafka is there to read those that are topics.

        Raises:
            AnomalyError: one of them cannot be read.
        """
        await self._lookups.read_files()
        if topics:
            await self._lookups.read_topics()

    async def take(self, records: Sequence[PlainRecord], now_ms: int) -> None:
        """Records of one partition, whose offsets rise.

        Args:
            records: at least one.
            now_ms: by the clock: alerts are detected then, and rows far ahead of it are set apart.

        Raises:
            RegistryError: a schema cannot be had.
        """
        self.counts.read += len(records)
        await self._process(records, now_ms)

    async def _process(self, records: Sequence[PlainRecord], now_ms: int) -> None:
        waiting: deque[Outgoing] = deque()
        for stage in self._stages.get((records[0].topic, records[0].partition), ()):
            while stage.is_crowded:
                stage.moved.clear()
                await stage.moved.wait()
            await stage.prepare(records, now_ms)
            stage.process(records, now_ms)
            stage.position = records[-1].offset + 1
            waiting += self._out(stage.gather(now_ms))
        await self._pass_on(waiting, now_ms)

    def _out(self, flush: Flush) -> list[Outgoing]:
        """Tell the alerts of a flush; gives what goes on to other stages."""
        if flush.alerts:
            self._tell(flush.alerts)
        return [
            one for one in flush.records if one.partition is not None and (one.topic, one.partition) in self._stages
        ]

    async def _pass_on(self, waiting: deque[Outgoing], now_ms: int) -> None:
        """What stages write for others, in the order in which it is written."""
        while waiting:
            one = waiting.popleft()
            assert one.partition is not None, "only those have a stage"
            place = one.topic, one.partition
            offset = self._offsets.get(place, 0)
            self._offsets[place] = offset + 1
            await self._process([PlainRecord(*place, offset, now_ms, one.key, one.value)], now_ms)

    async def finish(self, now_ms: int) -> None:
        """The end of all topics: every row is released, every timer fires."""
        for pipeline in self._pipelines:
            own = [stage for stages in self._stages.values() for stage in stages if stage.pipeline is pipeline]
            for stage in [s for s in own if isinstance(s, ShuffleStage)] + [
                s for s in own if isinstance(s, DetectStage)
            ]:
                stage.end_time()
                await stage.quiet()
                flush = stage.finish(now_ms)
                assert flush is not None, "they wait for nobody"
                await self._pass_on(deque(self._out(flush)), now_ms)
        for one in (stage for stages in self._stages.values() for stage in stages):
            self.counts.unreadable += one.dead_letters
            self.counts.late += one.late
            self.counts.ahead += one.rejected
        await self._callers.close()
        await self._registries.close()
        await self._lookups.close()


def _without_sinks(job: Job) -> Job:
    """A job whose rows go to alerts and other fragments only."""
    for plan in job.plans:
        for source in plan.tables:
            if source.topics.several:
                problem = f"table {source.name} means several topics: a backtest takes tables of one topic"
                raise SqlValidationError(problem)
    plans = tuple(replace(plan, queries=tuple(replace(q, sink=None) for q in plan.queries)) for plan in job.plans)
    return replace(job, plans=plans)
