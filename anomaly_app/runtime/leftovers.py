"""State that no query needs any more, in changelogs and data directories: found and deleted.

What a query leaves behind in the tables of a plan that goes on is deleted by the worker with the plan's next
checkpoint. Here is the rest: plans that the job has no more, and what a person wants to be dropped.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from anomaly_app.errors import StateError
from anomaly_app.runtime.connection import client_options
from anomaly_app.runtime.pipeline import job_mark
from anomaly_app.runtime.topics import TopicAdmin
from anomaly_app.runtime.writer import OutputWriter, read_ranges
from anomaly_app.settings import LoadedSettings
from anomaly_app.tables.files import Database, databases, delete_entries, delete_plan
from anomaly_app.tables.lock import DataDirLock
from anomaly_app.tables.state import CHECKPOINT, Entries, Stored, decode, encode, owner

STATE = "-state-changelog"
_CHANGELOG = re.compile(r"(.+)-(?:state|shuffle\d*(?:x[0-9a-f]+)?)-changelog")
AT_ONCE = 5_000
"""Tombstones of one write."""


@dataclass(slots=True)
class Partition:
    """What a changelog holds of a partition.

    Args:
        checkpoint: the last one, encoded; None without.
        keys: of the entries that stand.
    """

    checkpoint: bytes | None = None
    keys: set[bytes] = field(default_factory=set)

    @property
    def stored(self) -> Stored | None:
        """The checkpoint; raises StateError if it is unreadable."""
        return None if self.checkpoint is None else decode(self.checkpoint)


@dataclass(frozen=True, slots=True)
class Dropped:
    """What was deleted of a query.

    Args:
        query: job and query.
        fingerprint: of the query.
        entries: how many, in the changelog.
    """

    query: str
    fingerprint: str
    entries: int


class Changelogs:
    """Reads and writes changelogs beside a worker.

    Args:
        consumer: started, without a group.
        producer: started.
    """

    def __init__(self, consumer: Any, producer: Any) -> None:
        self._consumer = consumer
        self._writer = OutputWriter({}, ())
        self._writer.producer = producer

    async def read(self, topic: str, partitions: int) -> dict[int, Partition]:
        """What stands in a changelog, by partition."""
        places = [TopicPartition(topic, number) for number in range(partitions)]
        begins, ends = await self._consumer.beginning_offsets(places), await self._consumer.end_offsets(places)
        found = {number: Partition() for number in range(partitions)}
        ranges = {place.partition: (begins[place], ends[place]) for place in places}
        async for record in read_ranges(self._consumer, topic, ranges):
            one = found[record.partition]
            if record.value is None:
                one.keys.discard(record.key)
            else:
                one.keys.add(record.key)
            if record.key == CHECKPOINT:
                one.checkpoint = record.value
        return found

    async def write(self, topic: str, partition: int, entries: Entries) -> None:
        """Write entries in order; None deletes."""
        for first in range(0, len(entries), AT_ONCE):
            await self._writer.changelog(topic, partition, entries[first : first + AT_ONCE])


@asynccontextmanager
async def open_changelogs(loaded: LoadedSettings) -> AsyncIterator[Changelogs]:
    """Clients of their own, for as long as it takes."""
    async with AsyncExitStack() as stack:
        consumer = AIOKafkaConsumer(**client_options(loaded), enable_auto_commit=False, fetch_max_wait_ms=50)
        producer = AIOKafkaProducer(**client_options(loaded), acks="all", enable_idempotence=True)
        for client in (consumer, producer):
            await client.start()
            stack.push_async_callback(client.stop)
        yield Changelogs(consumer, producer)


# --- plans that a job has no more ---------------------------------------------------------------------


def plan_of(topic: str, app_id: str) -> str | None:
    """The plan whose changelog a topic is; None for other topics.

    Example:
        >>> plan_of("anomaly-sales-orders-21107e0a-0c5b1a77-state-changelog", "anomaly")
        'sales-orders-21107e0a-0c5b1a77'
        >>> plan_of("anomaly-sales-orders-payments-21107e0a-0c5b1a77-shuffle1-changelog", "anomaly")
        'sales-orders-payments-21107e0a-0c5b1a77'
    """
    found = _CHANGELOG.fullmatch(topic.removeprefix(f"{app_id}-"))
    return found[1] if found is not None and topic.startswith(f"{app_id}-") else None


def vanished(plans: Iterable[str], present: Collection[str], app_id: str, jobs: Iterable[str]) -> set[str]:
    """Plans that belonged to these jobs of the application and are none of those at present.

    What belongs to jobs that do not run here is left alone: they may run again.

    Example:
        >>> mark = job_mark("anomaly", "sales")
        >>> old, new, other = f"sales-a-{mark}-1", f"sales-b-{mark}-2", "fraud-c-0c5b1a77-3"
        >>> vanished([old, new, other], [new], "anomaly", ["sales"]) == {old}
        True
    """
    marks = {job_mark(app_id, job) for job in jobs}
    return {plan for plan in plans if plan not in present and _mark(plan) in marks}


def _mark(plan: str) -> str:
    """The part of a plan's name that tells whose it is."""
    return plan.rsplit("-", 2)[-2] if plan.count("-") > 1 else ""


