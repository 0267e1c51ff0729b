"""What a job file becomes when it is bound: queries, and the plans that run them, ready for a worker."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from anomaly_app.jobs.joint_task import JointSlot, JointTask
from anomaly_app.jobs.lookups import Lookup
from anomaly_app.jobs.task import PartitionTask, QuerySlot
from anomaly_app.jobs.topic_tables import Sink, Source
from anomaly_app.operators import Finding, Layout
from anomaly_app.plan.query import PlannedQuery
from anomaly_app.plan.screening import Chain, chains
from anomaly_app.schema import Changelog
from anomaly_app.sql.parameters import Parameter
from anomaly_app.upstreams import feed_of, place_of, topic_number, upstream_of


class Alerts(Enum):
    """Which rows of a query are alerts."""

    NONE = "none"
    FLAGGED = "flagged"
    """Those that its operator calls alerts: of a detector the flagged ones, else every one."""
    MARKED = "marked"
    """Those that a column of theirs says."""
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Query:
    """A query of a job.

    Args:
        name: unique in the job.
        factory: makes its operators.
        sink: where its rows go besides the alerts; None for a bare SELECT.
        fingerprint: of the text, and of what it reads: names the query's state, so that state of another query is never
            taken for its own.
        alerts: which of its rows are alerts.
        passes: name of the table that its rows are for another fragment; "" for those of the query's result.
        whole: the query, of the fragment that gives its result; None if it is not cut.
        mark: place in a row of the BOOLEAN column that makes it an alert, of ``MARKED``.
        about: places in a row of the columns that are the key of its alert; None for the key of the factory.
    """

    name: str
    factory: PlannedQuery
    sink: Sink | None
    fingerprint: str
    alerts: Alerts = Alerts.FLAGGED
    passes: str = ""
    whole: PlannedQuery | None = None
    mark: int | None = None
    about: tuple[int, ...] | None = None

    def tells(self, finding: Finding) -> bool:
        """Whether a finding is an alert."""
        if self.alerts is Alerts.FLAGGED:
            return finding.alert
        if self.alerts is Alerts.MARKED:
            return self.mark is not None and finding.values[self.mark] is True
        return self.alerts is Alerts.ALL

    @property
    def planned(self) -> PlannedQuery:
        """The whole query, for people."""
        return self.whole or self.factory


class Routing(Enum):
    """How rows reach the partition that must see them."""

    DIRECT = "direct"
    """The topic is keyed as the queries need it, or they do not care."""
    REPARTITION = "repartition"
    """Through a topic keyed by the PARTITION BY columns."""
    SINGLE = "single"
    """All rows to one place: a query without PARTITION BY."""


@dataclass(frozen=True, slots=True)
class Input:
    """A table that the queries of a plan read.

    Args:
        source: of its rows.
        layout: columns of a row.
        partition_by: columns that key the repartition; () if all rows go to one place, None if any will do.
        span: of another fragment's rows, how many numbers the inputs of that fragment take; 0 for a table.
        roots: and :attr:`Plan.topics` of that fragment.
    """

    source: Source
    layout: Layout
    partition_by: tuple[str, ...] | None = ()
    span: int = 0
    roots: Mapping[int, str] = field(default_factory=dict)

    @property
    def is_exchange(self) -> bool:
        """Whether the rows are those of another fragment."""
        return self.span > 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Queries that share their sources, the rows of these and the way they are routed: decoded once, held back once.

    Args:
        name: unique in the job, for people.
        source: what is read; of several tables the first one.
        queries: what runs over it.
        layout: columns of a row of it.
        routing: how rows reach the right partition. A topic with one partition needs neither of the others.
        partition_by: columns that key the repartition.
        joint: the tables, if the queries read several, or are fragments; the source is that of the first one. Their
            rows go through one repartition topic, whatever the number of partitions.
    """

    name: str
    source: Source
    queries: tuple[Query, ...]
    layout: Layout
    routing: Routing = Routing.DIRECT
    partition_by: tuple[str, ...] = ()
    joint: tuple[Input, ...] = ()

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The tables that are read, each once."""
        return self.joint or (Input(self.source, self.layout, self.partition_by),)

    @property
    def tables(self) -> tuple[Source, ...]:
        """Tables of the job that are read, not those that are rows of another fragment."""
        return tuple(one.source for one in self.inputs if not one.is_exchange)

    @property
    def span(self) -> int:
        """How many numbers its inputs take, with those of the fragments in front of it."""
        return len(self.inputs) + sum(one.span for one in self.inputs)

    @property
    def topics(self) -> dict[int, str]:
        """Topics of all tables, by :func:`~anomaly_app.upstreams.feed_of` of their partitions.

        The tables of the fragments in front of it stand behind its inputs.
        """
        found: dict[int, str] = {}
        base = len(self.inputs)
        for number, one in enumerate(self.inputs):
            if one.is_exchange:
                found |= {key + base: topic for key, topic in one.roots.items()}
                base += one.span
                continue
            for topic in one.source.topic_names:
                place = place_of(topic_number(topic) if one.source.topics.several else 0, 0)
                found[feed_of(upstream_of(number, place))] = topic
        return found

    def looked_up(self, topics: Mapping[str, Sequence[str]]) -> tuple[Plan, ...]:
        """The plan over the topics that there are now; one for each topic, where each can be read for itself.

        Args:
            topics: those that a table means, by its name.
        """
        source = self.source.looked_up(topics)
        joint = tuple(replace(one, source=one.source.looked_up(topics)) for one in self.joint)
        if joint or self.routing is not Routing.DIRECT or not source.topics.several:
            return (replace(self, source=source, joint=joint),)
        names = source.topic_names
        apart = (replace(source, topics=replace(source.topics, names=(name,), all=names)) for name in names)
        return tuple(replace(self, name=f"{self.name}-{one.topic_names[0]}", source=one) for one in apart)

    @property
    def layouts(self) -> dict[str, Layout]:
        """Columns of a row of each table, by its name."""
        return {one.source.name: one.layout for one in self.inputs}

    def evidence(self, query: Query) -> Layout:
        """Columns of the rows that findings of a query tell."""
        if self.joint:
            return query.factory.evidence_over(self._layouts_of(query))
        return query.factory.evidence(self.layout)

    def roles(self, query: Query) -> Mapping[str, Layout]:
        """The same by role, where rows of several tables are told; {} where all have the same columns."""
        return query.factory.roles_over(self._layouts_of(query))

    def readers(self, number: int) -> list[Chain] | None:
        """Conditions through which the queries read an input; None if one of them takes all rows.

        Args:
            number: of the input.
        """
        one = self.inputs[number]
        if one.is_exchange or one.source.schema.changelog is not Changelog.APPEND:
            return None
        found: list[Chain] = []
        for query in self.queries:
            for scan, keys in zip(query.factory.scans, query.factory.spread, strict=True):
                if scan.table != one.source.name or (self.joint and keys != one.partition_by):
                    continue
                own = chains(query.factory.node, scan)
                if own is None:
                    return None
                found += own
        return found or None

    def _layouts_of(self, query: Query) -> dict[str, Layout]:
        return {scan.table: self.layouts[scan.table] for scan in query.factory.scans}

    @property
    def needs_order(self) -> bool:
        """Whether all queries need their rows in order of event time: then nobody misses a late one."""
        return all(query.factory.needs_order for query in self.queries)

    @property
    def slots(self) -> dict[str, str]:
        """Names of the queries by the names of their state, in order.

        The name of a query's state is its fingerprint, whatever stands beside it in the file. Queries that are word for
        word the same are numbered.
        """
        slots: dict[str, str] = {}
        for query in self.queries:
            slot, number = query.fingerprint, 1
            while slot in slots:
                number += 1
                slot = f"{query.fingerprint}-{number}"
            slots[slot] = query.name
        return slots

    def create_task(self, upstreams: Iterable[int] | None = None) -> PartitionTask | JointTask:
        """A fresh task for one partition; ``upstreams`` are the sources' partitions behind a repartition.

        Of several tables they are numbered as :mod:`anomaly_app.upstreams` says.
        """
        if self.joint:
            return self._create_joint(upstreams)
        slots = [
            QuerySlot(
                slot,
                query.factory.create(self.layout),
                needs_order=query.factory.needs_order,
                order_key=query.factory.order_key(self.layout),
                sort_key=query.factory.sort_key(self.layout),
            )
            for slot, query in zip(self.slots, self.queries, strict=True)
        ]
        delay = self.source.schema.watermark_delay_ms
        timeless = self.source.schema.changelog is Changelog.UPSERT
        return PartitionTask(slots, delay_ms=delay, mode=self.source.mode, upstreams=upstreams, timeless=timeless)

    def _create_joint(self, upstreams: Iterable[int] | None) -> JointTask:
        known = [(one.source.name, one.partition_by) for one in self.joint]
        slots = []
        for slot, query in zip(self.slots, self.queries, strict=True):
            operator, _ = query.factory.create_over(self._layouts_of(query))
            read = zip((scan.table for scan in query.factory.scans), query.factory.spread, strict=True)
            slots.append(JointSlot(slot, operator, [known.index(one) for one in read], bool(query.passes)))
        return JointTask(slots, [one.source.schema for one in self.joint], upstreams)


@dataclass(frozen=True, slots=True)
class Job:
    """A bound job file.

    Args:
        name: the file's name without its ending, or as given.
        version: hash of the text; every alert carries it.
        text: as read, with the values of its parameters.
        path: where it was read; "" for text.
        plans: what to run.
        warnings: what was accepted but has no meaning here.
        refused_by_flink: what Flink 2.3 would say no to.
        lookups: tables that lookup joins read.
        parameters: that the text uses.
    """

    name: str
    version: str
    text: str
    path: str
    plans: tuple[Plan, ...]
    warnings: tuple[str, ...] = ()
    refused_by_flink: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()
    parameters: tuple[Parameter, ...] = ()


def version_of(text: str) -> str:
    """Version of a job: the first twelve hex digits of a hash of its text.

    Example:
        >>> version_of("SELECT 1")
        'f3a3e9f68cff'
    """
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
