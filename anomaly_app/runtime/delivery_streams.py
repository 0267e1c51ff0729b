"""Readers of the streaming ways: each has a position of its own, so that one that is dead delays nobody."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from anomaly_app.delivery.notification import Incoming
from anomaly_app.runtime.delivery_reader import Reader, read_alerts
from anomaly_app.runtime.undelivered import Undelivered
from anomaly_app.settings import LoadedSettings
from anomaly_app.sinks.sender import StreamSender

log = logging.getLogger(__name__)

TICK_S = 1.0
TAKE_MS = 500
MOST_AT_ONCE = 5_000


class StreamReader:
    """Gives a streaming sink the alerts that are its receiver's, in order.

    Args:
        loaded: the settings.
        topics: the topic of the alerts and how many partitions it has.
        sender: of the sink; it tries again and gives up.
        belongs: whether an alert is the receiver's.
        undelivered: takes what is given up.
        check: raises when this process may not send any more.
        fetch_wait_ms: how long the broker keeps a fetch to which it has nothing to say.
    """

    def __init__(
        self, loaded: LoadedSettings, topics: Mapping[str, int], sender: StreamSender,
        belongs: Callable[[Incoming], bool], undelivered: Undelivered, check: Callable[[], None], fetch_wait_ms: int,
    ) -> None:  # fmt: skip
        self.sender = sender
        self._tenant = loaded.settings.delivery.tenant
        self._belongs, self._undelivered, self._check = belongs, undelivered, check
        self._most = max(1, min(sender.batch_size, MOST_AT_ONCE))
        group = f"{loaded.settings.delivery.name}-{sender.name.replace('/', '-')}"
        self._reader = Reader(loaded, topics, group, fetch_wait_ms, self._most)
        self._ticked = 0.0
        self._stopping = False

    def stop(self) -> None:
        """Let :meth:`run` end behind the batch that it has."""
        self._stopping = True

    async def run(self) -> None:
        """Read and send until :meth:`stop`."""
        await self._reader.start()
        while not self._stopping:
            records = await self._batch()
            # What is no alert is told by whoever decides, once for all.
            alerts = [incoming for incoming in read_alerts(records, self._tenant)[0] if self._belongs(incoming)]
            if alerts:
                self._check()
                refused = await self.sender.write(alerts)
                if refused:
                    await self._undelivered.alerts(self.sender.name, refused)
            self._check()
            problem = await self._reader.commit(await self._reader.positions())
            if problem:
                log.debug("%s: positions are not committed: %s", self.sender.name, problem)
            if time.monotonic() - self._ticked >= TICK_S:
                self._ticked = time.monotonic()
                await self.sender.tick()

    @property
    def is_away(self) -> bool:
        """Whether the other side does not answer for now."""
        return self.sender.health.failing_since_ms is not None

    def lag(self) -> int:
        """Alerts behind what it has sent."""
        return self._reader.lag()

    async def close(self) -> None:
        """End its consumer; the sink stays."""
        await self._reader.close()

    async def _batch(self) -> list[Any]:
        """Some records: as many as there are, or as come in ``batch_wait``."""
        records = await self._reader.take(TAKE_MS, self._most)
        deadline = time.monotonic() + self.sender.batch_wait_ms / 1_000
        while records and len(records) < self._most:
            left_ms = int((deadline - time.monotonic()) * 1_000)
            if left_ms <= 0:
                break
            records += await self._reader.take(left_ms, self._most - len(records))
        return records