async def forget_vanished(loaded: LoadedSettings, present: Collection[str], jobs: Sequence[str]) -> list[str]:
    """Delete the state of plans that these jobs have no more; their names.

    To be called when the state of the plans at present is safe.

    Args:
        loaded: the settings.
        present: names of the plans that run.
        jobs: names of the jobs that run.
    """
    settings = loaded.settings.worker
    async with TopicAdmin(loaded) as admin:
        topics = await admin.names()
    by_topic = {topic: plan for topic in topics if (plan := plan_of(topic, settings.app_id)) is not None}
    local = {database.plan for database in databases(settings.data_dir)}
    gone = vanished({*by_topic.values(), *local}, present, settings.app_id, jobs)
    old = sorted(topic for topic, plan in by_topic.items() if plan in gone)
    if old:
        async with open_changelogs(loaded) as changelogs:
            for topic in old:
                for partition, found in (await changelogs.read(topic, topics[topic])).items():
                    # The checkpoint first: what is left without it, by a crash, is nobody's.
                    keys = sorted(found.keys, key=lambda key: key != CHECKPOINT)
                    await changelogs.write(topic, partition, [(key, None) for key in keys])
    for plan in gone:
        delete_plan(settings.data_dir, plan)
    return sorted(gone)


# --- what a person drops ------------------------------------------------------------------------------


async def drop(loaded: LoadedSettings, query: str) -> list[Dropped]:
    """Delete the state of a query from its changelogs and from the data directory; no worker may run.

    The query begins afresh where the worker goes on; the state of all others stays.

    Args:
        loaded: the settings.
        query: its name, ``job/query``, or its fingerprint.

    Raises:
        StateError: a worker runs, there is no such state, or the name is that of several queries.
        BrokerError: Kafka does not answer.
    """
    settings = loaded.settings.worker
    async with AsyncExitStack() as stack:
        if settings.data_dir.is_dir():
            stack.enter_context(DataDirLock(settings.data_dir))
        async with TopicAdmin(loaded) as admin:
            members = await admin.members(loaded.settings.kafka.group_id or settings.app_id)
            if members:
                raise StateError(f"{members} worker(s) of {settings.app_id!r} run: stop them first")
            topics = await admin.names()
        changelogs = await stack.enter_async_context(open_changelogs(loaded))
        found: dict[str, dict[int, Partition]] = {}
        for topic, partitions in sorted(topics.items()):
            plan = plan_of(topic, settings.app_id)
            if plan is not None and topic.endswith(STATE):
                found[plan] = await changelogs.read(topic, partitions)
        local = {(database.plan, database.partition): database for database in databases(settings.data_dir)}
        labels = _labels(found, settings.app_id)
        chosen = _choose(query, labels)
        dropped = dict.fromkeys(chosen, 0)
        for plan, partitions_ in found.items():
            for number, one in partitions_.items():
                own = local.get((plan, number))
                for name, entries in (await _drop(changelogs, settings.app_id, plan, number, one, own, chosen)).items():
                    dropped[name] += entries
    return [Dropped(labels[name], name, entries) for name, entries in dropped.items()]


async def _drop(
    changelogs: Changelogs, app_id: str, plan: str, number: int, one: Partition, own: Database | None,
    chosen: Collection[str],
) -> dict[str, int]:  # fmt: skip
    """Delete from one partition; number of entries by fingerprint."""
    names = {name.encode() for name in chosen}
    keys = [key for key in one.keys if owner(key) in names]
    stored = one.stored
    after = one.checkpoint
    entries: list[tuple[bytes, bytes | None]] = []
    if stored is not None and not stored.queries.keys().isdisjoint(chosen):
        # First: entries whose owner no checkpoint names are nobody's, if not all of them can be deleted.
        left = {name: label for name, label in stored.queries.items() if name not in chosen}
        after = encode(msgspec.structs.replace(stored, queries=left))
        entries.append((CHECKPOINT, after))
    entries += [(key, None) for key in keys]
    if entries:
        await changelogs.write(f"{app_id}-{plan}{STATE}", number, entries)
    if own is not None:
        delete_entries(own, names, one.checkpoint, after)
    return {name: sum(owner(key) == name.encode() for key in keys) for name in chosen}


def _labels(found: dict[str, dict[int, Partition]], app_id: str) -> dict[str, str]:
    """Job and query by fingerprint, of this application."""
    return {
        name: label
        for plan, partitions in found.items()
        for one in partitions.values()
        if (stored := one.stored) is not None
        for name, label in stored.queries.items()
        if job_mark(app_id, label.rpartition("/")[0]) == _mark(plan)
    }


def _choose(query: str, labels: dict[str, str]) -> list[str]:
    """Fingerprints of the query that is meant."""
    chosen = [name for name, label in labels.items() if query in (name, label, label.rpartition("/")[2])]
    meant = sorted({labels[name] for name in chosen})
    if not chosen:
        known = sorted({*labels.values()})
        near = difflib.get_close_matches(query, [*known, *(label.rpartition("/")[2] for label in known)], 1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there is state of {', '.join(known) or 'no query'}"
        raise StateError(f"there is no state of {query!r}{hint}")
    if len(meant) > 1:
        raise StateError(f"{query!r} may be {' or '.join(meant)}: name one of them")
    return chosen
