"""What a generator is and what it yields."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

NAMESPACE = "com.github.streamshub.kafka.data.generator.schema"
"""Of the Avro records (S2-02)."""
RATE = 100.0
"""Records per second (S2-05)."""


class Generated(NamedTuple):
    """A record before it is encoded.

    Args:
        topic: where it belongs.
        key: text of the record key; bytes where it is encoded already.
        value: field and value, in the order of the Avro schema; bytes where they are encoded already.
        timestamp_ms: of the record.
    """

    topic: str
    key: Any
    value: Any
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Generator:
    """A stream of random records.

    Args:
        name: of the stream, as on the command line.
        topic: where its records belong.
        record_name: of the Avro schema.
        fields: names in the order of the Avro schema.
        csv_fields: names in the order of a CSV record.
        time_column: what its table calls the record timestamp.
        draw: makes a value, given a source of random numbers.
        types: Avro types of the fields; those that are not named are strings, as all are in the sales tutorial.
        key: field that is the record's key; "" for the timestamp as text, as in the sales tutorial (S2-04).
        stamp: field that holds the record's timestamp in ms; "" for none.
    """

    name: str
    topic: str
    record_name: str
    fields: tuple[str, ...]
    csv_fields: tuple[str, ...]
    time_column: str
    draw: Callable[[Random], dict[str, Any]]
    types: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    stamp: str = ""

    @property
    def avro_schema(self) -> dict[str, Any]:
        """Schema of the values."""
        return {
            "namespace": NAMESPACE,
            "type": "record",
            "name": self.record_name,
            "fields": [{"name": name, "type": self.types.get(name, "string")} for name in self.fields],
        }

    def records(self, seed: int, count: int | None, start_ms: int, rate: float = RATE) -> Iterator[Generated]:
        """Records in the order of their timestamps, evenly spaced.

        Args:
            seed: the same seed gives the same values.
            count: how many; None for no end.
            start_ms: timestamp of the first one.
            rate: records per second of record time.

        Example:
            >>> from anomaly_app.generators import sales
            >>> first, second = sales().records(seed=7, count=2, start_ms=1_000, rate=100)
            >>> first.topic, first.key, second.timestamp_ms
            ('flink.sales.records', '1000', 1010)
        """
        random, draw, topic, gap = Random(seed), self.draw, self.topic, 1_000 / rate
        for number in itertools.count() if count is None else range(count):
            timestamp = start_ms + int(number * gap)
            value = draw(random)
            if self.stamp:
                value[self.stamp] = timestamp
            yield Generated(topic, value[self.key] if self.key else str(timestamp), value, timestamp)
