"""Topics before a worker starts: which exist, with how many partitions; the worker's own are created."""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.errors import IncompatibleBrokerVersion, KafkaConnectionError, KafkaError, for_code
from aiokafka.structs import TopicPartition

from anomaly_app.errors import BrokerError, BrokerRefusal
from anomaly_app.runtime.connection import CONNECT_TIMEOUT_MS, bootstrap_servers, client_options
from anomaly_app.runtime.refusals import refusal
from anomaly_app.settings import LoadedSettings

if TYPE_CHECKING:  # delivery has topics, but no SQL
    from anomaly_app.jobs.topic_tables import Source

CHANGELOG = {"cleanup.policy": "compact"}
"""State by key: the last value of each key is kept."""
FOREVER = {"retention.ms": "-1"}
"""Retention goes by record time; replayed rows would be deleted under a running reader."""

MOCK_CLUSTER = "mockCluster"
"""Begins the cluster id of librdkafka's mock cluster, the broker of the demo and of tests."""

_TOPIC_EXISTS = 36
_QUIET = ("aiokafka.conn", "aiokafka.client", "aiokafka", "aiokafka.admin.client")


@dataclass(frozen=True, slots=True)
class NeededTopic:
    """A topic that the worker writes or reads of its own accord.

    Args:
        name: of the topic.
        partitions: if it has to be created.
        config: topic configuration if it has to be created.
        exact: it is of no use with another number of partitions.
        recognised: its records carry ids by which a replay knows what is written already.
    """

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)
    exact: bool = False
    recognised: bool = False


def own_topics(app_id: str, alerts: str) -> Callable[[str], bool]:
    """Tells topics that a worker writes of its own accord: no pattern means them.

    Example:
        >>> own = own_topics("sales", "anomaly.alerts")
        >>> [own(name) for name in ("sales-job-1-state-changelog", "anomaly.alerts", "sales-eu")]
        [True, True, False]
    """
    return lambda name: (
        name == alerts or (name.startswith(f"{app_id}-") and name.endswith(("-changelog", "-repartition")))
    )


