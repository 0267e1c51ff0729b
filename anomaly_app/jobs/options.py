"""The WITH options of a table: which exist, which mean something here, what they say."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from anomaly_app.errors import SqlValidationError
from anomaly_app.words import parse_duration

FILESYSTEM = "filesystem"
"""Connector of tables in files: see :mod:`.files`."""

CONNECTORS = ("kafka", "upsert-kafka", "print", "blackhole", FILESYSTEM)

SINKS_ONLY = ("print", "blackhole")
"""Connectors of tables that are for trying out: their rows are printed, or go nowhere."""

NULLS = "value.null"
"""An option of our own: what becomes of records without value in a table that is append-only."""

IDLE_CLOCK = "scan.watermark.idle-clock"
"""Another one: event time goes on by the clock while no rows come."""

CLIENT = ("bootstrap.servers", "group.id", "isolation.level")
"""Kafka's properties, without ``properties.``, that a worker has one of for all jobs: see :mod:`.precedence`."""

_COMMON = frozenset(
    {
        "connector",
        "topic",
        "topic-pattern",
        "scan.topic-partition-discovery.interval",
        "scan.bounded.mode",
        "scan.bounded.timestamp-millis",
        "scan.bounded.specific-offsets",
        "scan.watermark.idle-timeout",
        "value.format",
        "key.format",
        "key.fields-prefix",
        "value.fields-include",
        *(f"properties.{name}" for name in CLIENT),
    }
)

MEANINGFUL = {
    "kafka": _COMMON
    | {
        "format",
        "key.fields",
        "scan.startup.mode",
        "scan.startup.timestamp-millis",
        "scan.startup.specific-offsets",
        "properties.auto.offset.reset",
        NULLS,
        IDLE_CLOCK,
    },
    "upsert-kafka": _COMMON,
    "print": frozenset({"connector", "print-identifier", "standard-error"}),
    "blackhole": frozenset({"connector"}),
}
"""Options that mean something here, by connector."""

_IGNORED_BY_ALL = frozenset(
    {
        "scan.parallelism",
        "scan.watermark.emit.strategy",
        "scan.watermark.alignment.group",
        "scan.watermark.alignment.max-drift",
        "scan.watermark.alignment.update-interval",
        "sink.parallelism",
        "sink.delivery-guarantee",
        "sink.transactional-id-prefix",
        "sink.transaction-naming-strategy",
    }
)

IGNORED: Mapping[str, frozenset[str]] = {
    "kafka": _IGNORED_BY_ALL | {"scan.watermark.emit.on-event.gap", "sink.partitioner", "sink.semantic"},
    "upsert-kafka": _IGNORED_BY_ALL,
    "print": frozenset({"sink.parallelism"}),
    "blackhole": frozenset(),
}
"""Options of Flink's connectors that are known and have no meaning here."""

BUFFER = ("sink.buffer-flush.max-rows", "sink.buffer-flush.interval")
"""How long ``upsert-kafka`` of Flink gathers changes; they need each other there."""

INSTEAD = {
    "acks": "every record is written with acks = all",
    "allow.auto.create.topics": "kafka.create_topics says whether the worker creates topics",
    "auto.commit.interval.ms": "offsets are committed behind what is written",
    "auto.offset.reset": "it counts for a table that is read with 'scan.startup.mode' = 'group-offsets'",
    "check.crcs": "checksums are always verified",
    "default.api.timeout.ms": "a worker waits until the broker is back",
    "delivery.timeout.ms": "a write waits for up to five minutes for a broker that is away, and the worker stops then",
    "enable.auto.commit": "offsets are committed behind what is written",
    "enable.idempotence": "the producer is always idempotent",
    "exclude.internal.topics": "a pattern never means them",
    "group.instance.id": "members of the group are dynamic",
    "group.protocol": "the group uses the classic protocol",
    "heartbeat.interval.ms": "it is a third of kafka.session_timeout_s",
    "interceptor.classes": "Java classes cannot run here: records are read and written as they are",
    "key.deserializer": "the table's formats decode",
    "key.serializer": "the table's formats encode",
    "max.in.flight.requests.per.connection": "the producer is idempotent, and keeps the order of a partition",
    "max.poll.interval.ms": "the worker watches its own progress",
    "max.request.size": "a record takes a megabyte at most",
    "partition.assignment.strategy": "the worker's own keeps state and rows together",
    "partition.discovery.interval.ms": "it is 'scan.topic-partition-discovery.interval'",
    "partitioner.class": "the key chooses the partition as Kafka's own default does",
    "retries": "a write is tried again for up to five minutes",
    "session.timeout.ms": "it is kafka.session_timeout_s",
    "transaction.timeout.ms": "results are written without transactions, each with an id",
    "transactional.id": "results are written without transactions, each with an id",
    "value.deserializer": "the table's formats decode",
    "value.serializer": "the table's formats encode",
}
"""Kafka's properties that would change results or safety and do not count here, and what holds in place of them."""

SECURITY = (
    "properties.security.",
    "properties.sasl.",
    "properties.ssl.",
    "avro-confluent.ssl.",
    "avro-confluent.bearer-auth.",
)
"""How options begin (behind the part of the record) that say how to log in: the settings do that here."""


