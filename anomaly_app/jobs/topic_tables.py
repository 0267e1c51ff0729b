"""Tables in topics, as their CREATE TABLE binds them: what is read, what is written, and in which formats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from anomaly_app.formats.options import CHANGE_FORMATS
from anomaly_app.jobs.ranges import AS_THE_GROUP, FOR_EVER, Begin, End, Stop
from anomaly_app.jobs.task import TimeMode
from anomaly_app.jobs.topics import Topics
from anomaly_app.schema import Column, Schema


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
        topic: its Kafka topic; of several the names, or the pattern, as written.
        value_format: of the record values.
        key_format: of the record keys; None if no column is read from the key.
        key_fields: names of the columns that stand in the key.
        value_fields: names of the columns that stand in the value, in order.
        begin: where to begin.
        end: where to end.
        skips_nulls: records without value are let go, and counted.
        idle_timeout_ms: after which a partition without rows holds nobody up; None for the worker's setting.
        idle_clock: event time goes on by the clock while no rows come to any of its partitions.
        client: ``properties.…`` of the job file that say how Kafka is reached, without the prefix; settings of the
            worker come first.
        topics: which topics it reads; the one that is named if left out.
    """

    name: str
    schema: Schema
    topic: str
    value_format: Format
    key_format: Format | None = None
    key_fields: tuple[str, ...] = ()
    value_fields: tuple[str, ...] = ()
    begin: Begin = AS_THE_GROUP
    end: End = FOR_EVER
    skips_nulls: bool = False
    idle_timeout_ms: int | None = None
    idle_clock: bool = False
    client: Mapping[str, str] = field(default_factory=dict)
    topics: Topics = field(default_factory=Topics)

    @property
    def topic_names(self) -> tuple[str, ...]:
        """Its topics; none of a pattern that was not looked up yet."""
        return self.topics.names or (() if self.topics.pattern else (self.topic,))

    @property
    def bounded(self) -> bool:
        """Whether it ends."""
        return self.end.mode is not Stop.NEVER

    @property
    def mode(self) -> TimeMode:
        """Event time if the table has a watermark, else order of arrival."""
        return TimeMode.ROWTIME if self.schema.rowtime is not None else TimeMode.ARRIVAL

    def columns(self, names: Iterable[str]) -> tuple[Column, ...]:
        """The columns of these names, in the order of the table."""
        wanted = set(names)
        return tuple(column for column in self.schema.columns if column.name in wanted)

    def looked_up(self, topics: Mapping[str, Sequence[str]]) -> Source:
        """The table over the topics that it means now, by its name; over those that it has if it is not among them."""
        return replace(self, topics=replace(self.topics, names=tuple(topics.get(self.name, self.topic_names))))


@dataclass(frozen=True, slots=True)
class Sink:
    """A topic that a query writes.

    Args:
        name: the table's path in the job file, dotted.
        columns: in order; a query's output is written by position.
        topic: its Kafka topic; "" for a table that is printed, or whose rows go nowhere.
        value_format: of the record values.
        key_format: of the record keys; None for records without key.
        key_fields: names of the columns that form the key.
        value_fields: names of the columns that stand in the value.
        connector: ``kafka``, ``upsert-kafka``, ``print`` or ``blackhole``.
        client: as of :class:`Source`.
        label: begins each line of ``print``.
        to_stderr: ``print`` writes to the standard error.
    """

    name: str
    columns: tuple[Column, ...]
    topic: str
    value_format: Format
    key_format: Format | None = None
    key_fields: tuple[str, ...] = ()
    value_fields: tuple[str, ...] = ()
    connector: str = "kafka"
    client: Mapping[str, str] = field(default_factory=dict)
    label: str = ""
    to_stderr: bool = False

    @property
    def upsert(self) -> bool:
        """A record takes the place of the one with its key; one without value deletes it."""
        return self.connector == "upsert-kafka"

    @property
    def takes_changes(self) -> bool:
        """Whether rows may be taken back from it."""
        return self.connector != "kafka" or self.value_format.name in CHANGE_FORMATS

    def indexes(self, names: Iterable[str]) -> tuple[int, ...]:
        """Where columns stand in a row of the sink."""
        numbers = {column.name: number for number, column in enumerate(self.columns)}
        return tuple(numbers[name] for name in names)
