"""What a job file becomes when it is bound: sources, queries and sinks, ready for a worker."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from anomaly_app.jobs.task import PartitionTask, QuerySlot, TimeMode
from anomaly_app.operators import Layout
from anomaly_app.plan.query import PlannedQuery
from anomaly_app.schema import Column, Schema

if TYPE_CHECKING:
    from anomaly_app.jobs.lookups import Lookup


class Startup(Enum):
    """Where a source begins if its group has no position yet (Flink's ``scan.startup.mode``)."""

    EARLIEST = "earliest-offset"
    LATEST = "latest-offset"
    GROUP = "group-offsets"
    TIMESTAMP = "timestamp"


@dataclass(frozen=True, slots=True)
class Format:
    """A format and its options, without their prefixes.

    Args:
        name: ``json``, ``csv`` or ``avro-confluent``.
        options: option name without the format's prefix, such as ``field-delimiter``, and value.
    """

    name: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Source:
    """A topic that a job reads.

    Args:
        name: the table's path in the job file, dotted.
        schema: all columns of the table.
        topic: its Kafka topic.
        value_format: of the record values.
        key_format: of the record keys; None if no column is read from the key.
        key_fields: names of the columns that stand in the key.
        value_fields: names of the columns that stand in the value, in order.
        startup: where to begin.
        startup_timestamp_ms: for :attr:`Startup.TIMESTAMP`.
        bounded: stop at the end that the topic has when the job starts.
        idle_timeout_ms: after which a partition without rows holds nobody up; None for the worker's setting.
        group_reset: for :attr:`Startup.GROUP`, where to begin if the group has no offset: ``earliest``, ``latest``, or
            ``none`` to refuse.
        client: ``properties.…`` of the job file that say how Kafka is reached, without the prefix; settings of the
            worker come first.
    """

    name: str
    schema: Schema
    topic: str
    value_format: Format
    key_format: Format | None = None
    key_fields: tuple[str, ...] = ()
    value_fields: tuple[str, ...] = ()
    startup: Startup = Startup.GROUP
    startup_timestamp_ms: int | None = None
    bounded: bool = False
    idle_timeout_ms: int | None = None
    group_reset: str = "earliest"
    client: Mapping[str, str] = field(default_factory=dict)

    @property
    def mode(self) -> TimeMode:
        """Event time if the table has a watermark, else order of arrival."""
        return TimeMode.ROWTIME if self.schema.rowtime is not None else TimeMode.ARRIVAL

    def columns(self, names: Iterable[str]) -> tuple[Column, ...]:
        """The columns of these names, in the order of the table."""
        wanted = set(names)
        return tuple(column for column in self.schema.columns if column.name in wanted)


@dataclass(frozen=True, slots=True)
class Sink:
    """A topic that a query writes.

    Args:
        name: the table's path in the job file, dotted.
        columns: in order; a query's output is written by position.
        topic: its Kafka topic.
        value_format: of the record values.
        key_format: of the record keys; None for records without key.
        key_fields: names of the columns that form the key.
        value_fields: names of the columns that stand in the value.
        upsert: the topic is a changelog by key (``upsert-kafka``).
        client: as of :class:`Source`.
    """

    name: str
    columns: tuple[Column, ...]
    topic: str
    value_format: Format
    key_format: Format | None = None
    key_fields: tuple[str, ...] = ()
    value_fields: tuple[str, ...] = ()
    upsert: bool = False
    client: Mapping[str, str] = field(default_factory=dict)

    def indexes(self, names: Iterable[str]) -> tuple[int, ...]:
        """Where columns stand in a row of the sink."""
        numbers = {column.name: number for number, column in enumerate(self.columns)}
        return tuple(numbers[name] for name in names)


class Alerts(Enum):
    """Which rows of a query are alerts."""

    NONE = "none"
    FLAGGED = "flagged"
    """Those that its operator calls alerts: of a detector the flagged ones, else every one."""
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
    """

    name: str
    factory: PlannedQuery
    sink: Sink | None
    fingerprint: str
    alerts: Alerts = Alerts.FLAGGED


class Routing(Enum):
    """How rows reach the partition that must see them."""

    DIRECT = "direct"
    """The topic is keyed as the queries need it, or they do not care."""
    REPARTITION = "repartition"
    """Through a topic keyed by the PARTITION BY columns."""
    SINGLE = "single"
    """All rows to one place: a query without PARTITION BY."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Queries that share a source, its rows and the way they are routed: decoded once, held back once.

    Args:
        name: unique in the job, for people.
        source: what is read.
        queries: what runs over it.
        layout: columns of a row.
        routing: how rows reach the right partition. A topic with one partition needs neither of the others.
        partition_by: columns that key the repartition.
    """

    name: str
    source: Source
    queries: tuple[Query, ...]
    layout: Layout
    routing: Routing = Routing.DIRECT
    partition_by: tuple[str, ...] = ()

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

    def create_task(self, upstreams: Iterable[int] | None = None) -> PartitionTask:
        """A fresh task for one partition; ``upstreams`` are the source's partitions behind a repartition."""
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
        return PartitionTask(slots, delay_ms=delay, mode=self.source.mode, upstreams=upstreams)


@dataclass(frozen=True, slots=True)
class Job:
    """A bound job file.

    Args:
        name: the file's name without its ending, or as given.
        version: hash of the text; every alert carries it.
        text: as read.
        path: where it was read; "" for text.
        plans: what to run.
        warnings: what was accepted but has no meaning here.
        refused_by_flink: what Flink 2.3 would say no to.
        lookups: tables that lookup joins read.
    """

    name: str
    version: str
    text: str
    path: str
    plans: tuple[Plan, ...]
    warnings: tuple[str, ...] = ()
    refused_by_flink: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()


def version_of(text: str) -> str:
    """Version of a job: the first twelve hex digits of a hash of its text.

    Example:
        >>> version_of("SELECT 1")
        'f3a3e9f68cff'
    """
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
