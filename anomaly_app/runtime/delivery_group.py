"""Which of several delivery processes of one name is active: the one to which their group gives all partitions.

The others stand by as members of the group without partitions. Whoever is active has to hear from the group often:
its *lease* ends a little before the group may give the partitions to another, so that a process that was suspended, or
cut off, stops writing and sending by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.errors import KafkaError

from anomaly_app.errors import BrokerError
from anomaly_app.runtime.connection import METADATA_MS, client_options
from anomaly_app.settings import LoadedSettings

HEARTBEAT_MS = 1_000
"""At most between two words to the group: by its answer who stands by learns that the active one has left."""
LEASE = 0.8
"""Part of the session time-out for which an answer of the group counts."""


class LeaseLost(BrokerError):
    """Another process may be active by now: nothing may be written or sent any more."""

    code = "lease-lost"


class Lease:
    """How long this process may go on without a word from the group.

    Args:
        session_timeout_s: of the group.
        clock: seconds that go on while the process is suspended.

    Example:
        >>> now = 0.0
        >>> lease = Lease(10.0, lambda: now)
        >>> lease.renew(now)
        >>> lease.valid
        True
        >>> now = 8.1
        >>> lease.valid
        False
    """

    def __init__(self, session_timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._length, self._clock = session_timeout_s * LEASE, clock
        self._until = clock()

    def renew(self, asked_at: float) -> None:
        """The group has answered a question that was asked then."""
        self._until = max(self._until, asked_at + self._length)

    @property
    def valid(self) -> bool:
        """Whether this process may write and send."""
        return self._clock() < self._until

    def check(self) -> None:
        """Raises :class:`LeaseLost` if it is over."""
        if not self.valid:
            raise LeaseLost("this process has not heard from its group for too long: another one may be active")


class Eldest(AbstractPartitionAssignor):  # type: ignore[misc]  # aiokafka has no types
    """Gives everything to the member that has been there longest, so that a new one takes nothing away.

    One for each process; see :func:`eldest`.
    """

    name = "anomaly-eldest"
    since = 0

    @classmethod
    def metadata(cls, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """What is told to the group with each request to join."""
        return ConsumerProtocolMemberMetadata(0, sorted(topics), cls.since.to_bytes(8, "big"))

    @classmethod
    def assign(
        cls, cluster: Any, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Who gets what."""
        eldest = min(members, key=lambda member: (members[member].user_data, member))
        topics = {topic for metadata in members.values() for topic in metadata.subscription}
        everything = [(topic, sorted(cluster.partitions_for_topic(topic) or ())) for topic in sorted(topics)]
        return {
            member: ConsumerProtocolMemberAssignment(0, everything if member == eldest else [], b"")
            for member in members
        }

    @classmethod
    def on_assignment(cls, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Nothing is remembered of an assignment."""

    @classmethod
    def begin_anew(cls) -> None:
        """This process was away, so it is the youngest when it comes back."""
        cls.since = time.time_ns()


def eldest() -> type[Eldest]:
    """The assignor of this process, which is the youngest by now; aiokafka takes it as a class."""
    made: type[Eldest] = type("EldestOfProcess", (Eldest,), {})
    made.begin_anew()
    return made


def group_consumer(loaded: LoadedSettings, group: str, assignor: type[Eldest], fetch_wait_ms: int) -> AIOKafkaConsumer:
    """A consumer of a group whose eldest member has all partitions; not started.

    Args:
        loaded: the settings.
        group: its name.
        assignor: of this process.
        fetch_wait_ms: how long the broker keeps a fetch to which it has nothing to say.
    """
    session_ms = int(loaded.settings.kafka.session_timeout_s * 1_000)
    return AIOKafkaConsumer(
        **client_options(loaded),
        group_id=group,
        partition_assignment_strategy=[assignor],
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level=loaded.settings.kafka.isolation_level or "read_uncommitted",
        session_timeout_ms=session_ms,
        heartbeat_interval_ms=min(session_ms // 4, HEARTBEAT_MS),
        rebalance_timeout_ms=session_ms,
        max_poll_records=None,
        fetch_max_wait_ms=fetch_wait_ms,
        metadata_max_age_ms=METADATA_MS,
    )


async def renew(lease: Lease, consumer: AIOKafkaConsumer, offsets: Mapping[Any, int]) -> str:
    """Commit positions, which also proves that the group still counts on this process; "" or what went wrong.

    Args:
        lease: of this process.
        consumer: of the group.
        offsets: next offset by topic and partition; not empty.
    """
    asked_at = time.monotonic()
    try:
        await consumer.commit(dict(offsets))
    except KafkaError as error:
        return str(error) or type(error).__name__
    lease.renew(asked_at)
    return ""
