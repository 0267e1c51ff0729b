"""Where a partition of a source begins and ends, asked of the broker where the job file names a time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from aiokafka.structs import TopicPartition

from anomaly_app.errors import BrokerRefusal
from anomaly_app.jobs.ranges import BEGINNING, Begin, Startup, Stop
from anomaly_app.jobs.topic_tables import Source
from anomaly_app.runtime.discovery import found_while_running
from anomaly_app.schema import Changelog

Reader = Callable[[], AbstractAsyncContextManager[Any]]
"""Gives a started aiokafka consumer without a group."""


def always_from_the_beginning(source: Source) -> bool:
    """Whether what the group has read before does not count: an upsert table is nothing without its past."""
    return source.schema.changelog is Changelog.UPSERT


async def first_position(source: Source, override: str | None, tp: Any, first: int, end: int, reader: Reader) -> int:
    """Where a partition begins of which neither state nor group know.

    Args:
        source: that it is of.
        override: ``worker.startup``; "" or None for what the job says.
        tp: topic and partition.
        first: its first offset.
        end: behind its last one.
        reader: to ask for offsets of a time.

    Raises:
        BrokerRefusal: there has to be a position, and there is none.
    """
    begin = source.begin
    if always_from_the_beginning(source) or found_while_running(tp.topic):
        begin = BEGINNING
    elif override:
        begin = Begin(Startup(override), begin.timestamp_ms, begin.offsets, begin.reset)
    reset = begin.reset if begin.mode is Startup.GROUP else ""
    if reset == "none":
        problem = f"the group has no offset of {tp.topic}[{tp.partition}]: 'properties.auto.offset.reset' is 'none'"
        raise BrokerRefusal(f"{problem} – use another 'scan.startup.mode', or worker.startup")
    if begin.mode is Startup.LATEST or reset == "latest":
        return end
    if begin.mode is Startup.OFFSETS:
        return min(max(begin.offsets.get(tp.partition, first), first), end)
    if begin.mode is Startup.TIMESTAMP and begin.timestamp_ms is not None:
        return await _offset_of(tp, begin.timestamp_ms, end, reader)
    return first


async def last_position(source: Source, bounded: bool, tp: Any, end: int, reader: Reader) -> int | None:
    """Where a partition ends; None if it goes on for ever.

    Args:
        source: that it is of.
        bounded: ``worker.bounded``: it ends in any case, at its present end if the job says nothing else.
        tp: topic and partition.
        end: behind its last record now.
        reader: to ask for offsets of a time.

    Raises:
        BrokerRefusal: the job names the offset of each partition, but of this one.
    """
    stop = source.end
    if stop.mode is Stop.OFFSETS:
        if tp.partition not in stop.offsets:
            problem = f"'scan.bounded.specific-offsets' of table {source.name} says nothing of partition {tp.partition}"
            raise BrokerRefusal(f"{problem} of topic {tp.topic!r} – name the offset at which each partition ends")
        return min(stop.offsets[tp.partition], end) if bounded else stop.offsets[tp.partition]
    if stop.mode is Stop.TIMESTAMP and stop.timestamp_ms is not None:
        return await _offset_of(tp, stop.timestamp_ms, end, reader)
    return end if bounded or stop.mode is Stop.LATEST else None


async def _offset_of(tp: Any, timestamp_ms: int, end: int, reader: Reader) -> int:
    """Of the first record with a timestamp or a later one; the end if there is none yet."""
    async with reader() as consumer:
        place = TopicPartition(tp.topic, tp.partition)
        found = (await consumer.offsets_for_times({place: timestamp_ms}))[place]
    return end if found is None else int(found.offset)
