"""Where a source begins and where it ends: Flink's ``scan.startup.…`` and ``scan.bounded.…`` options."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from anomaly_app.jobs.options import TableOptions


class Startup(Enum):
    """Where a source begins if its group has no position yet (Flink's ``scan.startup.mode``)."""

    EARLIEST = "earliest-offset"
    LATEST = "latest-offset"
    GROUP = "group-offsets"
    TIMESTAMP = "timestamp"
    OFFSETS = "specific-offsets"


class Stop(Enum):
    """Where a source ends (Flink's ``scan.bounded.mode``)."""

    NEVER = "unbounded"
    LATEST = "latest-offset"
    TIMESTAMP = "timestamp"
    OFFSETS = "specific-offsets"


class Begin(NamedTuple):
    """Where to begin.

    Args:
        mode: how it is said.
        timestamp_ms: of :attr:`Startup.TIMESTAMP`: at the first record with this timestamp or a later one.
        offsets: of :attr:`Startup.OFFSETS`, by partition; the others begin with their first record.
        reset: of :attr:`Startup.GROUP`, if the group has no offset: ``earliest``, ``latest``, or ``none`` to refuse.
    """

    mode: Startup = Startup.GROUP
    timestamp_ms: int | None = None
    offsets: Mapping[int, int] = {}
    reset: str = "earliest"


class End(NamedTuple):
    """Where to end.

    Args:
        mode: how it is said.
        timestamp_ms: of :attr:`Stop.TIMESTAMP`: in front of the first record with this timestamp or a later one.
        offsets: of :attr:`Stop.OFFSETS`, by partition: the first that is not read.
    """

    mode: Stop = Stop.NEVER
    timestamp_ms: int | None = None
    offsets: Mapping[int, int] = {}


AS_THE_GROUP, FOR_EVER = Begin(), End()
"""If a table says nothing."""

BEGINNING = Begin(Startup.EARLIEST)
"""Of an upsert table: it is nothing without its past."""


def begin_of(options: TableOptions, topics: int | None) -> Begin:
    """Where a table of the connector ``kafka`` begins.

    Args:
        options: of the table.
        topics: how many it has; None for those that a pattern finds.
    """
    mode = Startup(options.one_of("scan.startup.mode", _values(Startup), Startup.GROUP.value))
    timestamp = _timestamp(options, "scan.startup", mode is Startup.TIMESTAMP)
    offsets = _offsets(options, "scan.startup", mode is Startup.OFFSETS, topics)
    key = "properties.auto.offset.reset"
    reset = options.one_of(key, ("earliest", "latest", "none"), "earliest")
    if key in options.values and mode is not Startup.GROUP:
        options.warn(key, f"'scan.startup.mode' = '{mode.value}' says where to begin")
    return Begin(mode, timestamp, offsets, reset)


def end_of(options: TableOptions, topics: int | None) -> End:
    """Where a table ends; arguments as of :func:`begin_of`."""
    if options.values.get("scan.bounded.mode") == "group-offsets":
        problem = "'group-offsets' is where this worker stands itself: use 'latest-offset', 'timestamp' or"
        raise options.fail("scan.bounded.mode", f"{problem} 'specific-offsets'")
    mode = Stop(options.one_of("scan.bounded.mode", _values(Stop), Stop.NEVER.value))
    timestamp = _timestamp(options, "scan.bounded", mode is Stop.TIMESTAMP)
    return End(mode, timestamp, _offsets(options, "scan.bounded", mode is Stop.OFFSETS, topics))


def _values(modes: type[Startup] | type[Stop]) -> tuple[str, ...]:
    return tuple(mode.value for mode in modes)


def _timestamp(options: TableOptions, prefix: str, wanted: bool) -> int | None:
    key, mode = f"{prefix}.timestamp-millis", f"{prefix}.mode"
    timestamp = options.whole_number(key)
    if (timestamp is None) is wanted:
        raise options.fail(mode if timestamp is None else key, f"'{key}' and '{mode}' = 'timestamp' need each other")
    if timestamp is not None and timestamp < 0:
        raise options.fail(key, f"'{key}' is {timestamp}: it must be milliseconds since 1970")
    return timestamp


def _offsets(options: TableOptions, prefix: str, wanted: bool, topics: int | None) -> Mapping[int, int]:
    key, mode = f"{prefix}.specific-offsets", f"{prefix}.mode"
    text = options.values.get(key)
    if (text is None) is wanted:
        raise options.fail(mode if text is None else key, f"'{key}' and '{mode}' = 'specific-offsets' need each other")
    if text is None:
        return {}
    if topics != 1:
        raise options.fail(mode, "'specific-offsets' is for a table of one topic")
    found = parse_offsets(text)
    if found is None:
        problem = f"'{key}' is '{text}': it must be like 'partition:0,offset:42;partition:1,offset:300'"
        raise options.fail(key, problem)
    return found


def parse_offsets(text: str) -> Mapping[int, int] | None:
    """Offsets by partition, as Flink writes them; None if these are none, or a partition is there twice.

    Example:
        >>> parse_offsets("partition:0,offset:42;partition:1,offset:300"), parse_offsets("partition:0;offset:42")
        ({0: 42, 1: 300}, None)
    """
    offsets: dict[int, int] = {}
    for entry in text.rstrip(";").split(";"):
        parts = [part.partition(":") for part in entry.split(",")]
        numbers = {name.strip(): number.strip() for name, _, number in parts}
        if len(parts) != 2 or numbers.keys() != {"partition", "offset"}:
            return None
        if not all(number.isascii() and number.isdigit() for number in numbers.values()):
            return None
        partition = int(numbers["partition"])
        if partition in offsets:
            return None
        offsets[partition] = int(numbers["offset"])
    return offsets