class TopicAdmin:
    """Asks for topics and creates them; an async context manager.

    Args:
        loaded: the settings.

    Raises:
        BrokerError: no broker answers, or the credentials are refused.
    """

    def __init__(self, loaded: LoadedSettings) -> None:
        self._loaded = loaded
        self._admin: Any = None
        self.makes_topics = True
        """Whether topics are created by request, with as many partitions as wanted. The mock cluster of librdkafka
        makes one when it is first asked for, with a number of its own."""

    async def __aenter__(self) -> TopicAdmin:
        servers = ",".join(bootstrap_servers(self._loaded))
        origin = self._loaded.origins.get("kafka.bootstrap_servers", "default")
        where = f"kafka.bootstrap_servers (from {origin}): {servers}"
        admin = AIOKafkaAdminClient(**client_options(self._loaded), request_timeout_ms=CONNECT_TIMEOUT_MS)
        with _Overheard() as overheard:
            try:
                await asyncio.wait_for(admin.start(), CONNECT_TIMEOUT_MS / 1000)
            except (KafkaError, TimeoutError, OSError, ValueError) as error:
                with suppress(KafkaError, OSError):
                    await admin.close()
                protocol = self._loaded.settings.kafka.security_protocol
                reason = overheard.reason(error)
                if _is_login(reason):
                    user = self._loaded.settings.kafka.sasl_username
                    raise BrokerRefusal(f"the broker refuses user {user!r} ({where}, {protocol}): {reason}") from error
                hint = " – is the broker running, and is this its address and protocol?"
                raise BrokerError(f"no broker answers at {where}, {protocol}{hint} {reason}".rstrip()) from error
        self._admin = admin
        try:
            cluster = await self._ask(admin.describe_cluster())
        except BaseException:
            await admin.close()
            raise
        self.makes_topics = not str(cluster["cluster_id"]).startswith(MOCK_CLUSTER)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._admin.close()

    async def partitions(self, names: Sequence[str]) -> dict[str, int]:
        """Number of partitions of those topics that exist."""
        if not self.makes_topics:
            return {topic["topic"]: len(topic["partitions"]) for topic in await self._describe(names)}
        found = await self.names()
        return {name: found[name] for name in names if name in found}

    async def names(self) -> dict[str, int]:
        """Number of partitions of every topic that there is."""
        return {topic["topic"]: len(topic["partitions"]) for topic in await self._describe(None)}

    async def members(self, group: str) -> int:
        """How many workers are in a group now; 0 if the broker cannot tell, as the mock cluster."""
        try:
            (answer,) = await self._ask(self._admin.describe_consumer_groups([group]))
        except IncompatibleBrokerVersion:
            return 0
        return sum(len(described[5]) for described in answer.groups)

    async def meant(self, source: Source) -> Sequence[str]:
        """The topics of a table; of a pattern those that there are.

        Raises:
            BrokerError: no topic fits the pattern; it names the nearest one.
        """
        if not source.topics.pattern:
            return source.topics.names or (source.topic,)
        known = await self.names()
        settings = self._loaded.settings
        own = own_topics(settings.worker.app_id, settings.alerts.topic)
        found = source.topics.among(name for name in known if not own(name))
        if not found:
            near = difflib.get_close_matches(source.topic, sorted(known), 1)
            hint = f"; the nearest is {near[0]!r}" if near else ""
            problem = f"no topic fits the pattern {source.topic!r} of table {source.name}, or the user may not see it"
            raise BrokerRefusal(f"{problem}{hint} – create it, or correct 'topic-pattern' in the job")
        return found

    async def sources(self, names: Sequence[str]) -> dict[str, int]:
        """Number of partitions of topics that must exist.

        Raises:
            BrokerError: one does not; it names the nearest one that does.
        """
        found = await self.partitions(names)
        for name in names:
            if name not in found:
                known = sorted(await self.names())
                near = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                problem = f"topic {name!r} does not exist, or the user may not see it{hint}"
                raise BrokerRefusal(f"{problem} – create it, or correct 'topic' in the job")
        return found

    async def ensure(self, needed: Sequence[NeededTopic]) -> dict[str, int]:
        """Create those that are missing; number of partitions of all.

        Raises:
            BrokerError: one is missing and must not or cannot be created, or has the wrong number of partitions.
        """
        kafka = self._loaded.settings.kafka
        found = await self.partitions([topic.name for topic in needed])
        missing = [topic for topic in needed if topic.name not in found]
        if missing and not kafka.create_topics:
            names = ", ".join(topic.name for topic in missing)
            raise BrokerRefusal(f"topics do not exist: {names} – create them, or set kafka.create_topics")
        if missing:
            new = [
                NewTopic(topic.name, topic.partitions, kafka.replication_factor, topic_configs=dict(topic.config))
                for topic in missing
            ]
            answer = await self._ask(self._admin.create_topics(new))
            for name, code, *message in answer.topic_errors:
                if code not in (0, _TOPIC_EXISTS):
                    detail = next((part for part in message if part), for_code(code).__name__)
                    raise BrokerRefusal(f"topic {name!r} cannot be created: {detail}")
            found |= await self._appear(missing)
        for topic in needed:
            if topic.exact and found[topic.name] != topic.partitions:
                raise BrokerRefusal(
                    f"topic {topic.name!r} has {found[topic.name]} partitions and needs {topic.partitions}: delete it "
                    f"to have it made anew, or use another worker.app_id"
                )
        return found

    async def forget(self, prefix: str) -> None:
        """Delete the topics whose names begin so: they were a worker's own, and nobody needs them any more."""
        names = [name for name in await self.names() if name.startswith(prefix)]
        if names and self.makes_topics:
            await self._ask(self._admin.delete_topics(names))

    async def purge(self, before: Mapping[tuple[str, int], int]) -> None:
        """Delete records below an offset, by (topic, partition)."""
        if before and self.makes_topics:
            records = {TopicPartition(*tp): RecordsToDelete(offset) for tp, offset in before.items()}
            await self._ask(self._admin.delete_records(records))

    async def _appear(self, created: Sequence[NeededTopic]) -> dict[str, int]:
        """A created topic is known to all brokers a moment later."""
        names = [topic.name for topic in created]
        for _ in range(100):
            found = await self.partitions(names)
            if len(found) == len(names):
                return found
            await asyncio.sleep(0.05)
        raise BrokerError(f"topics were created but do not appear: {', '.join(sorted(set(names) - set(found)))}")

    async def _describe(self, names: Sequence[str] | None) -> Sequence[Any]:
        topics: Sequence[Any] = await self._ask(self._admin.describe_topics(None if names is None else list(names)))
        return topics

    async def _ask(self, request: Any) -> Any:
        try:
            return await asyncio.wait_for(request, CONNECT_TIMEOUT_MS / 1000)
        except IncompatibleBrokerVersion:
            raise
        except (KafkaError, TimeoutError, OSError) as error:
            final = refusal(error, self._loaded.settings.kafka.sasl_username)
            if final is not None:
                raise final from error
            raise BrokerError(f"the broker does not answer: {error or type(error).__name__}") from error


def _is_login(line: str) -> bool:
    return any(word in line for word in ("uthentication", "SASL", "credentials"))


class _Overheard(logging.Handler):
    """What aiokafka logs while it connects: the reason of a refusal stands only there."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())

    def reason(self, error: Exception) -> str:
        lines = [line.strip() for line in self._lines if line]
        if lines:
            # Clients that run beside this one are heard too, and only say that they have no connection.
            return next((line for line in lines if _is_login(line)), lines[-1])
        return "" if isinstance(error, (TimeoutError, KafkaConnectionError)) else str(error)

    def __enter__(self) -> _Overheard:
        self._loggers = [logging.getLogger(name) for name in _QUIET]
        self._before = [(logger.propagate, logger.level, logger.filters) for logger in self._loggers]
        for logger in self._loggers:
            logger.addHandler(self)
            logger.propagate = False
            logger.filters = []  # what was said a moment ago is the reason this time too
        return self

    def __exit__(self, *_: object) -> None:
        for logger, (propagate, level, filters) in zip(self._loggers, self._before, strict=True):
            logger.removeHandler(self)
            logger.filters = filters
            logger.propagate = propagate
            logger.setLevel(level)


async def forget_topics(loaded: LoadedSettings, app_ids: Sequence[str]) -> None:
    """Delete the topics that only some workers needed, which are gone for good.

    Args:
        loaded: the settings.
        app_ids: of the workers.

    Raises:
        BrokerError: the broker is away, or does not allow it.
    """
    async with TopicAdmin(loaded) as admin:
        for app_id in app_ids:
            await admin.forget(f"{app_id}-")
