"""What every sink does, and how it fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from anomaly_app.delivery.notification import Incoming, Notification
from anomaly_app.errors import SinkError

Count: TypeAlias = Callable[[str], None]
"""Told what happened that is no failure and yet to be counted, such as ``template_failed``."""


class Sink(Protocol):
    """Tells notifications to somebody: chat, mail, pager, a program."""

    async def send(self, notification: Notification) -> None:
        """Send it once; at most ``timeout`` ms.

        Raises:
            SinkError: it was not taken.
        """
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...


class StreamSink(Protocol):
    """Takes every alert, in batches and in order: another topic, a database, an Alertmanager.

    It is asked for one thing at a time.

    Attributes:
        batch_size: how many alerts it likes to be given at once.
        batch_wait_ms: how long its reader may wait for so many.
    """

    batch_size: int
    batch_wait_ms: int

    async def write(self, alerts: Sequence[Incoming], now_ms: int) -> Sequence[tuple[Incoming, str]]:
        """Write them; doing it again is harmless.

        Args:
            alerts: in the order of their partitions.
            now_ms: now, in ms since 1970.

        Returns:
            those that the other side will never take, with its reason.

        Raises:
            SinkError: not all are known to be taken.
        """
        ...

    async def tick(self, now_ms: int) -> None:
        """What is due without an alert, such as saying again that something lasts; called about each second.

        Raises:
            SinkError: it was not taken; it is tried again at another call.
        """
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...


__all__ = ["Count", "Sink", "SinkError", "StreamSink"]