@dataclass(slots=True)
class TableOptions:
    """Checked access to the options of one table.

    Args:
        table: name of the table, for messages.
        values: option and value.
        spans: option and its place in ``text``.
        text: the whole job file.
        format_options: valid options of a format, without prefix; raises ``KeyError`` for an unknown format.
        formats: names of the formats.
    """

    table: str
    values: Mapping[str, str]
    spans: Mapping[str, tuple[int, int]]
    text: str
    format_options: Callable[[str], frozenset[str]]
    formats: tuple[str, ...]
    warnings: list[str] = field(default_factory=list)

    def fail(self, key: str | None, problem: str) -> SqlValidationError:
        """An error at the place of an option (or at the table if the option is absent)."""
        start, end = self.spans.get(key or "", self.spans.get("", (0, 1)))
        return SqlValidationError(f"table {self.table}: {problem}", self.text, start, end)

    def require(self, key: str, why: str = "") -> str:
        """The value of an option that must be there."""
        value = self.values.get(key)
        if value is None:
            raise self.fail(None, f"option '{key}' is missing{f' ({why})' if why else ''}")
        return value

    def one_of(self, key: str, allowed: Mapping[str, object] | tuple[str, ...], default: str | None = None) -> str:
        """The value of an option that has a fixed set of values."""
        value = self.require(key) if default is None else self.values.get(key, default)
        if value not in allowed:
            shown = ", ".join(f"'{name}'" for name in allowed)
            near = difflib.get_close_matches(value, list(allowed), 1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise self.fail(key, f"'{key}' is '{value}': it must be one of {shown}{hint}")
        return value

    def whole_number(self, key: str) -> int | None:
        """The value of an option that is a whole number; None if absent."""
        value = self.values.get(key)
        if value is None:
            return None
        try:
            return int(value)
        except ValueError:
            raise self.fail(key, f"'{key}' is '{value}': it must be a whole number") from None

    def duration_ms(self, key: str) -> int | None:
        """The value of an option that is a duration such as ``30 s``, in milliseconds; None if absent."""
        value = self.values.get(key)
        if value is None:
            return None
        duration = parse_duration(value)
        if duration is None:
            raise self.fail(key, f"'{key}' is '{value}': it must be a duration such as '30 s' or '5 min'")
        return duration

    def client(self) -> dict[str, str]:
        """Those of :data:`CLIENT` that are there; an isolation level that does not exist is an error."""
        if "properties.isolation.level" in self.values:
            self.one_of("properties.isolation.level", ("read_uncommitted", "read_committed"))
        return {name: self.values[f"properties.{name}"] for name in CLIENT if f"properties.{name}" in self.values}

    def warn(self, key: str, problem: str) -> None:
        """Note that an option does not count."""
        self.warnings.append(f"table {self.table}: option '{key}' is not used: {problem}")

    def format(self, part: str) -> tuple[str, dict[str, str]] | None:
        """Format of the ``key`` or ``value`` with its options, without prefixes; None if there is none."""
        own, general = f"{part}.format", "format"
        key = own if own in self.values else general if part == "value" and general in self.values else None
        if key is None:
            return None
        name = self.one_of(key, self.formats)
        prefix = self.format_prefix(part, name)
        return name, {k[len(prefix) :]: v for k, v in self.values.items() if k.startswith(prefix)}

    def format_prefix(self, part: str, name: str) -> str:
        """How the options of a part's format begin: ``value.json.`` for 'value.format', ``json.`` for 'format'."""
        return f"{part}.{name}." if f"{part}.format" in self.values else f"{name}."

    def validate(self) -> None:
        """Refuse unknown options, naming the nearest valid one; warn of those without meaning here."""
        connector = self.one_of("connector", CONNECTORS)
        if connector == FILESYSTEM:
            problem = "a table in a file is looked up in, or read by query(), anomaly query and anomaly sql"
            raise self.fail("connector", f"{problem}: a job neither streams from it nor writes it")
        if connector in SINKS_ONLY:
            self._validate_plain(connector)
            return
        valid, ignored = set(MEANINGFUL[connector]), IGNORED[connector]
        for part in ("key", "value"):
            found = self.format(part)
            if found:
                prefix = self.format_prefix(part, found[0])
                valid |= {prefix + option for option in self.format_options(found[0])}
        for key in self.values:
            if key.removeprefix("key.").removeprefix("value.").startswith(SECURITY):
                problem = (
                    f"option '{key}' is ignored: how to log in and encrypt comes from the settings, not from a job"
                )
                self.warnings.append(f"table {self.table}: {problem}")
            elif key not in valid and key.removeprefix("properties.") in INSTEAD and key.startswith("properties."):
                self.warn(key, INSTEAD[key.removeprefix("properties.")])
            elif key in BUFFER and connector == "upsert-kafka":
                self._buffer(key)
            elif key in ignored or (key.startswith("properties.") and key not in valid):
                near = [name for name in _nearest(key, valid) if name.startswith("properties.")]
                hint = f"; did you mean '{near[0]}'?" if near else ""
                self.warnings.append(f"table {self.table}: option '{key}' has no meaning here and is ignored{hint}")
            elif key not in valid:
                near = _nearest(key, valid | ignored)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise self.fail(key, f"unknown option '{key}' of the connector '{connector}'{hint}")

    def _validate_plain(self, connector: str) -> None:
        valid, ignored = MEANINGFUL[connector], IGNORED[connector]
        for key in self.values:
            if key in ignored:
                self.warnings.append(f"table {self.table}: option '{key}' has no meaning here and is ignored")
            elif key not in valid:
                near = _nearest(key, valid | ignored)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise self.fail(key, f"unknown option '{key}' of the connector '{connector}'{hint}")

    def _buffer(self, key: str) -> None:
        """Changes are gathered until the next flush in any case; Flink refuses one of the options without the other."""
        other = next(name for name in BUFFER if name != key)
        number = self.whole_number(key) if key == BUFFER[0] else self.duration_ms(key)
        if number and other not in self.values:
            raise self.fail(key, f"'{key}' needs '{other}' beside it")
        self.warn(key, "of each flush (worker.flush_interval_ms) the last change of a key is written")


def _nearest(key: str, names: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(key, sorted(names), 1, cutoff=0.75)
