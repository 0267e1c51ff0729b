"""The WITH options of a table: which exist, which mean something here, what they say."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from anomaly_app.errors import SqlValidationError

CONNECTORS = ("kafka", "upsert-kafka")

_COMMON = frozenset(
    {
        "connector",
        "topic",
        "value.format",
        "key.format",
        "key.fields-prefix",
        "value.fields-include",
        "properties.bootstrap.servers",
        "properties.group.id",
    }
)

MEANINGFUL = {
    "kafka": _COMMON
    | {
        "format",
        "key.fields",
        "scan.startup.mode",
        "scan.startup.timestamp-millis",
        "scan.bounded.mode",
        "scan.watermark.idle-timeout",
    },
    "upsert-kafka": _COMMON,
}
"""Options that mean something here, by connector."""

_IGNORED_BY_ALL = frozenset({"scan.parallelism", "sink.parallelism", "sink.delivery-guarantee"})

IGNORED = {
    "kafka": _IGNORED_BY_ALL
    | {
        "scan.topic-partition-discovery.interval",
        "scan.watermark.emit.strategy",
        "scan.watermark.emit.on-event.gap",
        "scan.watermark.alignment.group",
        "scan.watermark.alignment.max-drift",
        "scan.watermark.alignment.update-interval",
        "sink.partitioner",
        "sink.semantic",
        "sink.transactional-id-prefix",
        "sink.transaction-naming-strategy",
    },
    "upsert-kafka": _IGNORED_BY_ALL
    | {"sink.buffer-flush.max-rows", "sink.buffer-flush.interval", "sink.transactional-id-prefix"},
}
"""Options of Flink's Kafka connectors that are known and have no meaning here."""

REFUSED = {
    "topic-pattern": "name the topic: a pattern is not supported",
    "scan.startup.specific-offsets": "use 'earliest-offset', 'latest-offset', 'group-offsets' or 'timestamp'",
    "scan.bounded.specific-offsets": "use 'scan.bounded.mode' = 'latest-offset'",
    "scan.bounded.timestamp-millis": "use 'scan.bounded.mode' = 'latest-offset'",
}
"""Known options that would change the rows: ignoring them would be wrong."""

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
        valid, ignored = set(MEANINGFUL[connector]), IGNORED[connector]
        for part in ("key", "value"):
            found = self.format(part)
            if found:
                prefix = self.format_prefix(part, found[0])
                valid |= {prefix + option for option in self.format_options(found[0])}
        for key in self.values:
            if key in REFUSED:
                raise self.fail(key, f"option '{key}' is not supported: {REFUSED[key]}")
            if key.removeprefix("key.").removeprefix("value.").startswith(SECURITY):
                problem = (
                    f"option '{key}' is ignored: how to log in and encrypt comes from the settings, not from a job"
                )
                self.warnings.append(f"table {self.table}: {problem}")
            elif key in ignored or (key.startswith("properties.") and key not in valid):
                near = [name for name in _nearest(key, valid) if name.startswith("properties.")]
                hint = f"; did you mean '{near[0]}'?" if near else ""
                self.warnings.append(f"table {self.table}: option '{key}' has no meaning here and is ignored{hint}")
            elif key not in valid:
                near = _nearest(key, valid | ignored)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise self.fail(key, f"unknown option '{key}' of the connector '{connector}'{hint}")


def parse_duration(text: str) -> int | None:
    """A duration as Flink writes it, in milliseconds; None if it is none.

    Example:
        >>> parse_duration("30 s"), parse_duration("7d"), parse_duration("500"), parse_duration("soon")
        (30000, 604800000, 500, None)
    """
    digits = text.strip().rstrip("abcdefghijklmnopqrstuvwxyz").strip()
    factor = _UNITS_MS.get(text.strip()[len(digits) :].strip() or "ms")
    return int(digits) * factor if factor is not None and digits.isdigit() else None


def _nearest(key: str, names: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(key, sorted(names), 1, cutoff=0.75)


_UNITS_MS = {
    "ms": 1,
    "milli": 1,
    "millis": 1,
    "s": 1_000,
    "sec": 1_000,
    "second": 1_000,
    "seconds": 1_000,
    "m": 60_000,
    "min": 60_000,
    "minute": 60_000,
    "minutes": 60_000,
    "h": 3_600_000,
    "hour": 3_600_000,
    "hours": 3_600_000,
    "d": 86_400_000,
    "day": 86_400_000,
    "days": 86_400_000,
}
