"""What a plan needs at run time, made once: decoder, encoders, alert builders, names of topics."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from anomaly_app.alerts.builder import AlertBuilder
from anomaly_app.formats.records import RecordEncoder
from anomaly_app.jobs.model import Job, Plan, Query, Routing
from anomaly_app.models.client import Callers
from anomaly_app.operators import Layout
from anomaly_app.runtime.changed import ChangeWriter, Printer
from anomaly_app.runtime.feed import Feed, TableReader
from anomaly_app.runtime.outgoing import RowWriter
from anomaly_app.runtime.registries import Registries
from anomaly_app.settings import Settings
from anomaly_app.upstreams import feed_of

LONGEST_NAME = 180
"""Of job, tables and keys in the name of a topic, which has 249 characters at most."""


@dataclass(slots=True)
class QueryOutput:
    """Where the findings of a query go.

    Args:
        query: whose.
        builder: of its alerts.
        encoder: of its result rows; None without a topic.
        topic: of the sink; "" without.
        alerts: how many there were.
        late: rows that came too late for it.
        changes: of its result, if rows are taken back from it and a topic tells them.
        printer: of its result rows, if these are printed.
    """

    query: Query
    builder: AlertBuilder
    encoder: RecordEncoder | None
    topic: str
    alerts: int = 0
    late: int = 0
    changes: ChangeWriter | None = None
    printer: Printer | None = None


def _output(query: Query, builder: AlertBuilder, registries: Registries) -> QueryOutput:
    sink = query.sink
    if sink is None or not sink.topic:
        printer = Printer(sink) if sink is not None and sink.connector == "print" else None
        return QueryOutput(query, builder, None, "", printer=printer)
    encoder = RecordEncoder(sink, registries.of(sink))
    changes = ChangeWriter(sink, encoder) if query.factory.node.updating else None
    return QueryOutput(query, builder, encoder, sink.topic, changes=changes)


class Pipeline:
    """A plan with everything that its stages share.

    Args:
        job: that the plan is of.
        plan: what runs.
        settings: of the worker.
        partitions: of each topic; a number if there is one topic only.
        registries: for Avro.
        sized: topics get as many partitions as wanted; else all have as many as the source.
        readers: of the job's tables, by name and topic: those that are missing are added.
        existing: number of partitions of topics that there are.
        fragments: of the job that give rows to others, and the number of the query, by the name that these have as a
            table: those of this plan are added.

    Attributes:
        feeds: its tables, and rows of other fragments.
        targets: where rows of a query go, by its number: the next fragment, and its input.
        callers: ask models for its rows; the worker's.
    """

    callers: Callers

    def __init__(
        self, job: Job, plan: Plan, settings: Settings, partitions: int | Mapping[str, int], registries: Registries,
        *, sized: bool = True, readers: dict[tuple[str, str], TableReader] | None = None,
        existing: Mapping[str, int] | None = None, fragments: dict[str, tuple[Pipeline, int]] | None = None,
    ) -> None:  # fmt: skip
        self.job, self.plan = job, plan
        fragments = {} if fragments is None else fragments
        in_front = {number: fragments[one.source.name] for number, one in enumerate(plan.inputs) if one.is_exchange}
        topics = [
            (number, topic)
            for number, one in enumerate(plan.inputs)
            for topic in ([in_front[number][0].detect_topic] if one.is_exchange else one.source.topic_names)
        ]
        counts = dict.fromkeys([t for _, t in topics], partitions) if isinstance(partitions, int) else {**partitions}
        counts |= {one.detect_topic: one.detect_partitions for one, _ in in_front.values()}
        self.partitions = max(counts[topic] for _, topic in topics)
        self.source = plan.source
        several = bool(plan.joint) or any(one.source.topics.several for one in plan.inputs)
        self.repartitioned = bool(plan.joint) or (
            plan.routing is not Routing.DIRECT and (self.partitions > 1 or several)
        )
        self.name = self._name(settings.worker.app_id)
        self.downstream = settings.worker.repartition_partitions or self.partitions
        if plan.routing is Routing.SINGLE and sized:
            self.downstream = 1
        self.repartition_topic = f"{settings.worker.app_id}-{self.name}-repartition"
        if several and existing is not None and not settings.worker.repartition_partitions:
            # A topic that was added since may have more partitions than the others.
            self.downstream = existing.get(self.repartition_topic, self.downstream)
        self.alert_topic = settings.alerts.topic
        self._row_writers: dict[tuple[Layout, int], RowWriter] = {}
        self.feeds: list[Feed] = []
        self.targets: dict[int, tuple[Pipeline, Feed]] = {}
        self.roots: dict[int, Feed] = {}
        """Its inputs by their keys, and behind them those of the fragments in front of it."""
        base = len(plan.inputs)
        for number, topic in topics:
            one = plan.inputs[number]
            if one.is_exchange:
                fragment, query = in_front[number]
                self.feeds.append(Feed(one, number, topic, counts, settings, None, None, base))
                self.roots |= {key + base: feed for key, feed in fragment.roots.items()}
                fragment.targets[query] = self, self.feeds[-1]
                base += one.span
                continue
            source, registry = one.source, registries.of(one.source)
            key = source.name, topic
            reader = None if readers is None else readers.setdefault(key, TableReader(source, registry))
            self.feeds.append(Feed(one, number, topic, counts, settings, reader, registry))
        self.roots |= {feed.key: feed for feed in self.feeds}
        fragments.update((query.passes, (self, n)) for n, query in enumerate(plan.queries) if query.passes)
        self.outputs = [_output(query, AlertBuilder(job, plan, query), registries) for query in plan.queries]

    def _name(self, app_id: str) -> str:
        """Names the plan's tables and topics: the same only while positions in them mean the same.

        Its last two parts tell the job of the worker, and what is read in which way.
        """
        job, source = self.job.name, self.source
        keys = self.plan.inputs[0].partition_by if self.plan.joint else self.plan.queries[0].factory.partition_by
        tables = ["rows" if one.is_exchange else one.source.name.rpartition(".")[2] for one in self.plan.inputs]
        words = re.sub(r"[^A-Za-z0-9._-]", "_", "-".join([job, *tables, *(keys or ())]))
        way = [source.name, source.topic, str(self.repartitioned), "" if keys is None else repr(tuple(keys))]
        if self.plan.source.topics.all:  # one of several topics that are read each for itself
            way += self.plan.source.topic_names
        if self.plan.joint and len(self.plan.inputs) == 1:
            way.append("joint")
        for one in self.plan.inputs[1:]:
            way += [one.source.name, one.source.topic, "" if one.partition_by is None else repr(one.partition_by)]
        return f"{words[:LONGEST_NAME]}-{job_mark(app_id, job)}-{_digest(*way)}"

    @property
    def sources(self) -> str:
        """Topics that the plan reads, or that the fragments in front of it read."""
        return ", ".join(dict.fromkeys(feed.topic for feed in self.roots.values() if not feed.is_exchange))

    @property
    def tables(self) -> list[Feed]:
        """Topics of its tables, without rows of other fragments."""
        return [feed for feed in self.feeds if not feed.is_exchange]

    @property
    def upstreams(self) -> Iterable[int] | None:
        """Numbers of the partitions in front of its repartition; None without one."""
        return [number for feed in self.feeds for number in feed.upstreams] if self.repartitioned else None

    @property
    def by_clock(self) -> bool:
        """Whether it reads a table with processing time."""
        return any(feed.source.schema.proctime is not None for feed in self.feeds)

    @property
    def idle_clock_ms(self) -> int | None:
        """How far event time is behind the clock while no rows come to its table; None if the clock does not count."""
        if len(self.feeds) > 1 or not self.feeds[0].source.idle_clock:
            return None
        return self.feeds[0].source.schema.watermark_delay_ms

    @property
    def detect_topic(self) -> str:
        """The topic whose partitions run the queries."""
        return self.repartition_topic if self.repartitioned else self.feeds[0].topic

    @property
    def detect_partitions(self) -> int:
        """And how many it has."""
        return self.downstream if self.repartitioned else self.partitions

    def writer_of(self, layout: Layout, feed: Feed) -> RowWriter:
        """What writes rows that a query has made, for the topics of one of its tables."""
        writer = self._row_writers.get((layout, feed.key))
        if writer is None:
            writer = self._row_writers[layout, feed.key] = RowWriter(layout, feed.topic)
        return writer

    def state_table(self, feed: Feed | None) -> str:
        """Name of the state table of its stages, or of those in front of its repartition that read a table."""
        if feed is None:
            return f"{self.name}-state"
        topic = f"x{feed.topic_number:x}" if feed.topic_number else ""
        return f"{self.name}-shuffle{feed.number or ''}{topic}"

    def feed_of(self, upstream: int) -> Feed:
        """The topic of a table that an upstream partition is of; of one that is read no more the first one."""
        return self.roots.get(feed_of(upstream), self.feeds[0])

    async def prepare(self) -> None:
        """Make sinks ready to encode (register schemas); raises RegistryError."""
        for output in self.outputs:
            if output.encoder is not None:
                await output.encoder.prepare()


def job_mark(app_id: str, job: str) -> str:
    """Tells names of tables and topics of a worker's job from those of others.

    Example:
        >>> job_mark("anomaly", "unusual_sales")
        '21107e0a'
    """
    return _digest(app_id, job)


def _digest(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=4).hexdigest()
