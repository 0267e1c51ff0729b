"""What the web shows: the protocol that a worker provides, and the feed of its alerts."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import AsyncIterator
from itertools import accumulate, islice
from typing import Protocol, TypedDict

import msgspec

from anomaly_app.alerts import Alert


class InputStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One of several tables behind a repartition.

    Args:
        table: its name in the job.
        topic: that it is read from.
        watermark_ms: event time up to which it is complete here, in ms; None before the first row.
        idle: it has no rows for now and holds nobody up.
        holds: time waits for it.
    """

    table: str
    topic: str
    watermark_ms: int | None
    idle: bool
    holds: bool


class PartitionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One partition of one plan that this worker has.

    Args:
        job: name of the job.
        queries: names of the plan's queries.
        source: topic that the plan reads, or topics.
        topic: the same, or the repartition topic.
        partition: number of the partition.
        rows: taken since the worker started.
        rows_per_s: over the last seconds.
        lag: records between the worker and the end of the partition; None while unknown.
        watermark_ms: event time up to which the partition is complete, in ms; None before the first row.
        buffered: rows that wait for the watermark, or for the answer of a model.
        late: rows that came too late for at least one query.
        rejected: rows with an absurd event time.
        dead_letters: records that could not be decoded, and rows on which a rule failed.
        duplicates: replayed rows that were recognised and dropped.
        repartitioned: the rows come through a repartition topic, so that they have been counted upstream already.
        inputs: the tables, if there are several.
    """

    job: str
    queries: tuple[str, ...]
    source: str
    topic: str
    partition: int
    rows: int = 0
    rows_per_s: float = 0.0
    lag: int | None = None
    watermark_ms: int | None = None
    buffered: int = 0
    late: int = 0
    rejected: int = 0
    dead_letters: int = 0
    duplicates: int = 0
    repartitioned: bool = False
    inputs: tuple[InputStatus, ...] = ()


class QueryStatus(TypedDict):
    """A query of a job; ``sink`` is a topic, None for a bare SELECT; ``late`` rows came too late for it."""

    name: str
    description: str
    source: str
    routing: str
    sink: str | None
    alerts: int
    late: int


class LookupStatus(TypedDict):
    """A table that a job looks rows up in; ``changes`` since the start, ``rejected`` rows could not be read."""

    table: str
    source: str
    rows: int
    changes: int
    rejected: int
    problem: str


class ModelStatus(TypedDict):
    """A model that a job asks: what this process has counted of it.

    ``latencies`` says how many calls took no longer than each of ``BUCKETS_S`` of models.stats, and how many longer;
    of a model in a file nobody takes the time. ``open`` says that it is left alone for a while.
    """

    model: str
    version: int
    provider: str
    calls: int
    rows: int
    errors: int
    retries: int
    latency_s: float
    latencies: list[int]
    open: bool
    problem: str


class JobStatus(TypedDict):
    """A job that the worker runs."""

    name: str
    version: str
    path: str
    queries: list[QueryStatus]
    lookups: list[LookupStatus]
    models: list[ModelStatus]


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A node of the graph that runs a query: all partitions of this worker together.

    Args:
        id: unique in the graph; numbers and sources are called as ``EXPLAIN`` does it.
        kind: ``source`` (a topic), ``exchange`` (rows on their way to where they belong) or ``operator``.
        title: what it does.
        inputs: ids of the nodes whose rows it takes.
        rows: given out since the worker started.
        rows_per_s: over the last seconds.
        lag: records to the end of its topic; None of an operator, and while unknown.
        watermark_ms: event time up to which what it gives is complete, in ms; None before that is known.
        late: rows that came too late for it.
    """

    id: str
    kind: str
    title: str
    inputs: tuple[str, ...] = ()
    rows: int = 0
    rows_per_s: float = 0.0
    lag: int | None = None
    watermark_ms: int | None = None
    late: int = 0


class GraphStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The graph that runs a query.

    Args:
        job: name of the job.
        query: name of the query.
        nodes: in order: each behind those that it reads.
    """

    job: str
    query: str
    nodes: tuple[NodeStatus, ...]


class Durations:
    """How often something took how long, for a histogram.

    Example:
        >>> durations = Durations()
        >>> for seconds in (0.002, 0.02, 0.02, 3600.0):
        ...     durations.add(seconds)
        >>> [(bound, number) for bound, number in durations.cumulated() if bound in (0.005, 0.025, 60.0, float("inf"))]
        [(0.005, 1), (0.025, 3), (60.0, 3), (inf, 4)]
    """

    BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

    def __init__(self) -> None:
        self._counts = [0] * (len(self.BOUNDS_S) + 1)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(self.BOUNDS_S, seconds)] += 1
        self.sum_s += seconds

    def cumulated(self) -> list[tuple[float, int]]:
        """Upper bounds in seconds, the last one infinite, and how many took no longer."""
        return [*zip((*self.BOUNDS_S, float("inf")), accumulate(self._counts), strict=True)]


class WorkerStatus(Protocol):
    """A worker, as the web sees it. Every method answers at once, from memory."""

    def ready(self) -> tuple[bool, str]:
        """Whether rows flow; if not (recovering, the broker is gone) why."""
        ...

    def healthy(self) -> tuple[bool, str]:
        """Whether the process is worth keeping; if not why."""
        ...

    def jobs(self) -> list[JobStatus]:
        """The jobs that it runs."""
        ...

    def partitions(self) -> list[PartitionStatus]:
        """The partitions that it has."""
        ...

    def graphs(self) -> list[GraphStatus]:
        """The graph of each query, as far as this worker has partitions of it."""
        ...

    def alerts(self, limit: int) -> list[Alert]:
        """The latest alerts, newest first."""
        ...

    def subscribe(self) -> Subscription:
        """A queue of the alerts to come."""
        ...

    def counters(self) -> dict[str, int]:
        """What was dropped or bounded, by reason."""
        ...

    def flushes(self) -> Durations:
        """How long it took to write what was done and to store the state of it."""
        ...


class Subscription:
    """A bounded queue of alerts for one reader; a reader that is too slow loses the oldest ones.

    ``async for`` ends after :meth:`close`.

    Args:
        feed: that fills it.
        size: alerts that may wait.
    """

    def __init__(self, feed: AlertFeed, size: int) -> None:
        self._feed = feed
        self._waiting: deque[Alert] = deque(maxlen=size)
        self._wake = asyncio.Event()
        self.closed = False
        self.dropped = 0

    def put(self, alert: Alert) -> None:
        """Add an alert, at the cost of the oldest one if the queue is full."""
        self.dropped += len(self._waiting) == self._waiting.maxlen
        self._waiting.append(alert)
        self._wake.set()

    async def take(self) -> list[Alert]:
        """Wait for alerts and take all that are there; none only if the subscription is closed."""
        if not self._waiting and not self.closed:
            self._wake.clear()
            await self._wake.wait()
        alerts = list(self._waiting)
        self._waiting.clear()
        return alerts

    def close(self) -> None:
        """End: nothing is put any more, readers get what is left and then stop."""
        self.closed = True
        self._feed.remove(self)
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[Alert]:
        while alerts := await self.take():
            for alert in alerts:
                yield alert


class AlertFeed:
    """The latest alerts, and everybody who waits for the next ones. For one event loop.

    Args:
        recent: alerts to keep.
        queue: alerts that may wait for one reader.
    """

    def __init__(self, recent: int = 1_000, queue: int = 256) -> None:
        self._recent: deque[Alert] = deque(maxlen=recent)
        self._queue = queue
        self._subscriptions: set[Subscription] = set()
        self._dropped = 0
        self.published = 0

    def publish(self, alert: Alert) -> None:
        """Keep an alert and hand it to every reader; never waits."""
        self.published += 1
        self._recent.append(alert)
        for subscription in self._subscriptions:
            subscription.put(alert)

    def latest(self, limit: int) -> list[Alert]:
        """At most ``limit`` alerts, newest first."""
        return list(islice(reversed(self._recent), limit))

    def subscribe(self) -> Subscription:
        """A queue of the alerts to come, to be closed by its reader."""
        subscription = Subscription(self, self._queue)
        self._subscriptions.add(subscription)
        return subscription

    def remove(self, subscription: Subscription) -> None:
        """Forget a reader."""
        if subscription in self._subscriptions:
            self._subscriptions.discard(subscription)
            self._dropped += subscription.dropped

    @property
    def readers(self) -> int:
        """Subscriptions that are open."""
        return len(self._subscriptions)

    @property
    def dropped(self) -> int:
        """Alerts that slow readers lost."""
        return self._dropped + sum(subscription.dropped for subscription in self._subscriptions)
