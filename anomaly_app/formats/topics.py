"""What formats know of records, and of the tables in topics that they read and write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from anomaly_app.formats.options import AvroOptions
from anomaly_app.schema import Column, Schema


class Record(Protocol):
    """A Kafka record."""

    @property
    def topic(self) -> str:
        """Where it was read."""

    @property
    def partition(self) -> int:
        """Where it was read."""

    @property
    def offset(self) -> int:
        """Where it was read."""

    @property
    def timestamp(self) -> int:
        """Milliseconds since 1970; -1 for none."""

    @property
    def timestamp_type(self) -> int | None:
        """0 for the producer's, 1 for the broker's; anything else for none."""

    @property
    def headers(self) -> Iterable[tuple[str, bytes | None]] | None:
        """Name and value of each."""

    @property
    def key(self) -> bytes | None:
        """The key as written."""

    @property
    def value(self) -> bytes | None:
        """The value as written; None for a tombstone."""


class FormatSpec(Protocol):
    """A format and its options, without their prefixes."""

    @property
    def name(self) -> str:
        """Such as ``json``."""

    @property
    def options(self) -> Mapping[str, str]:
        """Names without prefix, and values."""


class Topic(Protocol):
    """What sources and sinks have in common."""

    @property
    def topic(self) -> str:
        """Name of the topic."""

    @property
    def value_format(self) -> FormatSpec:
        """Format of the values."""

    @property
    def key_format(self) -> FormatSpec | None:
        """Format of the keys."""

    @property
    def key_fields(self) -> tuple[str, ...]:
        """Names of the columns in the key, in order."""

    @property
    def value_fields(self) -> tuple[str, ...]:
        """Names of the columns in the value, in order."""


class SourceLike(Topic, Protocol):
    """A :class:`anomaly_app.jobs.topic_tables.Source`."""

    @property
    def schema(self) -> Schema:
        """All columns of the table."""

    @property
    def skips_nulls(self) -> bool:
        """Records without value are let go."""


class SinkLike(Topic, Protocol):
    """A :class:`anomaly_app.jobs.topic_tables.Sink`."""

    @property
    def upsert(self) -> bool:
        """A record takes the place of the one with its key; one without value deletes it."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns of a row, in order."""


def avro_options(topic: Topic) -> AvroOptions | None:
    """Options of the value's, or else of the key's, Avro format: they say where the registry is. None without Avro."""
    for format_ in (topic.value_format, topic.key_format):
        if format_ is not None and format_.name == "avro-confluent":
            return AvroOptions.parse(format_.options)
    return None
